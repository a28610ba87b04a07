"""How a section of a policy file is read: every sound key is used, every other one is reported.

Every key of a section is optional for pydantic, and `Section.required` names those that it cannot do without. So one
bad key never hides another mistake, and `policy_build` can go on with what is sound.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError
from pydantic.annotated_handlers import GetJsonSchemaHandler
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from watchdog.core.conditions import quoted
from watchdog.core.findings import Findings, Path
from watchdog.core.suggest import closest, did_you_mean


class Section(BaseModel):
    """A mapping with known keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)
    required: ClassVar[Mapping[str, str]] = {}
    """Keys that the section cannot do without, each with an example of how to write it."""
    _spoilt: frozenset[str] = PrivateAttr(frozenset())

    @property
    def spoilt(self) -> frozenset[str]:
        """Keys that were written, but not soundly: their mistakes are noted, so nothing more is said of them."""
        return self._spoilt

    @classmethod
    def words(cls) -> tuple[str, ...]:
        """The keys as the file writes them."""
        return tuple(field.alias or name for name, field in cls.model_fields.items())

    @classmethod
    def read(cls, value: object, path: Path, findings: Findings) -> Self | None:
        """What is sound in `value`; each mistake is noted. None when there is nothing to read keys from."""
        if not isinstance(value, Mapping):
            known = ", ".join(cls.words()[:6])
            findings.problem(path, f"{quoted(value)} stands where a mapping belongs; its keys: {known}")
            return None
        sound, spoilt = dict(value), set[str]()
        try:
            made = cls.model_validate(sound)
        except ValidationError as error:
            for item in error.errors(include_url=False):
                loc = item["loc"]
                section = cls._section_at(loc[:-1])
                findings.problem((*path, *loc), _explain(item, section))
                sound.pop(str(loc[0]), None)
                spoilt |= {str(loc[0]), closest(str(loc[0]), cls.words()) or ""}
            made = cls.model_validate(sound)
            made._spoilt = frozenset(spoilt)  # noqa: SLF001 - our own class
        for key, example in cls.required.items():
            if sound.get(key) is None and key not in spoilt:
                findings.problem((*path, key), f"is missing; write for example {key}: {example}")
        return made

    @classmethod
    def _section_at(cls, loc: tuple[str | int, ...]) -> type["Section"]:
        """The section in which a nested key stands."""
        section: type[Section] = cls
        for part in loc:
            field = next((f for n, f in section.model_fields.items() if part in {n, f.alias}), None)
            inner = [a for a in get_args(field.annotation) if isinstance(a, type)] if field else []
            section = next((a for a in inner if issubclass(a, Section)), section)
        return section

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Pydantic's schema, with the keys that a section cannot do without."""
        made = handler.resolve_ref_schema(handler(schema))
        if cls.required:
            made["required"] = list(cls.required)
        return made


def _explain(item: ErrorDetails, section: type[Section]) -> str:
    """Pydantic's error as a sentence for the person who wrote the file."""
    kind, value = item["type"], quoted(item["input"])
    if kind == "extra_forbidden":
        return f"unknown key{did_you_mean(str(item['loc'][-1]), section.words())}"
    if kind == "value_error":
        return str(item["ctx"]["error"])
    return _TYPES.get(kind, "{value}: {msg}").format(value=value, msg=item["msg"])


_TYPES = {
    "string_type": "{value} is not text; put it in quotes",
    "int_type": "{value} is not a whole number",
    "bool_type": "{value} is neither true nor false",
    "list_type": "{value} stands where a list belongs",
    "dict_type": "{value} stands where a mapping belongs",
    "model_type": "{value} stands where a mapping belongs",
}


def mapped(value: object, path: Path, findings: Findings | None) -> dict[str, Any]:
    """The entries of a mapping; of nothing, none. Anything else is noted, unless that was done already."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return dict(value)
    if findings is not None:
        findings.problem(path, f"{quoted(value)} stands where a mapping belongs")
    return {}


def listed(value: object, path: Path, findings: Findings) -> list[Any]:
    """The items of a list; of nothing, none. Anything else is noted."""
    if value is None:
        return []
    if isinstance(value, list):
        return value
    findings.problem(path, f"{quoted(value)} stands where a list belongs; begin each row with a dash")
    return []


class EditorSchema(GenerateJsonSchema):
    """Keys may be left out, which is not the same as holding null."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        """No titles: they would only repeat the keys."""
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Nothing but the value itself."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Defaults are in the descriptions."""
        made = dict(super().default_schema(schema))
        if made.get("default", ...) is None:
            del made["default"]
        return made
