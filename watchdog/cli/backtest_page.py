"""What `watchdog backtest` prints: a few lines a watch and the totals, or one JSON object a line."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

from watchdog.cli.options import echo_json
from watchdog.core import marks
from watchdog.core.report_text import OUTCOMES, offset_text, span_text
from watchdog.engine.backtest import Course, Rejudged, Totals
from watchdog.engine.replay import Turn

View = Mapping[str, Any]
_HOW: Final = {"asked": "asks for approval", "observed": "says it would roll back", "person": "is rolled back"}
_SPELT: Final = {"right": "right", "wrong": "wrong", "late": "late", "unclear": "unclear", "": "not marked"}


@dataclass(frozen=True, slots=True)
class Page:
    """Where it is told. `policies` are the hashes of the changed ones; none: each watch's own."""

    as_json: bool
    policies: Sequence[str]

    def begin(self, count: int, none: str) -> None:
        """What is about to be judged."""
        if self.as_json:
            return
        if not count:
            click.echo(none)
            return
        watches = "the last ended watch" if count == 1 else f"the last {count} ended watches"
        by = f"policy {', '.join(dict.fromkeys(self.policies))}" if self.policies else "its own policy"
        click.echo(f"Judging {watches} again, {'each ' if not self.policies and count > 1 else ''}under {by}.")

    def not_judged(self, shown: View, why: str) -> None:
        """A watch whose journal cannot be read."""
        if self.as_json:
            echo_json({"event": "watch_not_judged", **_identity(shown), "reason": why})
            return
        click.echo(f"\n{_head(shown)}")
        _line("not judged", why)

    def watch(self, found: Rejudged) -> None:
        """One watch."""
        if self.as_json:
            echo_json(_as_json(found))
            return
        click.echo(f"\n{_head(found.shown)}")
        _line("in fact", _in_fact(found.live))
        if found.own:
            for difference in found.differences:
                _line("NOT THE SAME", difference)
            if not found.differences:
                _line("again", "the same, decision by decision")
        else:
            _line("would", _would(found))
            if found.again.turn is not None:
                _line("then", _then(found))
        unseen: dict[str, list[str]] = {}
        for row in found.unseen:
            unseen.setdefault(row.why, []).append(row.criterion)
        if not found.own:
            for why, rows in unseen.items():
                _line("not judged", f"{', '.join(dict.fromkeys(rows))}: {why}")
        for note in found.notes:
            _line("note", note)

    def end(self, totals: Totals) -> None:
        """All of them together."""
        if self.as_json:
            echo_json({"event": "backtest_ended", "policies": list(self.policies) or None, **_totals(totals)})
            return
        if not totals.judged and not totals.not_judged:
            return
        click.echo("")
        would = "would be" if self.policies else "were"
        click.echo(f"{totals.would_roll_back} of {totals.judged} {would} rolled back{_of(totals)}.")
        if self.policies:
            click.echo(f"Newly caught {_sum(totals.newly_caught)}. Newly missed {_sum(totals.newly_missed)}.")
        elif not totals.not_reproduced and totals.judged:
            click.echo("Every decision was reproduced.")
        if totals.not_reproduced and not self.policies:
            click.echo(f"error: {totals.not_reproduced} of {totals.judged} are not reproduced", err=True)
        if totals.not_judged:
            click.echo(f"{totals.not_judged} could not be judged.")


# --- sentences ----------------------------------------------------------------------------------------------------


def _line(word: str, text: str) -> None:
    safe = "".join(c if c.isprintable() else " " for c in text)
    click.echo(f"    {word:<12}  {safe}")


def _head(shown: View) -> str:
    at = str(shown.get("cutover_at") or shown.get("opened_at") or "")[:16].replace("T", " ")
    marked = f"  marked {marks.sentence(shown)}" if shown.get("mark") else ""
    text = f"{shown['id']}  {shown['service']} ({shown['region']})  {shown['revision']}  {at} UTC{marked}"
    return "".join(c if c.isprintable() else " " for c in text)


def _ending(course: Course) -> str:
    return OUTCOMES.get(str(course.outcome), str(course.outcome))


def _in_fact(live: Course) -> str:
    if live.turn is None:
        return f"not rolled back; ended {_ending(live)} at {offset_text(live.ended_s, 0.0)}"
    if live.refused:
        return f"not rolled back at {_at(live.turn)} although {live.turn.criterion}: {live.refused}"
    verb = {"observed": "said that it would roll back"}.get(live.turn.how, "rolled back")
    by = f" on the word of {live.turn.by}" if live.turn.by else ""
    return f"{verb} at {_at(live.turn)}{by}: {live.turn.criterion}; ended {_ending(live)}"


def _at(turn: Turn) -> str:
    return offset_text(round(turn.at_s, 1), 0.0)


def _would(found: Rejudged) -> str:
    turn = found.again.turn
    if turn is None and found.unknown_after_s is not None:
        return f"not roll back by {offset_text(found.unknown_after_s, 0.0)}. {found.again.reason}"
    if turn is None:
        return f"not roll back; end {_ending(found.again)}: {found.again.reason}"
    verb = {"asked": "ask for approval", "observed": "say that it would roll back"}.get(turn.how, "roll back")
    by = f" on the word of {turn.by}, as it happened" if turn.by else ""
    change = {"same": ", as it happened" if not turn.by else ""}.get(found.change)
    if change is None:
        late = span_text(abs(found.by_s))
        change = "" if found.change == "newly_rolled_back" else f", {late} {found.change}"
    return f"{verb} at {_at(turn)}{by}{change}: {_why(turn)}"


def _why(turn: Turn) -> str:
    """The criterion and its proof; a proof that names the criterion, limit included, says it all."""
    return turn.proof if turn.proof.startswith(f"{turn.criterion}:") else f"{turn.criterion}: {turn.proof}"


def _then(found: Rejudged) -> str:
    """What happened in fact from there on."""
    live, turn = found.live, found.again.turn
    assert turn is not None  # noqa: S101 - the caller checked
    if live.turn is None or live.refused:
        later = span_text(max(0.0, live.ended_s - turn.at_s))
        return f"in fact it stayed, and the watch ended {_ending(live)} {later} later"
    if found.change == "same":
        return f"in fact the same; the watch ended {_ending(live)}"
    by = span_text(abs(found.by_s))
    if found.change == "later":  # evidence goes on while a trial is under way
        return f"in fact it had been rolled back {by} before; the watch ended {_ending(live)}"
    return f"in fact it went on for {by} until it was rolled back; the watch ended {_ending(live)}"


def _of(totals: Totals) -> str:
    """` (marked: 1 right, 1 wrong; by the marks 1 had to be, 1 must not have been)`."""
    if not totals.would_roll_back:
        return ""
    said = ", ".join(f"{n} {_SPELT[w]}" for w in _SPELT if (n := totals.marked[w]))
    known = {"yes": "had to be", "no": "must not have been", "unknown": "nobody has said"}
    judged = ", ".join(f"{n} {text}" for w, text in known.items() if (n := totals.had_to_go[w]))
    return f" (marked: {said}); by the marks: {judged}"


def _sum(counted: Counter[str]) -> str:
    if not counted.total():
        return "0"
    known = {"yes": "that had to go", "no": "that did not have to", "unknown": "not marked"}
    return f"{counted.total()} ({', '.join(f'{counted[w]} {text}' for w, text in known.items() if counted[w])})"


# --- JSON ---------------------------------------------------------------------------------------------------------


def _identity(shown: View) -> dict[str, Any]:
    names = ("project", "region", "service", "revision", "version", "cutover_at", "mark")
    return {"watch": shown["id"], **{name: shown.get(name) for name in names}}


def _course(course: Course) -> dict[str, Any]:
    turn = course.turn
    return {
        "rolled_back": turn is not None and not course.refused,
        "at_s": None if turn is None else round(turn.at_s, 3),
        "how": None if turn is None else turn.how,
        "by": None if turn is None else turn.by,
        "criterion": None if turn is None else turn.criterion,
        "proof": None if turn is None else turn.proof,
        "refused": course.refused,
        "outcome": course.outcome,
        "reason": course.reason,
        "ended_s": round(course.ended_s, 3),
    }


def _as_json(found: Rejudged) -> dict[str, Any]:
    return {
        "event": "watch_judged",
        **_identity(found.shown),
        "had_to_go": found.had_to_go,
        "policy": found.policy,
        "own_policy": found.own,
        "live": _course(found.live),
        "again": _course(found.again),
        "change": found.change,
        "by_s": round(found.by_s, 3),
        "unknown_after_s": None if found.unknown_after_s is None else round(found.unknown_after_s, 3),
        "not_judged": [{"criterion": u.criterion, "action": u.action, "why": u.why} for u in found.unseen],
        "reproduced": not found.differences,
        "differences": list(found.differences),
        "notes": list(found.notes),
    }


def _totals(totals: Totals) -> dict[str, Any]:
    def judged(counted: Counter[str]) -> dict[str, int]:
        return {"all": counted.total(), **{word: counted[word] for word in ("yes", "no", "unknown")}}

    return {
        "judged": totals.judged,
        "not_judged": totals.not_judged,
        "not_reproduced": totals.not_reproduced,
        "would_roll_back": totals.would_roll_back,
        "marked": {word or "none": totals.marked[word] for word in _SPELT},
        "had_to_go": {word: totals.had_to_go[word] for word in ("yes", "no", "unknown")},
        "newly_caught": judged(totals.newly_caught),
        "newly_missed": judged(totals.newly_missed),
    }
