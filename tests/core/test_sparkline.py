"""A plot of one line: the highest of each stretch, a dot for silence, a full block only for a whole proof."""

from hypothesis import given
from hypothesis import strategies as st

from watchdog.core.sparkline import BLOCKS, WIDTH, sparkline


def test_it_shows_growth_silence_and_proof() -> None:
    assert sparkline([None, 0.0, 0.5, 0.999, 1.0]) == "·▁▄▇█"
    assert sparkline([]) == ""


@given(st.lists(st.none() | st.floats(-2, 2), max_size=500))
def test_it_never_hides_a_proof_and_is_never_wider_than_a_line(values: list[float | None]) -> None:
    line = sparkline(values)
    assert len(line) <= WIDTH
    assert set(line) <= {*BLOCKS, "·"}
    assert (BLOCKS[-1] in line) == any(v is not None and v >= 1.0 for v in values)
