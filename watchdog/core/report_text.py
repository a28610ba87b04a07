"""The incident report as Markdown: what a tired engineer reads first, and what the post-mortem is written from.

Pure text from a watch's read model (`WatchRow.view`) and its journal. Everything that came from outside (names, notes,
reasons) is escaped, so a deploy note can neither break a table nor smuggle markup in.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from watchdog.core import marks, report_beyond, trial_text
from watchdog.core.advice import Step, headline, next_steps, release_steps, split_text
from watchdog.core.sparkline import sparkline
from watchdog.core.text import share

OUTCOMES: Final[Mapping[str, str]] = {
    "passed": "passed",
    "rolled_back": "rolled back",
    "failed": "failed",
    "superseded": "superseded by a newer deploy",
    "overridden": "overridden by hand",
    "unverified": "unverified",
}
WINDOW_NAMES: Final[Mapping[str, str]] = {
    "immediate": "immediate",
    "short_term": "short-term",
    "extended": "extended",
}
_ORDER = {"FAIL": 0, "ERROR": 1, "WARN": 2, "PASS": 3, "INCONCLUSIVE": 4}
_MARKUP = re.compile(r"([\\`*\[\]|~]|<(?=[A-Za-z/!?])|(?<![^\W_])_|_(?![^\W_]))")
_BLOCK = re.compile(r"^(?=[#>+=-])|(?<=^\d)(?=[.)]\s)")
"""What would begin a block of its own at the start of a list item."""


def markdown(
    view: Mapping[str, Any], records: Sequence[Mapping[str, Any]], explanation: Mapping[str, Any] | None = None
) -> str:
    """The report of a watch, ended or open.

    `view` is `WatchRow.view`. `records` are journal rows as mappings with `kind`, `at` (Unix seconds or ISO 8601),
    `body` and `late`, in order; without them the report lacks only what the view does not hold. `explanation` is
    `explain_view.view` of the same journal; with it the report says why of every row that can roll back.
    """
    parts = [
        _title(view),
        _summary(view),
        _facts(view),
        _section("What to do next", _numbered([*next_steps(view), *report_beyond.steps(view)])),
        _section("What to check for the root cause", _to_check(view)),
        _section("How it went", _measures(view, records)),
        _section("The trial", _trial(view)),
        _section("Scaling up", _scalings(view)),
        _section("The database", _plain(report_beyond.database(view))),
        _section(str((explanation or {}).get("question")), _why(explanation or {})),
        _section("Evidence", _criteria(view)),
        _section("Evidence over time", _plots(explanation or {})),
        _section("New in the log", _new_errors(view)),
        _section("Probes", _probes(view)),
        _section("Journeys", _journeys(view)),
        _section("Questions to people", _signoffs(view)),
        _section("Decisions", _decisions(view)),
        _section("What was seen", _coverage(view, records)),
        _section("What could have been found", _achieved(view)),
        _section("Timeline (UTC)", _timeline(view)),
        _section("How to release the traffic", _numbered(release_steps(view))),
        _section("Said at the opening", _bullets(view.get("notes"))),
        _footer(view, records),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


# --- words --------------------------------------------------------------------------------------------------------


def seconds_of(at: str | float | None) -> float | None:
    """Unix seconds of an ISO 8601 text or of Unix seconds; None stays None."""
    if at is None or at == "":
        return None
    return datetime.fromisoformat(at).timestamp() if isinstance(at, str) else float(at)


def clock_text(at: str | float | None, *, tenths: bool = False) -> str:
    """`14:13:20`, or `14:13:20.4`, or a dash. UTC."""
    seconds = seconds_of(at)
    if seconds is None:
        return "–"
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%H:%M:%S}" + (f".{moment.microsecond // 100_000}" if tenths else "")


def date_text(at: str | float | None) -> str:
    """`2026-09-21 14:13:20 UTC`, or a dash."""
    seconds = seconds_of(at)
    return "–" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def span_text(span_s: float) -> str:
    """`0.4 s`, `42 s`, `3 min 20 s`, `23 h 12 min`, `2 d 4 h`: two units at most, as a person says it."""
    span_s = max(0.0, span_s)
    if span_s < 9.95:
        return f"{span_s:.1f} s"
    whole = round(span_s)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    if whole < 2 * 86400:
        hours, rest = divmod(whole // 60, 60)
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    days, rest = divmod(whole // 3600, 24)
    return f"{days} d {rest} h" if rest else f"{days} d"


def percent_text(ratio: float | None) -> str:
    """`97 %`, or a dash."""
    return "–" if ratio is None else share(ratio)


def is_silent(row: Mapping[str, Any]) -> bool:
    """Whether a criterion has nothing to show: with a whole policy those are the most, and would bury the others."""
    return row.get("verdict") == "INCONCLUSIVE" and not row.get("n") and row.get("value") is None


def silent_rows(view: Mapping[str, Any]) -> Sequence[tuple[str, Sequence[str]]]:
    """The silent criteria as (why, labels), in the policy's order."""
    grouped: dict[str, list[str]] = {}
    for row in view.get("criteria") or ():
        if is_silent(row):
            label = str(row.get("label") or row["id"])
            if row.get("table") == "window_criteria":
                window = str(row.get("window"))
                label += f" ({WINDOW_NAMES.get(window, window)})"
            labels = grouped.setdefault(str(row.get("reason") or "no evidence yet"), [])
            if label not in labels:
                labels.append(label)
    return list(grouped.items())


def _plain(text: Any) -> str:
    """One line without markup of its own."""
    return _MARKUP.sub(r"\\\1", " ".join(str(text).split()))


def _item(text: Any) -> str:
    return _BLOCK.sub(r"\\", _plain(text), count=1)


def _code(text: Any) -> str:
    """A name in a table, where even inside code a bar would end the cell."""
    word = " ".join(str(text).replace("`", "'").split()).replace("|", "\\|")
    return f"`{word}`" if word else "–"


def _cell(text: Any) -> str:
    return _plain(text) if text not in (None, "") else "–"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    body = [f"| {' | '.join(row)} |" for row in rows]
    if not body:
        return ""
    return "\n".join([f"| {' | '.join(head)} |", "|" + "|".join(["---"] * len(head)) + "|", *body])


def _section(name: str, text: str) -> str:
    return f"## {name}\n\n{text}" if text else ""


def _bullets(lines: Iterable[str] | None) -> str:
    return "\n".join(f"- {_item(line)}" for line in lines or ())


def _numbered(steps: Sequence[Step]) -> str:
    """A command gets a block of its own, so that it can be copied whole."""
    out = []
    for number, (sentence, command) in enumerate(steps, start=1):
        out.append(f"{number}. {_item(sentence)}")
        if command:
            out.append(f"\n   ```bash\n   {command}\n   ```\n")
    return "\n".join(out).rstrip()


# --- parts --------------------------------------------------------------------------------------------------------


def _title(view: Mapping[str, Any]) -> str:
    outcome = view.get("outcome")
    calm = outcome in (None, "passed", "superseded") and not (view.get("incident") or view.get("rollback"))
    kind = "Watch report" if calm else "Incident report"
    ending = OUTCOMES.get(str(outcome), str(outcome)) if outcome else str(view["state"]).replace("_", " ")
    if view.get("state") != "ended":
        ending += ", still watched"
    return f"# {kind}: {_plain(view['service'])} in {_plain(view['region'])}: {ending}"


def _summary(view: Mapping[str, Any]) -> str:
    rollback = view.get("rollback") or {}
    lines = [f"**{_plain(headline(view))}**"]
    if rollback.get("restored_at"):
        back = _plain(split_text(rollback.get("to")))
        went = f"Traffic went back to {back} at {clock_text(rollback['restored_at'])} UTC"
        decided, restored = seconds_of(rollback.get("decided_at")), seconds_of(rollback["restored_at"])
        if decided is not None and restored is not None:
            went += f", {span_text(restored - decided)} after the decision"
        lines.append(went + ".")
        verified = rollback.get("verified_at")
        lines.append(f"Recovery was proven at {clock_text(verified)} UTC." if verified else "Recovery is not proven.")
    return " ".join(lines)


def _facts(view: Mapping[str, Any]) -> str:
    incident = view.get("incident") or {}
    rows = [
        ("Service", f"{_code(view['service'])} in {_code(view['region'])}, project {_code(view['project'])}"),
        ("Revision", _code(view["revision"])),
        ("Version", _cell(view.get("version"))),
        ("Deployed by", _cell(view.get("deployer"))),
        ("Deploy notes", _cell(view.get("notes_of_deploy"))),
        ("Before the deploy", _plain(split_text(view.get("previous")))),
        ("Traffic now" if not view.get("ended_at") else "Traffic at the end", _plain(split_text(view.get("split")))),
        ("Began to serve", date_text(view.get("cutover_at"))),
        ("Watched until", date_text(view.get("ended_at") or view.get("last_evaluation_at"))),
        ("Mode", _cell(" – ".join(part for part in (view.get("mode"), view.get("doubt")) if part))),
        ("Marked", _cell(marks.sentence(view))),
        ("Watch", _code(view["id"])),
    ]
    if incident:
        acknowledged = incident.get("acknowledged_at")
        rows.append(("Paged", date_text(incident.get("opened_at"))))
        by = f" by {_plain(incident['acknowledged_by'])}" if incident.get("acknowledged_by") else ""
        rows.append(("Acknowledged", f"{date_text(acknowledged)}{by}" if acknowledged else "nobody yet"))
        rows.append(("Resolved", date_text(incident.get("resolved_at")) if incident.get("resolved_at") else "not yet"))
    return _table(("", ""), [row for row in rows if row[1] != "–"])


def _measures(view: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> str:
    """Each step of the rollback with the time since the one before: where the seconds went."""
    rollback = view.get("rollback") or {}
    cutover = seconds_of(view.get("cutover_at"))
    decided = seconds_of(rollback.get("decided_at"))
    if decided is None:
        return ""
    steps = [
        ("The revision began to serve", cutover),
        ("First failed answer", first_failure(records, decided) if _by_probes(rollback) else None),
        (f"Decided: {rollback.get('trigger') or 'rollback'}", decided),
        *((name, seconds_of(at)) for name, at in trial_text.steps(view)),
        ("Traffic write accepted", seconds_of(rollback.get("written_at"))),
        ("Old revision serves again", seconds_of(rollback.get("restored_at"))),
        ("Recovery proven", seconds_of(rollback.get("verified_at"))),
    ]
    rows, before = [], None
    for name, at in steps:
        if at is None:
            continue
        since = "" if before is None else f"+{span_text(at - before)}"
        rows.append((_plain(name), clock_text(at, tenths=True), since))
        before = at
    table = _table(("Step", "UTC", "After the step before"), rows)
    said = [_plain(rollback[part]) for part in ("proof", "reason") if rollback.get(part)]
    return "\n\n".join([table, *said])


def _trial(view: Mapping[str, Any]) -> str:
    """What both revisions showed while they served the same users."""
    trial = view.get("trial") or {}
    if not trial:
        return ""
    rows = [
        (_code(", ".join(arm["revisions"])), _cell(trial_text.served(arm)), _cell(trial_text.kinds(arm)))
        for arm in (trial["watched"], trial["target"])
    ]
    times = [f"{clock_text(at, tenths=True)} {_plain(name)}" for name, at in trial_text.steps(view) if at]
    table = _table(("Revision", f"Requests ({_plain(trial.get('source'))})", "Failed with"), rows)
    return "\n\n".join([_plain(trial_text.sentence(view)), table, "; ".join(times) + "."])


def _scalings(view: Mapping[str, Any]) -> str:
    head = ("UTC", "Criterion", "Maximum", "Before", "After", "Result", "Why")
    return _table(head, [[_cell(cell) for cell in row] for row in report_beyond.scalings(view)])


def _by_probes(rollback: Mapping[str, Any]) -> bool:
    return str(rollback.get("trigger") or "").startswith(("health_check", "probe."))


def first_failure(records: Sequence[Mapping[str, Any]], decided_at: float) -> float | None:
    """When the run of failed answers that was still going at the decision began (end of its first failed probe)."""
    runs: dict[str, float] = {}
    for record in records:
        body = record.get("body") or {}
        if record.get("kind") != "probed" or body.get("role") == "control":
            continue
        answered = float(body["answer"]["t"][1])
        if answered > decided_at:
            continue
        said = body["answer"]["e"][0]
        if said == "f":
            runs.setdefault(str(body["probe"]), answered)
        elif said == "p":
            runs.pop(str(body["probe"]), None)
    return min(runs.values(), default=None)


def _why(explanation: Mapping[str, Any]) -> str:
    """One line a rollback row: when its evidence was enough, or how near it came."""
    return "\n".join(
        f"- **{_item(row.get('label') or row['id'])}**: {_plain(row['why'])}"
        for row in explanation.get("criteria") or ()
        if row.get("action") == "rollback" and not row.get("silent")
    )


def _plots(explanation: Mapping[str, Any]) -> str:
    """How near an alarm each row came, from the cutover on: a line a row of those that were ever on their way."""
    bins = explanation.get("bins") or {}
    rows = []
    for row in explanation.get("criteria") or ():
        fullness = (row.get("over_time") or {}).get("fullness") or []
        if any(f for f in fullness if f is not None):
            rows.append((" ".join(str(row.get("label") or row["id"]).split()), sparkline(fullness)))
    if not rows:
        return ""
    wide = max(len(label) for label, _ in rows)
    lines = [f"{label.replace('`', chr(39)):<{wide}}  {line}" for label, line in rows]
    span = f" {span_text(float(bins['width_s']))} a step, joined where there are many;" if bins.get("width_s") else ""
    said = f"From the cutover on;{span} a full block is a whole proof, a dot no evidence."
    return "\n".join(["```text", *lines, "```", "", said])


def _criteria(view: Mapping[str, Any]) -> str:
    rows = sorted(
        (r for r in view.get("criteria") or () if not is_silent(r)), key=lambda r: _ORDER.get(str(r.get("verdict")), 5)
    )
    table = _table(
        ("Verdict", "Criterion", "Value", "Limit", "Bad of total", "Proof", "Action", "Why"),
        [
            (
                _cell(row.get("verdict")),
                _plain(row.get("label") or row["id"]),
                _cell(row.get("value_text")),
                _cell(row.get("threshold_text")),
                f"{row['bad']:g} of {row['n']:g}" if row.get("n") and row.get("bad") is not None else "–",
                percent_text(row.get("fullness")),
                _cell(row.get("action")),
                _cell(row.get("reason")),
            )
            for row in rows
        ],
    )
    silent = [f"{labels}: {why}" for why, names in silent_rows(view) for labels in [", ".join(names)]]
    return "\n\n".join(part for part in (table, "Without evidence:" if silent else "", _bullets(silent)) if part)


def _probes(view: Mapping[str, Any]) -> str:
    return _table(
        ("Probe", "State", "Passed", "Failed", "Missing", "Last failure"),
        [
            (
                _code(probe["name"]),
                _plain(probe.get("state"))
                + ("" if probe.get("armed", True) else ", not armed: pages, cannot roll back"),
                *(f"{probe.get(result) or 0:g}" for result in ("passed", "failed", "missing")),
                _cell(probe.get("last_detail") or probe.get("last_reason")),
            )
            for probe in view.get("probes") or ()
        ],
    )


def _to_check(view: Mapping[str, Any]) -> str:
    """Questions that the evidence raises; what it proves stands elsewhere."""
    return _numbered([Step(str(q["question"]), str(q.get("command") or "")) for q in view.get("to_check") or ()])


def _new_errors(view: Mapping[str, Any]) -> str:
    """Kinds of errors that the revision before did not log, the most frequent first."""
    return _table(
        ("Times", "First (UTC)", "Error", "Where"),
        [
            (f"{e['count']:,}", clock_text(e.get("first_at")), _cell(e.get("text")), _cell(e.get("where")))
            for e in ((view.get("log") or {}).get("errors") or ())[:10]
        ],
    )


def _journeys(view: Mapping[str, Any]) -> str:
    """What people can do with the service, and at which step they could not at the last try."""
    states = {p["name"]: p for p in view.get("probes") or ()}
    rows = []
    for journey in view.get("journeys") or ():
        known = states.get(journey["name"]) or {}
        bad = next((s for s in journey.get("steps") or () if s.get("result") in {"failed", "missing"}), None)
        said = f"not run: {journey['left_out']}" if journey.get("left_out") else ""
        if bad is not None:
            said = f"step {bad['name']}: {bad.get('detail') or bad.get('reason')}"
        rows.append((
            _cell(journey.get("title")),
            _cell(known.get("state") or "not run"),
            *(f"{known.get(result) or 0:g}" for result in ("passed", "failed", "missing")),
            _cell(said),
        ))  # fmt: skip
    return _table(("Journey", "State", "Passed", "Failed", "Missing", "Where it stopped last"), rows)


def _signoffs(view: Mapping[str, Any]) -> str:
    """What only people can confirm; what nobody did is open."""
    return _table(
        ("Question", "State", "By", "UTC", "Said"),
        [
            (
                _cell(f"{s['question']} ({s['name']})" if s.get("question") else s["name"]),
                "**open**" if s.get("state") == "open" else _cell(s.get("state")),
                _cell(s.get("by")),
                clock_text(s.get("signed_at")),
                _cell(s.get("reason")),
            )
            for s in view.get("signoffs") or ()
        ],
    )


def _decisions(view: Mapping[str, Any]) -> str:
    return _table(
        ("UTC", "Action", "Reason"),
        [
            (clock_text(d.get("at")), _cell(d.get("action")), _cell(d.get("reason")))
            for d in view.get("decisions") or ()
        ],
    )


def _coverage(view: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> str:
    cutover = seconds_of(view.get("cutover_at"))
    table = _table(
        ("Window", "From", "Until", "State", "Coverage", "Verdict"),
        [
            (
                WINDOW_NAMES.get(w["name"], _plain(w["name"])),
                offset_text(seconds_of(w.get("starts_at")), cutover) or "–",
                offset_text(seconds_of(w.get("ends_at")), cutover) or "–",
                "not reached" if w.get("state") == "none" else _cell(w.get("state")),
                percent_text(w.get("coverage")),
                _cell(w.get("verdict")),
            )
            for w in view.get("windows") or ()
        ],
    )
    gaps = [span for r in records if r.get("kind") == "watch_resumed" for span in [_gap(r)] if span > 0]
    away = f"The watchdog was away {len(gaps)} times, {span_text(sum(gaps))} in all; that time counts as not seen."
    if len(gaps) == 1:
        away = f"The watchdog was away once, for {span_text(gaps[0])}; that time counts as not seen."
    return "\n\n".join(part for part in (table, away if gaps else "") if part)


def _achieved(view: Mapping[str, Any]) -> str:
    """Of each row of counts that rolls back: how much the watch proves by having found nothing."""
    return "\n".join(
        f"- **{_item(row.get('label') or row['id'])}**: {_plain(row['text'])}" for row in view.get("achieved") or ()
    )


def _gap(record: Mapping[str, Any]) -> float:
    at, down = seconds_of(record.get("at")), seconds_of((record.get("body") or {}).get("down_since"))
    return 0.0 if at is None or down is None else at - down


def _timeline(view: Mapping[str, Any]) -> str:
    cutover = seconds_of(view.get("cutover_at"))
    rows = []
    for entry in view.get("timeline") or ():
        at = seconds_of(entry.get("at"))
        rows.append((clock_text(at), offset_text(at, cutover), _cell(entry.get("text"))))
    return _table(("At", "Since cutover", "What"), rows)


def offset_text(at: float | None, origin: float | None) -> str:
    """`+3 min 20 s` from the origin, `−12 s` before it, empty when either is unknown."""
    if at is None or origin is None:
        return ""
    if at == origin:
        return "0 s"
    return ("+" if at >= origin else "−") + span_text(abs(at - origin))


def _footer(view: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> str:
    late = sum(1 for r in records if r.get("late"))
    journal = f"{len(records)} journal events" + (f", {late} of them recorded late" if late else "")
    seen = date_text(view.get("ended_at") or view.get("last_evaluation_at"))
    more = f"`watchdog explain {view['id']}` tells more."
    return f"---\n\nWritten by Watchdog from {journal}; the last evidence is of {seen}. {more}"
