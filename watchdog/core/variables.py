"""`${NAME}` in a probe's headers: a secret of the watchdog's environment, which no policy, journal or log holds."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

_NAME: Final = re.compile(r"(?<!\$)\$\{([A-Z][A-Z0-9_]{0,62})\}")
_ANY: Final = re.compile(r"(?<!\$)\$\{[^}]*\}?")


def malformed(text: str) -> str | None:
    """The first `${…}` that names nothing; None where there is none. `$${` is a plain `${`."""
    return next((found for found in _ANY.findall(text) if not _NAME.fullmatch(found)), None)


def names_in(texts: Iterable[str]) -> tuple[str, ...]:
    """The variables that these texts use, each once."""
    return tuple(dict.fromkeys(name for text in texts for name in _NAME.findall(text)))


def fill(text: str, values: Mapping[str, str]) -> str:
    """The text with its variables filled in. Raises `KeyError` with the name of one that is not there."""
    return _NAME.sub(lambda found: values[found[1]], text).replace("$${", "${")
