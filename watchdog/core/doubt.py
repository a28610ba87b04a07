"""Why a policy that says `automatic` acts as `approve`: nobody has proven lately that a rollback could be written.

What a preflight proves is small on purpose: that the service can be read and that whoever writes may write. What the
moment decides (a target, armed probes, evidence) each watch judges for itself. An answer that did not come (429, 5xx)
proves nothing either way and changes nothing.
"""

from dataclasses import dataclass
from typing import Final

from watchdog.core.state import Watch
from watchdog.core.text import listing, span

FRESH_S: Final = 86_400.0
"""A preflight that passed is believed for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflights:
    """What is remembered of a service's preflights (Unix seconds)."""

    passed_at: float | None = None
    failed_at: float | None = None
    """When one failed for certain, if none has passed since."""
    problems: tuple[str, ...] = ()
    """What it failed for."""


def remembered(before: Preflights, at: float, *, passed: bool, problems: tuple[str, ...]) -> Preflights:
    """After one more preflight with a definite answer; one that is older than what is known changes nothing."""
    if at < max(before.passed_at or 0.0, before.failed_at or 0.0):
        return before
    if passed:
        return Preflights(passed_at=at)
    return Preflights(passed_at=before.passed_at, failed_at=at, problems=problems)


def why(known: Preflights, now: float) -> str:
    """A clause why automatic mode must not act by itself now; empty when it may."""
    if known.failed_at is not None:
        return f"the last preflight failed ({listing(known.problems) or 'no reason given'})"
    if known.passed_at is None:
        return "no preflight has passed yet"
    age = now - known.passed_at
    return f"no preflight has passed for {span(age)}" if age > FRESH_S else ""


def mode(watch: Watch) -> str:
    """The mode that the watch acts in."""
    said = watch.rules.policy.rollback.mode
    return "approve" if said == "automatic" and watch.doubt else said


def sentence(watch: Watch) -> str:
    """Why it asks although the policy says automatic; empty where it does not."""
    if mode(watch) == watch.rules.policy.rollback.mode:
        return ""
    return f"The policy says automatic, but {watch.doubt}: a person is asked first, as in mode approve."
