"""A watch in a terminal: one line for everything announced, and a panel that shows where it stands."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from watchdog.core.text import clock

COLOURS: Mapping[str, str] = {
    "PASS": "green",
    "WARN": "yellow",
    "FAIL": "bold red",
    "INCONCLUSIVE": "dim",
    "ERROR": "magenta",
    "passing": "green",
    "failing": "bold red",
    "missing": "magenta",
    "unknown": "dim",
}
_LOUD = frozenset({"decision", "held", "rollback_failed", "rollback_refused", "not_recovered", "not_routed"})
_GOOD = frozenset({"restored", "recovered", "proven", "released"})


def percents(split: Mapping[str, int]) -> str:
    """`rev-2 90 %, rev-1 10 %`."""
    return ", ".join(f"{r} {p} %" for r, p in split.items()) or "no traffic"


def sentence(event: str, fields: Mapping[str, Any]) -> str:  # noqa: C901, PLR0911, PLR0912 - a table of wordings
    """An announcement as a sentence for a person."""
    f = fields
    match event:
        case "watch_opened":
            where = f"{f['service']} in {f['region']}"
            back = (
                f"a rollback would go to {percents(f['previous'])}"
                if f["previous"]
                else "no split to go back to is known"
            )
            return f"Watching {f['revision']} of {where}; {back}."
        case "cutover":
            return f"{f['revision']} serves traffic: {percents(f['split'])}."
        case "verdict_changed":
            why = f" – {f['reason']}" if f["reason"] else ""
            return f"{f['criterion']}: {f['was']} → {f['verdict']}{why}"
        case "probe_failed":
            return f"Probe {f['probe']} failed: {f['detail'] or f['reason']}."
        case "probe_passed":
            return f"Probe {f['probe']} passes again."
        case "confirming":
            return f"Confirming {f['probe']}: repeated until {f['needed']} failures in a row, or one pass."
        case "comparing":
            return f"{f['reason']}; counting whether {f['control']} fails the same users too."
        case "warming":
            return f"{f['reason']}; warming {f['target']} before traffic moves."
        case "traffic_written":
            return f"Traffic written: {percents(f['split'])}. {f['reason']}".strip()
        case "trial_begun":
            return f"On trial: Cloud Run is to serve {percents(f['split'])}, to see whether going back helps."
        case "trial_put_back":
            return f"The trial is over, its share was put back: {percents(f['split'])}."
        case "scaled_up":
            return str(f["reason"])
        case "restored":
            return f"Restored: Cloud Run serves {percents(f['split'])}, {f['seconds']:.1f} s after the decision."
        case "verifying":
            return "Routing has settled; proving that the service has recovered."
        case "window_ended":
            covered = f"{100 * f['coverage']:.0f} %" if f["coverage"] is not None else "nothing to cover"
            verdict = "verified" if f["verified"] else "NOT verified"
            return f"The {f['window'].replace('_', ' ')} window has ended: {verdict}, coverage {covered}."
        case "proven":
            return f"{percents(f['split'])} is proven: later rollbacks may go back to it."
        case "promoted" | "stepped_back":
            return f"Traffic is now {percents(f['split'])}."
        case "signal":
            return f"Signal {f['signal']} by {f['by'] or 'somebody'}: {f['reason']}".removesuffix(": ")
        case "operator":
            return f"{f['by'] or 'Somebody'}: {f['verb']} {f['reason']}".strip()
        case "watch_resumed":
            return f"Taken up again after {f['away_s']:.0f} s away; the gap counts as not covered."
        case "watch_ended":
            return f"{f['outcome'].replace('_', ' ').upper()}: {f['reason']}"
        case _:
            return str(f.get("reason") or event.replace("_", " "))


def line(event: str, at: float, fields: Mapping[str, Any]) -> Text:
    """One announcement, with its time and a colour."""
    style = "bold red" if event in _LOUD else "green" if event in _GOOD else ""
    if event == "verdict_changed":
        style = COLOURS.get(str(fields["verdict"]), "")
    if event == "watch_ended":
        style = "bold green" if fields.get("outcome") == "passed" else "bold"
    out = Text(clock(at).removesuffix(" UTC") + "  ", style="dim")
    return out.append(sentence(event, fields), style=style)


def panel(view: Mapping[str, Any]) -> RenderableType:
    """Where the watch stands: windows, criteria with value, limit and evidence, probes."""
    return Group(_head(view), _windows(view), _criteria(view), _probes(view))


def _head(view: Mapping[str, Any]) -> Text:
    where = f"{view['service']} in {view['region']}"
    text = Text.assemble(
        (where, "bold"), f"  {view['revision']}  ", (str(view["state"]).replace("_", " "), "bold cyan")
    )
    back = percents(view["target"]["split"]) if view["target"]["split"] else "nothing known"
    text.append(f"   serves {percents(view['split'])}   back to {back}", style="dim")
    return text


def _windows(view: Mapping[str, Any]) -> Text:
    text = Text()
    marks = {"open": "▶", "done": "■", "waiting": "□", "none": "·"}
    for w in view["windows"]:
        covered = (
            f" {100 * w['coverage']:.0f} % covered" if w["coverage"] is not None and w["state"] != "waiting" else ""
        )
        name = w["name"].replace("_", " ")
        text.append(f"{marks[w['state']]} {name}{covered}   ", style="bold" if w["state"] == "open" else "dim")
    return text


def _criteria(view: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", expand=False)
    table.add_column("criterion", min_width=24, no_wrap=True, overflow="ellipsis")
    table.add_column("value", min_width=7, overflow="ellipsis")
    table.add_column("bad of all", min_width=10, no_wrap=True, overflow="ellipsis")
    table.add_column("near alarm", min_width=10, no_wrap=True)
    table.add_column("verdict", min_width=12, no_wrap=True)
    table.add_column("action", min_width=11, no_wrap=True)
    silent = 0
    for c in view["criteria"]:
        if not c["n"] and c["value"] is None and c["verdict"] == "INCONCLUSIVE":
            silent += 1
            continue
        verdict = c["verdict"]
        counted = f"{c['bad']:.0f} of {c['n']:.0f}" if c["n"] else (c["reason"][:36] if verdict != "PASS" else "")
        table.add_row(
            escape(c["label"]),
            c["value_text"],
            escape(counted),
            _bar(c["fullness"]),
            Text(verdict, style=COLOURS.get(verdict, "")),
            c["action"].replace("_", " "),
        )
    if silent:
        table.add_row(Text(f"{silent} more rows without evidence so far", style="dim"))
    return table


def _bar(fullness: float) -> Text:
    width = 10
    full = round(width * fullness)
    style = "green" if fullness < 0.5 else "yellow" if fullness < 1.0 else "bold red"
    return Text("█" * full, style=style).append("░" * (width - full), style="dim")


def _probes(view: Mapping[str, Any]) -> Text:
    text = Text("probes  ", style="dim")
    for p in view["probes"]:
        text.append(f"{p['name']} ", style="")
        text.append(p["state"], style=COLOURS[p["state"]])
        if p["streak"]:
            text.append(f" {p['streak']}/{p['needed']}", style="bold red")
        text.append(f" ({p['passed']} passed, {p['failed']} failed)   ", style="dim")
    return text
