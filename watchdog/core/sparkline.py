"""Evidence over time as one line of text: a plot that survives a terminal, a chat and a Markdown file."""

from collections.abc import Sequence
from typing import Final

BLOCKS: Final = "▁▂▃▄▅▆▇█"
WIDTH: Final = 60


def sparkline(values: Sequence[float | None], *, width: int = WIDTH) -> str:
    """Values 0..1 as blocks, at most `width` of them: each shows the highest of its stretch, a dot where none is
    known, and `█` only for all of it."""
    if not values:
        return ""
    step = max(1, -(-len(values) // width))
    out = []
    for start in range(0, len(values), step):
        known = [v for v in values[start : start + step] if v is not None]
        if not known:
            out.append("·")
            continue
        highest = min(1.0, max(0.0, *known))
        out.append(BLOCKS[-1] if highest >= 1.0 else BLOCKS[int(highest * (len(BLOCKS) - 1))])
    return "".join(out)
