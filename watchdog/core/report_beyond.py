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
        asks = Step(f"{last.get('criterion')} asks for more instances, and nothing was written. By hand:", command)
        return [asks, *_database(view)]
    return _database(view)


def _database(view: Mapping[str, Any]) -> Sequence[Step]:
    """How the database goes back, where a rollback was decided and nothing has done it."""
    database = view.get("database") or {}
    decided = view.get("rollback") or view.get("hold") or view.get("outcome") in {"rolled_back", "failed"}
    if not database or not decided or database.get("state") in {"succeeded", "starting", "running"}:
        return []
    first, *rest = database.get("commands") or ("",)
    return [Step("If this deploy migrated the database, undo that by hand:", first), *(Step("Then:", c) for c in rest)]


def database(view: Mapping[str, Any]) -> str:
    """What the job did, in one sentence; empty where it was not asked to do anything."""
    run = view.get("database") or {}
    if not run.get("state"):
        return ""
    by = f" on the word of {run['by']}" if run.get("by") else ""
    name = f" ({run['execution']})" if run.get("execution") else ""
    end = {
        "starting": "was asked to run",
        "running": "runs",
        "succeeded": f"has undone the migration at {str(run.get('ended_at'))[11:19]} UTC",
        "failed": f"failed: {run.get('reason')}",
    }[str(run["state"])]
    return f"The job {run['job']}{name} was asked for at {str(run['asked_at'])[11:19]} UTC{by} and {end}."
