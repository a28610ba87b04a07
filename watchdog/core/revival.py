"""A path that was sick and passes again while the one under judgement still fails: since when does its pass count?

When what both depend on comes back, one of them is asked first (docs/decisions/0025).
"""

from dataclasses import replace
from typing import Final

from watchdog.core.probing import ProbeAnswer, Role
from watchdog.core.standing import Confirmation, Flicker, Revival

BESIDE: Final = 3
"""Failures that must be sent after a path that was sick passes again until its pass tells the two apart."""
FLICKERS: Final = 7
"""A control that was sick and passes so often since, and at least as often as it fails, while the path under judgement
never does, is not as sick. Were both alike, the chance would be below one in a hundred."""


def revived(c: Confirmation, role: Role, answer: ProbeAnswer, *, was_sick: bool) -> Confirmation:
    """Note when a path that was sick passes again, and forget it when it fails once more."""
    others = {r: v for r, v in c.revivals.items() if r != role}
    if answer.failed:
        return replace(c, revivals=others)
    return replace(c, revivals={**others, role.value: Revival(answer.started_at)}) if was_sick else c


def control(c: Confirmation, answer: ProbeAnswer, *, was_sick: bool) -> Confirmation:
    """… the control: also count what it answers from its first pass on."""
    c = revived(c, Role.CONTROL, answer, was_sick=was_sick)
    if not c.flicker.asked and not (answer.ok and was_sick):
        return c
    return replace(c, flicker=Flicker(c.flicker.passed + answer.ok, c.flicker.asked + 1))


def failed_beside(c: Confirmation, answer: ProbeAnswer) -> Confirmation:
    """Count a failure of the path under judgement that was sent after such a pass."""
    if not answer.failed or not c.revivals:
        return c
    counted = {r: v._replace(failed=v.failed + (answer.started_at >= v.at)) for r, v in c.revivals.items()}
    return replace(c, revivals=counted)


def flickers(c: Confirmation) -> bool:
    """Whether the control passes and fails in turns while the path under judgement only fails."""
    return c.flicker.passed >= FLICKERS and 2 * c.flicker.passed >= c.flicker.asked


def unsure(c: Confirmation, role: Role) -> bool:
    """Whether that path passes again since so lately that the one under judgement may be about to."""
    known = c.revivals.get(role)
    if role is Role.CONTROL and flickers(c):
        return False
    return known is not None and known.failed < BESIDE
