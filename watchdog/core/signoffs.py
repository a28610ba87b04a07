"""Questions that no machine can answer, put to people at the end of their window and kept open until somebody answers.

An answer never moves traffic and none never passes anything: what nobody confirmed is shown as open, for ever.
"""

from math import inf
from typing import Any

from watchdog.core import messages
from watchdog.core.decide import Step
from watchdog.core.policy import SignoffConfig
from watchdog.core.standing import Signed
from watchdog.core.state import Watch
from watchdog.core.text import clock, iso

LEAD_S = 1800.0
"""Of the window that ends with the watch: asked so long before, since an ended watch takes no answers …"""
LEAD_SHARE = 0.25
"""… but not before this share of the window is left."""


def ask_at(watch: Watch, signoff: SignoffConfig) -> float:
    """When the question is put, Unix seconds; `inf` when its window is not reached."""
    window = watch.rules.windows.get(signoff.window)
    if window is None:
        return inf
    start, end = watch.bound(window)
    if end <= start:
        return inf
    return end if end < watch.ends_at else end - min(LEAD_S, LEAD_SHARE * (end - start))


def due(watch: Watch) -> float:
    """When the next question is to be put, Unix seconds."""
    if watch.cutover_at is None or watch.rollback is not None:
        return inf
    found = inf
    for name, signoff in watch.rules.policy.signoffs.items():
        if name not in watch.asked and name not in watch.signed:
            found = min(found, ask_at(watch, signoff))
    return found


def fire(step: Step) -> None:
    """Put the questions that are due, in one message."""
    watch = step.watch
    if due(watch) > watch.at:
        return
    policy = watch.rules.policy.signoffs
    now = [
        n for n, s in policy.items() if n not in watch.asked and n not in watch.signed and ask_at(watch, s) <= watch.at
    ]
    watch.asked = {**watch.asked, **dict.fromkeys(now, watch.at)}
    questions = " ".join(f"{policy[n].question} ({n})" for n in now)
    step.note("asked", f"Asked: {questions}")
    step.announce("signoff_asked", names=now)
    step.notify(
        messages.body(
            watch,
            "warning",
            severity="info",
            title=f"Please answer: {messages.place(watch)}: {', '.join(now)}",
            happened=f"{questions} No machine can answer this.",
            did="Nothing: without an answer it stays open, and is never taken as passed.",
            over=f"The watch takes answers until {clock(watch.ends_at)}.",
            todo=" ".join(f"`watchdog signoff {watch.id} {n} --reason …`" for n in now) + " when it is so.",
            evidence=[(n, policy[n].question) for n in now],
        )
    )


def sign(step: Step, name: str, by: str, reason: str) -> None:
    """Somebody has confirmed it; the last word holds."""
    watch = step.watch
    watch.signed = {**watch.signed, name or "signed_off": Signed(watch.at, by, reason)}


def open_ones(watch: Watch) -> tuple[str, ...]:
    """Questions of the policy whose window was reached and that nobody has answered."""
    policy = watch.rules.policy.signoffs
    return tuple(n for n, s in policy.items() if n not in watch.signed and ask_at(watch, s) < inf)


def view(watch: Watch) -> list[dict[str, Any]]:
    """Every question and its answer; what people confirmed unasked comes last."""
    policy = watch.rules.policy.signoffs
    rows = []
    for name in (*policy, *(n for n in watch.signed if n not in policy)):
        config, signed = policy.get(name), watch.signed.get(name)
        waiting = watch.open and name not in watch.asked
        rows.append(
            {
                "name": name,
                "question": config.question if config else "",
                "window": config.window.value if config else None,
                "state": "signed" if signed else "waiting" if waiting else "open",
                "asked_at": iso(watch.asked.get(name)),
                "signed_at": iso(signed.at) if signed else None,
                "by": signed.by if signed else "",
                "reason": signed.reason if signed else "",
            }
        )
    return rows
