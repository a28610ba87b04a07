"""What a preflight found, a value a check."""

from dataclasses import dataclass
from typing import Literal

Mark = Literal["ok", "problem", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: what was found, and what to do where it is not ok. Only a `problem` makes us not ready; `unknown` is
    what could not be asked, or would leave a rollback with less proof."""

    check: str
    mark: Mark
    detail: str
    todo: str = ""
