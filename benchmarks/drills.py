"""Every drill, many times over: wrong rollbacks, missed rollbacks, and how long each took.

Each drill is played in virtual time by the real daemon against the emulated cloud, once as it is described and then in
variations: other kinds and moments of the fault, other traffic, other delays, as its script draws them from the seed.

    python -m benchmarks.drills                    all drills, 200 variations each; prints the table
    python -m benchmarks.drills NAME … --seeds 20  some of them
    … --write docs/drills.md                       also writes the page; rows of other drills stay as they are
"""

import argparse
import logging
import re
import statistics
import sys
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from watchdog.demo.drill import Drill, all_drills, drill_names, load_drill
from watchdog.demo.rehearse import rehearse_inside
from watchdog.demo.teller import Teller
from watchdog.demo.virtual import run_virtually
from watchdog.telemetry import configure_logging

SEEDS = 200
WIDTH = 120
HEAD = """# Drills

A drill is a named bad day, played on the emulated cloud against the real daemon. `watchdog drill --list` names them,
`watchdog drill NAME` plays one in real time, emulator and daemon each in a process of its own, and exits 0 only when
it ended as its script says: the outcome of every watch, the traffic that Cloud Run serves, the writes that were made
and the pages that were sent. `--virtual` plays the same script in one process and in virtual time, within seconds;
`--seed N` varies it. Timings are the shipped policy's unless a drill says otherwise; Cloud Monitoring is shortened from
60 s and 180 s to 5 s and 5 s.

Adding one: a file in `watchdog/demo/drills/` with a `DRILL`; then `python -m benchmarks.drills NAME --write
docs/drills.md`.

## Counted

As described and in seeded variations of time, fault and traffic. *Wrong*: traffic writes that should not have been
made; *missed*: writes that should have been; *off script*: plays with any other difference. *Wrote* and *paged*:
seconds from the fault to the first traffic write and to the first page, median and slowest. Probes are 5 s apart, so a
fault that is confirmed five times takes 4 s to 9 s; one that hangs takes its timeout more.

"""
COLUMNS = ("drill", "played", "wrong", "missed", "off script", "wrote", "paged", "lasts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """One play, as it crosses a process."""

    wrote_s: float | None
    paged_s: float | None
    took_s: float
    surplus: int
    """Writes made less writes expected."""
    wrong: tuple[str, ...]


def tally(name: str, seed: int) -> Tally:
    """Play a drill once, in virtual time."""
    configure_logging(level=logging.CRITICAL)
    drill = load_drill(name)
    teller = Teller(as_json=True, tells=False)
    with tempfile.TemporaryDirectory() as folder:
        played = run_virtually(lambda: rehearse_inside(drill, teller=teller, folder=Path(folder), seed=seed))
    return Tally(
        wrote_s=played.wrote_s,
        paged_s=played.paged_s,
        took_s=played.took_s,
        surplus=played.writes - drill.expect.writes,
        wrong=played.wrong,
    )


def row(name: str, plays: Sequence[Tally]) -> tuple[str, ...]:
    """A drill's line of the table."""
    return (
        f"[{name}](#{name})",
        str(len(plays)),
        str(sum(max(0, p.surplus) for p in plays)),
        str(sum(max(0, -p.surplus) for p in plays)),
        str(sum(bool(p.wrong) for p in plays)),
        _spread([p.wrote_s for p in plays if p.wrote_s is not None]),
        _spread([p.paged_s for p in plays if p.paged_s is not None]),
        f"{statistics.median(p.took_s for p in plays):.0f} s",
    )


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} s, {max(values):.1f} s" if values else "–"


def page(rows: Mapping[str, Sequence[str]]) -> str:
    """docs/drills.md: the table, and every drill in the registry's words."""
    none = ("–",) * (len(COLUMNS) - 1)
    drills = all_drills()
    lines = [rows.get(d.name, (f"[{d.name}](#{d.name})", *none)) for d in drills]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in (COLUMNS, ("---",) * len(COLUMNS), *lines))
    return HEAD + table + "\n" + "".join(_section(d) for d in drills)


def _section(drill: Drill) -> str:
    outcomes = ", ".join(f"`{name}` {_ended(outcome)}" for name, outcome in drill.expect.outcomes.items())
    serving = ", ".join(f"`{name}` {percent} %" for name, percent in drill.expect.serving.items())
    pages = ", ".join(f"“{words}”" for words in drill.expect.pages) or "none"
    points = (
        f"**The day.** {drill.day}",
        f"**Others.** {drill.others}",
        f"**We.** {drill.ours}",
        f"**The end.** {outcomes}; Cloud Run serves {serving}. Traffic writes: {drill.expect.writes}. Pages: {pages}.",
        f"**Repeat it.** `watchdog drill {drill.name}`",
    )
    listed = "\n".join(textwrap.fill(p, WIDTH, initial_indent="- ", subsequent_indent="  ") for p in points)
    return f"\n## {drill.name}\n\n{drill.title}.\n\n{listed}\n"


def _ended(outcome: str) -> str:
    return {"open": "is still watched", "none": "is not watched"}.get(outcome, f"ends {outcome}")


def rows_of(text: str) -> dict[str, tuple[str, ...]]:
    """The table's rows of a page that was written before, by drill."""
    found = {}
    for line in text.splitlines():
        if match := re.match(r"\| \[([a-z0-9-]+)\]\(#", line):
            found[match[1]] = tuple(cell.strip() for cell in line.strip("|").split(" | "))
    return found


def make_parser() -> argparse.ArgumentParser:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drills", description="Counts over all drills.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="all by default")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="plays of each; the first is as described")
    parser.add_argument("--processes", type=int, default=1, help="how many at a time")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page; other drills' rows stay")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Play, print the table; 1 when any play was not as its script says."""
    given = make_parser().parse_args(argv)
    names = given.names or drill_names()
    rows: dict[str, Sequence[str]] = {}
    if given.write is not None and given.write.exists():
        rows |= rows_of(given.write.read_text(encoding="utf-8"))
    failed = False
    with ProcessPoolExecutor(given.processes) as pool:
        for name in names:
            plays = list(pool.map(tally, [name] * given.seeds, range(given.seeds)))
            rows[name] = row(name, plays)
            print(" | ".join(rows[name]), flush=True)
            for seed, play in enumerate(plays):
                for problem in play.wrong:
                    failed = True
                    print(f"  seed {seed}: {problem}", flush=True)
    if given.write is not None:
        given.write.write_text(page(rows), encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
