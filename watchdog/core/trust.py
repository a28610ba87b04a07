"""A preflight has passed while a watch that asked first was open: from now on it acts as its policy says."""

from watchdog.core import decide, doubt, messages
from watchdog.core.decide import Step
from watchdog.core.model import State


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
        return
    if watch.proves(waiting):
        decide.consider(step, waiting)
        return
    # It has passed since, or is being asked afresh: as in automatic mode, only what is proven again moves traffic.
    watch.pending_trigger = watch.approve_until = None
    watch.state = State.CONFIRMING if watch.confirmations else State.WATCHING
    step.note("cleared", f"{waiting.criterion} is not proven any more, so the question about a rollback is withdrawn.")
