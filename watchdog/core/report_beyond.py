"""What the report says of actions beyond traffic, from a watch's read model. Plain words; the report escapes them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from watchdog.core.advice import Step

STATES: Final[Mapping[str, str]] = {
    "writing": "being written",
    "asked": "waits for an approval",
    "judging": "written, to be measured again",
    "reverting": "being put back",
    "helped": "helped, kept",
    "reverted": "did not help, put back",
    "left": "left as it was found",
    "refused": "not done",
    "observed": "not done (mode observe)",
    "failed": "failed",
    "dropped": "not needed any more",
}


def scalings(view: Mapping[str, Any]) -> Sequence[Sequence[str]]:
    """A row for each attempt to scale up: when, why, the maximum, the measurements before and after, the result."""
    rows = []
    for s in view.get("scalings") or ():
        raised = f"{s['max_before']} to {s['max_after']}" if s.get("max_before") else "unchanged"
        rows.append(
            (
                str(s["decided_at"])[11:19],
                str(s["criterion"]),
                raised if s.get("written_at") else "unchanged",
                _measured(s.get("value_before"), s.get("instances_before")),
                _measured(s.get("value_after"), s.get("instances_after")) if s.get("written_at") else "–",
                STATES.get(str(s["state"]), str(s["state"])),
                str(s.get("reason") or ""),
            )
        )
    return rows


def _measured(value: Any, instances: Any) -> str:
    there = "?" if instances is None else f"{instances:g}"
    return f"{value} with {there} instances"


def steps(view: Mapping[str, Any]) -> Sequence[Step]:
    """What is left for a person, with the command."""
    attempts = view.get("scalings") or ()
    last = attempts[-1] if attempts else {}
    state, command = last.get("state"), str(last.get("command") or "")
    if state == "asked":
        return [
            Step(
                f"Approve scaling up from {last.get('max_before')} to {last.get('max_after')} instances:",
                f"watchdog signoff {view['id']} scale_up --reason 'why you decided so'",
            )
        ]
    if state in {"refused", "observed", "failed"} and command:
        return [Step(f"{last.get('criterion')} asks for more instances, and nothing was written. By hand:", command)]
    return []
