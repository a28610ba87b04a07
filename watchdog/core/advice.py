"""What a person should do now, given where a watch stands: one place, so that page, report and messages agree.

Commands quote every value that came from outside, so that they are safe to paste into a shell.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

LOUD: Final = ("FAIL", "ERROR", "WARN")
"""Verdicts that a person should look at, worst first."""

_SAFE = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")


class Step(NamedTuple):
    """One thing to do: a sentence, and the command to type where there is one."""

    sentence: str
    command: str = ""


def quote(word: str) -> str:
    """The word as one argument for a POSIX shell."""
    return word if word and _SAFE.fullmatch(word) else "'" + word.replace("'", "'\"'\"'") + "'"


def split_text(percents: Mapping[str, float] | None) -> str:
    """A split as a person reads it: `api-00002 90 %, api-00001 10 %`."""
    return ", ".join(f"{revision} {percent:g} %" for revision, percent in (percents or {}).items()) or "no traffic"


def headline(view: Mapping[str, Any]) -> str:
    """What is going on, in one sentence: the outcome's reason, else what the watch is busy with."""
    return _sentence(str(view.get("reason") or _busy_with(view)))


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else text + "."


def _busy_with(view: Mapping[str, Any]) -> str:
    rollback, hold = view.get("rollback") or {}, view.get("hold") or {}
    if hold:
        return f"Held: {hold.get('reason')}"
    if rollback.get("state") == "trial":
        return f"A share of the traffic is on trial, to see whether going back helps: {rollback.get('proof')}"
    if rollback:
        why = rollback.get("proof") or rollback.get("trigger") or "by order"
        return f"Going back to {split_text(rollback.get('to'))}: {why}"
    match view.get("state"):
        case "pending":
            return "The revision has no traffic yet; the watch begins when it has"
        case "paused":
            return "Paused: evidence is gathered, nothing is done automatically"
        case "awaiting_approval" if view.get("decisions"):
            return f"Waits for your approval: {view['decisions'][-1].get('reason')}"
    return _worst_evidence(view)


def _worst_evidence(view: Mapping[str, Any]) -> str:
    probes, rows = view.get("probes") or (), view.get("criteria") or ()
    for probe in probes:
        if probe.get("state") == "failing" and probe.get("streak"):
            said = probe.get("last_detail") or probe.get("last_reason") or "no reason given"
            return f"Probe {probe['name']} failed {probe['streak']} of {probe.get('needed')} times in a row: {said}"
    for verdict in LOUD:
        for row in rows:
            if row.get("verdict") == verdict:
                return f"{row.get('label') or row['id']}: {row.get('reason') or verdict.lower()}"
    passing = sum(probe.get("state") == "passing" for probe in probes)
    if not passing:
        return "No evidence has arrived yet"
    return f"{passing} of {len(probes)} probes pass and no criterion is broken"


def next_steps(view: Mapping[str, Any]) -> Sequence[Step]:
    """What to do next, most urgent first, from a watch's read model. Never empty: nothing to do is said, too."""
    rollback, incident = view.get("rollback") or {}, view.get("incident") or {}
    ending = view.get("outcome") or ("rolled_back" if rollback.get("state") == "done" else None)
    known = _BY_OUTCOME.get(str(ending)) if ending else _BY_STATE.get(str(view.get("state")))
    steps = [*(known or _unknown)(view)]
    if incident.get("opened_at") and not (incident.get("acknowledged_at") or incident.get("resolved_at")):
        upcoming = incident.get("next_page_to")
        said = f"Say that you have it, or {upcoming} is paged at {_time(incident)}." if upcoming else _HAVE_IT
        steps.append(Step(said, f"watchdog ack {_id(view)}"))
    elif incident.get("opened_at") and not incident.get("resolved_at") and not view.get("ended_at"):
        by = incident.get("acknowledged_by") or "Somebody"
        steps.append(Step(f"{by} has it. When it is over, say so.", f"watchdog resolve {_id(view)}"))
    return steps


_HAVE_IT: Final = "Say that you have it, so that nobody else is woken."


def _time(incident: Mapping[str, Any]) -> str:
    """The time of day of the next page, UTC, from its ISO 8601."""
    return f"{str(incident.get('next_page_at'))[11:19]} UTC"


def release_steps(view: Mapping[str, Any]) -> Sequence[Step]:
    """How traffic follows new deploys again after a rollback has pinned it; empty when no rollback moved traffic."""
    rollback = view.get("rollback") or {}
    if not rollback.get("written_at"):
        return []
    pinned, service = split_text(rollback.get("to")), quote(f"{view['region']}/{view['service']}")
    pin = f"Traffic is pinned to {pinned}: every later deploy gets 0 % until you release it. Deploy the fix first."
    newer = "Let traffic follow the newest revision again as soon as one newer than the bad one is ready."
    at_once = f"Or at once. Refused while {view['revision']} is the latest ready revision: users would get it back."
    return [
        Step(pin),
        Step(newer, f"watchdog release {service} --on-next"),
        Step(at_once, f"watchdog release {service}"),
    ]


# --- commands -----------------------------------------------------------------------------------------------------


def _id(view: Mapping[str, Any]) -> str:
    return quote(str(view["id"]))


def _place(view: Mapping[str, Any]) -> str:
    return f"--region {quote(str(view['region']))} --project {quote(str(view['project']))}"


def _describe(view: Mapping[str, Any]) -> str:
    return f"gcloud run services describe {quote(str(view['service']))} {_place(view)} --format='yaml(status.traffic)'"


def _by_hand(view: Mapping[str, Any]) -> Step:
    split = (view.get("target") or {}).get("split") or view.get("previous") or {}
    service = quote(str(view["service"]))
    if not split:
        command = f"gcloud run revisions list --service {service} {_place(view)}"
        return Step("No revision is known that served well before, so pick one yourself.", command)
    to = quote(",".join(f"{revision}={percent:g}" for revision, percent in split.items()))
    command = f"gcloud run services update-traffic {service} --to-revisions {to} {_place(view)}"
    return Step(f"To put traffic back by hand on {split_text(split)}:", command)


def _logs(view: Mapping[str, Any]) -> Step:
    where = f'resource.type="cloud_run_revision" AND resource.labels.revision_name="{view["revision"]}"'
    query = quote(f"{where} AND severity>=WARNING")
    command = f"gcloud logging read {query} --project {quote(str(view['project']))} --limit 50"
    return Step(f"Find the cause in the logs of {view['revision']}.", command)


def _rollback(view: Mapping[str, Any], sentence: str) -> Step:
    return Step(sentence, f"watchdog rollback {_id(view)} --reason 'why you decided so'")


# --- by state -----------------------------------------------------------------------------------------------------


def _nothing(_view: Mapping[str, Any]) -> Sequence[Step]:
    return [Step("Nothing. The watchdog is watching and will page when you are needed.")]


def _wait(_view: Mapping[str, Any]) -> Sequence[Step]:
    return [Step("Wait a few seconds: the watchdog is acting, and this will change by itself.")]


def _held(view: Mapping[str, Any]) -> Sequence[Step]:
    return [
        Step("Read above why the rollback is held: it would not help, or must not be done by a machine."),
        _rollback(view, "Roll back all the same, if you know better."),
    ]


def _approve(view: Mapping[str, Any]) -> Sequence[Step]:
    return [
        _rollback(view, "Decide now. To approve the rollback:"),
        Step("To keep the new revision for now:", f"watchdog hold {_id(view)} --reason 'why you decided so'"),
    ]


def _paused(view: Mapping[str, Any]) -> Sequence[Step]:
    resume = f"watchdog resume {_id(view)}"
    return [Step("Evidence is gathered, but nothing is done automatically. When ready:", resume)]


def _unknown(view: Mapping[str, Any]) -> Sequence[Step]:
    return [Step("Look at what serves now.", _describe(view))]


# --- by outcome ---------------------------------------------------------------------------------------------------


def _passed(view: Mapping[str, Any]) -> Sequence[Step]:
    loud = [r for r in view.get("criteria") or () if r.get("verdict") in LOUD]
    if not loud:
        return [Step("Nothing. The release is good.")]
    names = ", ".join(str(r.get("label") or r["id"]) for r in loud)
    return [Step(f"Nothing urgent. Look at the rows with a warning in working hours: {names}.")]


def _rolled_back(view: Mapping[str, Any]) -> Sequence[Step]:
    proven = (view.get("rollback") or {}).get("verified_at")
    unproven = "Check that users are served well: traffic is back, but too little was seen to prove the recovery."
    return [
        Step("Nothing for your users: the old revision serves them." if proven else unproven),
        _logs(view),
        Step("Deploy the fix, then release the traffic: until then new deploys get no users."),
    ]


def _failed(view: Mapping[str, Any]) -> Sequence[Step]:
    if (view.get("rollback") or {}).get("restored_at"):
        sick = "The old revision serves again, and the service is still not well. Do not roll back further:"
        shared = "look for what both share (database, cache, upstream, network, a migration)."
        return [Step(f"{sick} {shared}"), _logs(view)]
    serves = (view.get("split") or {}).get(view.get("revision"), 0)
    now = (
        f"{view['revision']} still has {serves:g} % of the traffic. Decide now." if serves else "Check what serves now."
    )
    return [Step(now, _describe(view)), _by_hand(view), _logs(view)]


def _unverified(_view: Mapping[str, Any]) -> Sequence[Step]:
    return [
        Step("Check the release by hand: too little evidence arrived to say that it is good, and none that it is bad."),
        Step(
            "Mend the source named in the reason; this says whether the next deploy would be seen.",
            "watchdog preflight",
        ),
    ]


def _superseded(view: Mapping[str, Any]) -> Sequence[Step]:
    service = quote(f"{view['region']}/{view['service']}")
    return [Step("Nothing here. A newer deploy has its own watch.", f"watchdog status {service}")]


def _overridden(view: Mapping[str, Any]) -> Sequence[Step]:
    return [
        Step("Somebody moved the traffic by hand; the watchdog does not fight people. What serves:", _describe(view))
    ]


_BY_STATE: Final[Mapping[str, Callable[[Mapping[str, Any]], Sequence[Step]]]] = {
    "pending": _nothing,
    "watching": _nothing,
    "confirming": _wait,
    "held": _held,
    "awaiting_approval": _approve,
    "rolling_back": _wait,
    "verifying": _wait,
    "paused": _paused,
}
_BY_OUTCOME: Final[Mapping[str, Callable[[Mapping[str, Any]], Sequence[Step]]]] = {
    "passed": _passed,
    "rolled_back": _rolled_back,
    "failed": _failed,
    "superseded": _superseded,
    "overridden": _overridden,
    "unverified": _unverified,
}
