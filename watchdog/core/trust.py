"""A preflight has passed while a watch that asked first was open: from now on it acts as its policy says."""

from typing import Final

from watchdog.core import decide, doubt, messages, spread
from watchdog.core.decide import Step
from watchdog.core.model import State

STANDING: Final = (decide.SIGNAL, spread.REGION)
"""Begin criteria that stay true until somebody acts; of any other without a row or a probe, the alarm has cleared."""


def trusted(step: Step) -> None:
    """Act by itself from now on, also on what is proven and waits for an approval."""
    watch = step.watch
    doubted = doubt.sentence(watch)
    watch.doubt = ""
    if not doubted:
        return
    sentence = "A preflight has passed: automatic mode acts by itself from now on."
    step.note("trusted", sentence)
    step.announce("trusted", mode=doubt.mode(watch), reason=sentence)
    step.notify(
        messages.body(
            watch,
            "note",
            severity="info",
            title=f"Automatic again: {messages.place(watch)}",
            happened=sentence,
            did=f"A proven rollback criterion moves traffic back to {watch.target.split}.",
            over=f"Before: {doubted[0].lower()}{doubted[1:]}",
            todo="Nothing.",
        )
    )
    waiting = watch.pending_trigger
    if watch.state is not State.AWAITING_APPROVAL or waiting is None:
        _unanswered(step)
        return
    if watch.proves(waiting):
        decide.consider(step, waiting)
        return
    # It has passed since, or is being asked afresh: as in automatic mode, only what is proven again moves traffic.
    watch.pending_trigger = watch.approve_until = None
    idle = State.PAUSED if watch.paused else State.WATCHING
    watch.state = State.CONFIRMING if watch.confirmations else idle
    step.note("cleared", f"{waiting.criterion} is not proven any more, so the question about a rollback is withdrawn.")


def _unanswered(step: Step) -> None:
    """Nobody answered, and what is proven is still so: without the doubt nobody would have been asked."""
    watch = step.watch
    held = watch.hold
    if held is None or held.kind != "refused" or held.reason != decide.UNANSWERED or watch.rollback is not None:
        return
    trigger = held.trigger
    stands = trigger.rule is not None or trigger.probe is not None or trigger.criterion.startswith(STANDING)
    if stands and watch.proves(trigger):
        watch.hold, watch.outcome, watch.reason = None, None, ""
        watch.state = State.CONFIRMING if watch.confirmations else State.WATCHING
        decide.consider(step, trigger)
