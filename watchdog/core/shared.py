"""Times in which the control failed the same probe: what was counted then is proof against neither revision.

While both are sick the rollback is held. Once both are well again the counts of that time would still be proof, and a
feed brings the last of them only then. So they are left out of every meter, however late they come, and alarms that
rest on them are taken back. The time counts as covered, and what was counted before and after it stands.
"""

from dataclasses import replace
from math import inf

from watchdog.core import verdicts
from watchdog.core.catalogue import Family, check_words
from watchdog.core.decide import Step
from watchdog.core.model import Sample
from watchdog.core.standing import Shared, Stream
from watchdog.core.state import Watch
from watchdog.core.text import when

AFTER_S = 15.0
"""Requests that were sent into the outage end, and are counted, up to so much after it."""
KEEP_S = 3600.0
"""No sample that comes later than this still changes a meter (`series.LATE_S` beyond its feed's lag)."""
COUNTED = frozenset({Family.ERRORS, Family.LATENCY})


def ongoing(watch: Watch) -> bool:
    """Whether some probe fails on both revisions now."""
    return any(time.until == inf for time in watch.shared)


def covers(watch: Watch, sample: Sample) -> bool:
    """Whether some of the sample was counted while both were sick."""
    return any(time.since < sample.end and sample.start < time.until for time in watch.shared)


def began(step: Step, probe: str, since: float) -> None:
    """`probe` fails on both; when it was asked before that, at `since`, it may have been well."""
    watch = step.watch
    if any(time.probe == probe and time.until == inf for time in watch.shared):
        return
    kept = (time for time in watch.shared if time.until > watch.at - KEEP_S)
    watch.shared = (*kept, Shared(probe=probe, since=since))
    changed = {
        key: Stream(stream.series.blanked(since, inf), stream.rules)
        for key, stream in watch.streams.items()
        if any(watch.rules.rules[i].family in COUNTED for i in stream.rules)
    }
    watch.streams = {**watch.streams, **changed}
    for i, (rule, state) in enumerate(zip(watch.rules.rules, watch.verdicts, strict=True)):
        if rule.family in COUNTED and state.alarmed_at is not None and state.alarmed_at >= since:
            verdicts.take_back(watch, i)


def ended(step: Step, probe: str) -> None:
    """One of the two passes `probe` again: from now on counts tell them apart."""
    watch = step.watch
    over = next((time for time in watch.shared if time.probe == probe and time.until == inf), None)
    if over is None:
        return
    until = watch.at + AFTER_S
    watch.shared = tuple(replace(time, until=until) if time is over else time for time in watch.shared)
    if ongoing(watch):
        return  # another probe still fails on both
    since = min(time.since for time in watch.shared if time.until > watch.at)
    step.note(
        "shared",
        f"What is counted from {when(since, watch.at)} to {when(until, watch.at)} is not held against "
        f"{watch.revision}: {watch.target.revision} failed {check_words(probe)} in that time too.",
    )
