"""An explanation in a terminal: the answer, what was decided, and every row's evidence over time as blocks."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from watchdog.core.hints import said
from watchdog.core.report_text import OUTCOMES, WINDOW_NAMES, clock_text, date_text, offset_text, seconds_of, span_text
from watchdog.core.text import share
from watchdog.terminal import COLOURS

View = Mapping[str, Any]
BLOCKS: Final = "▁▂▃▄▅▆▇█"
"""Fullness in eighths; the full block only for enough."""
PLAIN: Final = "_.:-=+*#"
"""The same where the output cannot show blocks."""
NOTHING: Final = "·"
HALF: Final = 0.5
MOST_ERRORS: Final = 5
LEAST: Final = 2
"""Points from which on the way to a proof is worth a line."""


def page(view: View, *, blocks: bool = True) -> RenderableType:
    """Everything a person asks first. `blocks` is False where the output takes ASCII only."""
    rows = view.get("criteria") or ()
    shown = [c for c in rows if not c.get("silent")]
    parts: list[RenderableType] = [_head(view), Text(""), Text(_safe(view["question"]), style="bold")]
    parts += [_indented(Text(_safe(line))) for line in view["answer"]]
    parts += _section("What happened (UTC)", _course(view))
    scale = _scale(view)
    parts += _section(
        f"Rows that roll back{scale}", _rows([c for c in shown if c["action"] == "rollback"], blocks=blocks)
    )
    parts += _section(
        f"Rows that ask for a person{scale}", _rows([c for c in shown if c["action"] != "rollback"], blocks=blocks)
    )
    parts += _section("Failing probes that were repeated", _confirmations(view))
    parts += _section("New in the log", _new_errors(view))
    parts += _section("Missing evidence", _missing(view))
    parts += _section("Coverage", _coverage(view))
    parts += _section("Never seen", _silent(rows))
    return Group(*parts)


def sparkline(over_time: Sequence[float | None], *, blocks: bool = True) -> Text:
    """One character a bin: how full the evidence was at most; a dot before the first evidence."""
    ramp, none = (BLOCKS, NOTHING) if blocks else (PLAIN, " ")
    out = Text()
    for full in over_time:
        if full is None:
            out.append(none, style="dim")
        else:
            step = len(ramp) - 1 if full >= 1.0 else min(len(ramp) - 2, int(full * (len(ramp) - 1)))
            out.append(ramp[step], style="green" if full < HALF else "yellow" if full < 1.0 else "bold red")
    return out


def _section(title: str, body: Sequence[RenderableType]) -> list[RenderableType]:
    return [Text(""), Text(title, style="bold"), *body] if body else []


def _indented(what: RenderableType, by: int = 2) -> Padding:
    return Padding(what, (0, 0, 0, by))


def _safe(text: object) -> str:
    """Control characters of what came from outside cannot move the cursor."""
    return "".join(c if c.isprintable() else " " for c in str(text))


def _head(view: View) -> Text:
    outcome = view.get("outcome")
    ending = OUTCOMES.get(str(outcome), str(outcome)) if outcome else f"{str(view['state']).replace('_', ' ')}, open"
    text = Text.assemble(
        (_safe(f"{view['service']} in {view['region']}"), "bold"),
        f"  {_safe(view['revision'])}  ",
        (ending, "bold green" if outcome == "passed" else "bold cyan"),
        (f"  watch {_safe(view['watch'])}", "dim"),
    )
    began, until = seconds_of(view.get("cutover_at")), seconds_of(view.get("explained_until"))
    if began is not None and until is not None:
        text.append(f"\nserves since {date_text(began)}; explained over {span_text(until - began)}", style="dim")
    return text


def _scale(view: View) -> str:
    width = view["bins"]["width_s"]
    return f" (evidence over time, {span_text(width)} a column, the full block is enough)"


def _course(view: View) -> list[RenderableType]:
    cutover = seconds_of(view.get("cutover_at"))
    table = Table.grid(padding=(0, 2, 0, 0))
    for style in ("dim", "dim", ""):
        table.add_column(style=style, no_wrap=bool(style), overflow="fold")
    for moment in view.get("course") or ():
        at = seconds_of(moment.get("at"))
        loud = "bold red" if moment["kind"] in {"decision", "held", "refused", "failed"} else ""
        table.add_row(clock_text(at), offset_text(at, cutover), Text(_safe(moment["text"]), style=loud))
    if not table.row_count:
        return []
    more = view.get("course_left_out") or 0
    said = (
        [_indented(Text(f"{more} lines between the first and the last ones are left out.", style="dim"))]
        if more
        else []
    )
    return [_indented(table), *said]


def _rows(rows: Sequence[View], *, blocks: bool) -> list[RenderableType]:
    out: list[RenderableType] = []
    wide = max((len(_label(c)) for c in rows), default=0)
    ranked = sorted(rows, key=lambda c: -float(c["peak"]["fullness"]))
    for c in ranked:
        verdict = str(c["verdict"])
        head = Text.assemble(
            (f"{verdict:<12}  ", COLOURS.get(verdict, "")),
            (f"{_label(c):<{wide}}  ", "bold"),
            sparkline(c["over_time"]["fullness"], blocks=blocks),
            no_wrap=True,
            overflow="ellipsis",
        )
        out.append(_indented(head))
        out += [_indented(_way(p, blocks=blocks), 16) for p in c["proofs"][:1] if len(p["approach"]) > LEAST]
        out.append(_indented(Text(_safe(c["why"]), style="dim" if c["peak"]["fullness"] < 1.0 else ""), 16))
    return out


def _way(proof: View, *, blocks: bool) -> Text:
    """How the evidence grew from a tenth of the proof to all of it."""
    text = Text(f"{clock_text(proof['approach'][0][0])} ", style="dim")
    text.append_text(sparkline([full for _, full in proof["approach"]], blocks=blocks))
    return text.append(f" {clock_text(proof['at'])}", style="dim")


def _label(c: View) -> str:
    window = c.get("window") if c.get("table") == "window_criteria" else None
    return _safe(c["label"]) + (f" ({WINDOW_NAMES.get(str(window), window)})" if window else "")


def _confirmations(view: View) -> list[RenderableType]:
    runs = view.get("confirmations") or ()
    if not runs:
        return []
    table = Table.grid(padding=(0, 2, 0, 0))
    ended = {
        "proven": "proven",
        "passed": "ended by a pass",
        "away": "the watchdog was away, begun anew",
        "closed": "the watch ended",
        "open": "goes on",
    }
    for r in runs:
        table.add_row(
            Text(clock_text(r["at"]), style="dim"),
            _safe(r["probe"]),
            f"{r['failures']} failures in a row, {r['needed']} needed",
            Text(ended.get(str(r["ended"]), str(r["ended"])), style="bold red" if r["ended"] == "proven" else ""),
            Text(_safe(r["detail"]), style="dim"),
        )
    every: Mapping[str, View] = view.get("confirmations_in_all") or {}
    in_all = ", ".join(f"{_safe(n)} {t['times']} ({t['passed']})" for n, t in every.items())
    return [_indented(table), _indented(Text(f"Times in all (ended by a pass): {in_all}.", style="dim"))]


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n} times"


def _new_errors(view: View) -> list[RenderableType]:
    """The most frequent kinds of errors that the revision before did not log."""
    return [_indented(Text(_safe(said(error)))) for error in (view.get("new_errors") or ())[:MOST_ERRORS]]


def _missing(view: View) -> list[RenderableType]:
    table = Table.grid(padding=(0, 2, 0, 0))
    for gap in view.get("missing") or ():
        last = "goes on" if gap["goes_on"] else f"until {clock_text(gap['until'])}"
        table.add_row(
            _safe(gap["check"]),
            _safe(str(gap["reason"]).replace("_", " ")),
            f"{span_text(gap['seconds'])} in all, {_times(gap['times'])}",
            Text(f"from {clock_text(gap['first_at'])}, {last}", style="dim"),
        )
    return [_indented(table)] if table.row_count else []


def _coverage(view: View) -> list[RenderableType]:
    """The least covered rollback row of every window, which is what the window is judged by."""
    least: dict[str, tuple[float, str]] = {}
    for c in view.get("criteria") or ():
        if c["action"] == "rollback":
            for window, covered in c["coverage"].items():
                least[window] = min(least.get(window, (2.0, "")), (covered, c["label"]))
    said = [
        f"{WINDOW_NAMES.get(w, w)} {share(covered)} (least: {_safe(label)})" for w, (covered, label) in least.items()
    ]
    return [_indented(Text("; ".join(said)))] if said else []


def _silent(rows: Sequence[View]) -> list[RenderableType]:
    grouped: dict[str, list[str]] = {}
    for c in rows:
        if c.get("silent"):
            labels = grouped.setdefault(str(c.get("why")), [])
            if _label(c) not in labels:
                labels.append(_label(c))
    return [_indented(Text(f"{', '.join(labels)}: {_safe(why)}", style="dim")) for why, labels in grouped.items()]
