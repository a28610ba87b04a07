"""Slack's markup: Block Kit within its limits, and text that can't be read as markup. Pure.

Limits (Slack, Block Kit reference): 50 blocks a message, header 150 characters, section 3000, 10 elements a context.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from watchdog.actions.render import Link, Message, clip

_HEADER_MAX = 150
_SECTION_MAX = 3000
_CONTEXT_MAX = 10
_CONTEXT_TEXT_MAX = 300
_BLOCKS_MAX = 50
_EVIDENCE_SECTIONS_MAX = 8
_TEXT_MAX = 3900

_BY_KIND = {
    "opened": "👀", "passed": "✅", "recovered": "✅", "warning_cleared": "✅", "promoted": "✅",
    "rolled_back": "↩️", "held": "✋", "approval": "✋", "test": "🔔", "reminder": "⏰", "escalation": "📣",
}  # fmt: skip
_BY_SEVERITY = {"critical": "🚨", "error": "🔴", "warning": "⚠️", "info": "🔹"}


def event_blocks(message: Message, *, key: str = "") -> list[dict[str, Any]]:
    """A message in full: headline, the five answers, the small print; buttons where `key` names the message."""
    sign = _BY_KIND.get(message.kind) or _BY_SEVERITY.get(message.severity, "🔹")
    blocks = [_header(f"{sign} {message.headline}")]
    if message.mentions:
        blocks.append(_section("", mention(message), escaped=True))
    blocks += [_section(f"*{question}*\n", answer) for question, answer in message.answers()]
    blocks += [_section("", lines, escaped=True) for lines in _evidence(message.evidence)]
    blocks += _buttons(message, key)
    blocks += _context(message)
    return blocks[:_BLOCKS_MAX]


def mention(message: Message) -> str:
    """Slack's own words for those whom the message concerns by name."""
    return " ".join(f"<!subteam^{one}>" if one.startswith("S") else f"<@{one}>" for one in message.mentions)


_BUTTONS: Mapping[str, tuple[str, str, str]] = {
    "ack": ("Acknowledge", "primary", "You take it on: the escalation stops, and you are reminded until it is over."),
    "rollback": ("Roll back", "danger", "Traffic goes back to the revision that served before. It is done at once."),
    "hold": ("Hold", "", "No automatic rollback until somebody says `watchdog resume`."),
}
"""What a button says, how it looks, and what is asked before it counts."""


def _buttons(message: Message, key: str) -> list[dict[str, Any]]:
    if not key:
        return []
    elements = [_button(verb, message, key) for verb in message.actions if verb in _BUTTONS]
    return [{"type": "actions", "elements": elements}] if elements else []


def _button(verb: str, message: Message, key: str) -> dict[str, Any]:
    label, style, asked = _BUTTONS[verb]
    confirm: dict[str, Any] = {
        "title": {"type": "plain_text", "text": f"{label}?"},
        "text": {"type": "mrkdwn", "text": escape(f"{asked} {message.service} ({message.region})", 300)},
        "confirm": {"type": "plain_text", "text": label},
        "deny": {"type": "plain_text", "text": "Cancel"},
    }
    button: dict[str, Any] = {
        "type": "button",
        "action_id": f"watchdog_{verb}",
        "text": {"type": "plain_text", "text": label},
        "value": f"{message.watch}|{key}",
        "confirm": confirm,
    }
    if style:
        button["style"] = style
        if style == "danger":
            confirm["style"] = "danger"
    return button


_VERDICTS = {"PASS": "✅", "WARN": "⚠️", "FAIL": "❌", "ERROR": "❔", "INCONCLUSIVE": "➖", "UNVERIFIED": "❔"}


def _criteria(message: Message) -> str:
    """Every row with what it says now, worst first."""
    order = ["FAIL", "WARN", "ERROR", "UNVERIFIED", "INCONCLUSIVE", "PASS"]
    rows = sorted(message.criteria, key=lambda row: order.index(row[1]) if row[1] in order else 0)
    lines = [f"{_VERDICTS.get(verdict, '❔')} {escape(label, 120)}" for label, verdict in rows[:20]]
    if len(rows) > len(lines):
        lines.append(f"… and {len(rows) - len(lines)} more on the watch's page")
    return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What the root message of a watch keeps while its status changes; remembered with the thread.

    `opening` and `evidence` are escaped already; `status` is the newest one.
    """

    title: str = ""
    opening: str = ""
    evidence: str = ""
    status: str = ""

    @classmethod
    def of(cls, message: Message) -> Self:
        """The card of a thread that begins with this message."""
        began = [("What happened", message.happened), ("What we did", message.did)]
        lines = [f"*{question}* {escape(answer, 1400)}" for question, answer in began if answer]
        return cls(
            title=message.headline,
            opening="\n".join(lines),
            evidence=next(iter(_evidence(message.evidence)), ""),
            status=message.status,
        )

    @classmethod
    def remembered(cls, values: Mapping[str, str]) -> Self:
        """The card as it was remembered; what is missing is empty."""
        return cls(**{part.name: values.get(part.name, "") for part in fields(cls)})


_STANDING = "status in "


def standing(message: Message, remembered: Mapping[str, str]) -> dict[str, str]:
    """What the thread has to remember of the message's region: how its watch stands now."""
    name = f"{_STANDING}{message.region}"
    return {name: message.status or remembered.get(name, "")}


def status_of(remembered: Mapping[str, str]) -> str:
    """How the release stands: a line for each region that has said something."""
    return "\n".join(text for name, text in sorted(remembered.items()) if name.startswith(_STANDING) and text)


def card_blocks(card: Card, message: Message, *, key: str = "") -> list[dict[str, Any]]:
    """The root message: where the watch stands now, how it began, and what the newest message asks for.

    Where several regions share the thread, what only the newest message says names its region, and the buttons are left
    to the messages in the thread: one here would act on whichever region spoke last.
    """
    several = "\n" in card.status
    where = f" ({escape(message.region)})" if several else ""
    blocks = [_header(card.title)]
    if card.status:
        blocks.append(_section("*Now:*\n" if several else "*Now:* ", card.status))
    if card.opening:
        blocks.append(_section("", card.opening, escaped=True))
    if message.over:
        blocks.append(_section(f"*Is it over?{where}* ", message.over))
    if message.todo:
        blocks.append(_section(f"*What you must do{where}* ", message.todo))
    if card.evidence:
        blocks.append(_section("", card.evidence, escaped=True))
    if message.criteria:
        blocks.append(_section(f"*Criteria{where}*\n", _criteria(message), escaped=True))
    return [*blocks, *([] if several else _buttons(message, key)), *_context(message)]


def fallback(message: Message) -> str:
    """The text for notifications and screen readers: the whole decision, escaped."""
    text = escape(message.plain(), _TEXT_MAX)
    return f"{mention(message)} {text}" if message.mentions else text


def escape(text: str, limit: int | None = None) -> str:
    """Text that Slack shows as it is: `&`, `<` and `>` replaced, cut (with an ellipsis) between characters only."""
    safe = [{"&": "&amp;", "<": "&lt;", ">": "&gt;"}.get(char, char) for char in text]
    if limit is None or sum(map(len, safe)) <= limit:
        return "".join(safe)
    kept, size = [], 1
    for part in safe:
        size += len(part)
        if size > limit:
            break
        kept.append(part)
    return f"{''.join(kept).rstrip()}…"


def _evidence(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Evidence as bullets, in as many sections as it needs and the limits allow."""
    parts, lines, size = [], ["*Evidence*"], len("*Evidence*")
    for name, value in pairs:
        line = f"• {escape(name, 200)}: {escape(value, 600)}"
        if size + 1 + len(line) > _SECTION_MAX:
            parts.append("\n".join(lines))
            lines, size = [], 0
        lines.append(line)
        size += 1 + len(line)
    parts.append("\n".join(lines))
    if not pairs:
        return []
    if len(parts) > _EVIDENCE_SECTIONS_MAX:
        parts = [*parts[: _EVIDENCE_SECTIONS_MAX - 1], "… and more: the report of the watch has all of it"]
    return parts


def _context(message: Message) -> list[dict[str, Any]]:
    elements = [f"{name}: {escape(value, _CONTEXT_TEXT_MAX)}" for name, value in message.facts()]
    elements += [_anchor(link) for link in message.links]
    texts = [{"type": "mrkdwn", "text": text} for text in elements[:_CONTEXT_MAX]]
    return [{"type": "context", "elements": texts}] if texts else []


def _anchor(link: Link) -> str:
    href = escape(link.href).replace("|", "%7C").replace(" ", "%20")
    return f"<{href}|{escape(link.text, 80).replace('|', '/')}>"


def _header(text: str) -> dict[str, Any]:
    return {"type": "header", "text": {"type": "plain_text", "text": clip(text, _HEADER_MAX), "emoji": True}}


def _section(label: str, text: str, *, escaped: bool = False) -> dict[str, Any]:
    room = _SECTION_MAX - len(label)
    return {"type": "section", "text": {"type": "mrkdwn", "text": label + (text if escaped else escape(text, room))}}
