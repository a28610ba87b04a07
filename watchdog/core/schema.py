"""Whether old code may meet the present database schema, as the labels of the revisions say."""

from collections.abc import Iterable, Mapping

from watchdog.core.text import listing


def differs(label: str | None, schemas: Mapping[str, str], revision: str, targets: Iterable[str]) -> str:
    """Why the targets' code must not meet the schema of `revision`; empty where the labels say the same, or one of the
    revisions declares none. `schemas` is what each revision declares under `label`."""
    new = schemas.get(revision)
    if label is None or new is None:
        return ""
    others = {r: s for r in sorted(targets) if (s := schemas.get(r, new)) != new}
    if not others:
        return ""
    then = listing(f"{r} says {schema}" for r, schema in others.items())
    return f"the schema has changed: {revision} has the label {label}: {new}, while {then}"
