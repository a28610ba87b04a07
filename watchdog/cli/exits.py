"""Exit codes, fixed by DESIGN section 8."""

from collections.abc import Mapping
from typing import Final

OK: Final = 0
INTERNAL: Final = 1
USAGE: Final = 2
ROLLED_BACK: Final = 10
REFUSED: Final = 11
MOVED: Final = 12
UNVERIFIED: Final = 13

OF_OUTCOME: Final[Mapping[str, int]] = {
    "passed": OK,
    "rolled_back": ROLLED_BACK,
    "failed": REFUSED,
    "superseded": MOVED,
    "overridden": MOVED,
    "unverified": UNVERIFIED,
}
