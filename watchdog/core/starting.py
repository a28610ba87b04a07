"""A slow starter: a run of timeouts that is shorter than the probe's `startup` says nothing yet."""

from watchdog.core.events import Probed
from watchdog.core.probing import ProbeAnswer
from watchdog.core.state import Watch


def may_be_starting(watch: Watch, event: Probed, answer: ProbeAnswer) -> bool:
    """Whether the answer of a regular probe is one of such a run."""
    c, startup_s = watch.confirmations.get(event.probe), watch.probe(event.probe).startup_s
    began = event.scheduled_at if c is None else c.started_at
    silent = answer.reason == "timeout" and (c is None or set(c.reasons) <= {"timeout"})
    return answer.failed and silent and answer.ended_at - began < startup_s
