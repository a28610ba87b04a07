"""Traffic is divided and the watched revision has no tag: nobody asks any more what was failing.

Nothing may rest on the answers of before then: a hold would never end, and the counts of a shared outage would be left
out for good. Both revisions serve, so each is judged by its own counts (docs/decisions/0037).
"""

from watchdog.core import evaluate, hard_down, shared
from watchdog.core.decide import Step
from watchdog.core.model import State


def follow(step: Step) -> None:
    """After a change of the traffic that was not ours."""
    watch = step.watch
    if watch.judged_role is not None or watch.rollback is not None or not watch.open:
        return
    names = [name for name in watch.probes if name in watch.confirmations or hard_down.rests_on(watch, name)]
    if not names:
        return
    held = watch.hold
    if held is not None and held.trigger.probe in names and held.kind in hard_down.ENDED_BY_A_PASS:
        watch.hold = None
    watch.confirmations = {}
    evaluate.excuse_probes(watch)
    for name in names:
        shared.ended(step, name)
        hard_down.set_failing(step, name, failing=False, sentence="")
    if watch.hold is None and watch.warming is None and watch.state in {State.CONFIRMING, State.HELD}:
        watch.state = State.PAUSED if watch.paused else State.WATCHING
    step.note(
        "released",
        f"Traffic is divided and {watch.revision} has no tag of its own, so probes cannot tell whose fault it is: "
        "what they said holds nothing any more, and its own counts judge it.",
    )
