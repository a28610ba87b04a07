"""Faults that travel in the template, so that plain `gcloud run deploy` can deploy a bad revision.

An image whose reference contains `broken` never starts. The variable `EMULATOR_FAULTS` holds a fault script as JSON, in
the form of `faults.Fault`: `--set-env-vars '^;^EMULATOR_FAULTS=[{"kind":"status","share":0.08,"users_only":true}]'`.
"""

from pydantic import TypeAdapter, ValidationError

from watchdog.emulator.api_errors import ApiError
from watchdog.emulator.faults import Fault
from watchdog.emulator.world import Json

VARIABLE = "EMULATOR_FAULTS"

_FAULTS = TypeAdapter(tuple[Fault, ...])


def faults_of_template(template: Json) -> tuple[Fault, ...]:
    """The fault script that image and environment ask for; `ApiError` 400 when it can't be read."""
    container = template["spec"]["containers"][0]
    if "broken" in str(container["image"]):
        return (Fault(kind="never_ready"),)
    for variable in container.get("env", ()):
        if variable.get("name") == VARIABLE:
            try:
                return _FAULTS.validate_json(str(variable.get("value", "")))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"])
                raise ApiError(400, f"{VARIABLE}: {where or 'the value'}: {first['msg']}") from None
    return ()
