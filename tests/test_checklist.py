"""docs/checklist.md answers every line of the customer's checklist, in its place, and names only tests there are."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPY = Path(__file__).with_name("checklist.tsv")
"""The checklist's lines: section, a tab, the line as a table's cell."""


def page() -> list[tuple[str, list[str]]]:
    """(section, cells) of every row of the page's tables."""
    section, rows = "", []
    for line in (ROOT / "docs" / "checklist.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        elif line.startswith("| ") and not line.startswith("| Line |"):
            rows.append((section, [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]))
    return rows


def test_no_line_of_the_checklist_is_left_out_and_none_is_invented() -> None:
    lines = [tuple(line.split("\t")) for line in COPY.read_text(encoding="utf-8").splitlines()]
    assert [(section, cells[0]) for section, cells in page()] == lines


def test_every_line_says_who_answers_it_and_names_a_test_that_there_is() -> None:
    for _, cells in page():
        assert len(cells) == 4, cells
        assert all(cells), cells
        for path in re.findall(r"\(\.\./(tests/[^)]+)\)", cells[3]):
            assert (ROOT / path).is_file(), path
