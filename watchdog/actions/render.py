"""One message as every channel shows it: the five answers in the order in which somebody who was just woken asks.

What happened, what we did, is it over, what you must do, the evidence. Pure: channels add their own markup and limits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Link:
    """An address and what to call it."""

    href: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """`Delivery.body`, read once. Whatever is missing is empty, so that a page goes out whatever it lacks."""

    kind: str = ""
    severity: str = "info"
    at: float = 0.0
    title: str = ""
    happened: str = ""
    did: str = ""
    over: str = ""
    todo: str = ""
    evidence: tuple[tuple[str, str], ...] = ()
    links: tuple[Link, ...] = ()
    watch: str = ""
    project: str = ""
    region: str = ""
    service: str = ""
    revision: str = ""
    split_before: Mapping[str, int] | None = None
    split_after: Mapping[str, int] | None = None
    status: str = ""
    broadcast: bool = False
    incident_action: str = ""
    """`trigger`, `acknowledge`, `resolve`, or empty when the message does nothing to an incident."""
    dedup_key: str = ""
    change: bool = False
    level: int = 0
    """The level of the ladder that this pages; 0 when it is no escalation."""
    actions: tuple[str, ...] = ()
    """What a person may do about it by a button."""
    criteria: tuple[tuple[str, str], ...] = ()
    """Every row and what it says now."""
    to_email: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()
    """Slack ids."""

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self:
        """Read a body."""
        incident = body.get("incident")
        incident = incident if isinstance(incident, Mapping) else {}
        people = body.get("to")
        people = people if isinstance(people, Mapping) else {}
        words = ("kind", "title", "happened", "did", "over", "todo", "watch", "project", "region", "service",
                 "revision", "status")  # fmt: skip
        return cls(
            **{word: _text(body.get(word)) for word in words},
            severity=_text(body.get("severity")) or "info",
            at=float(body.get("at") or 0.0),
            evidence=tuple((_text(pair[0]), _text(pair[1])) for pair in body.get("evidence") or () if len(pair) == 2),
            links=tuple(link for item in body.get("links") or () if (link := _link(item)) is not None),
            split_before=body.get("split_before") or None,
            split_after=body.get("split_after") or None,
            broadcast=bool(body.get("broadcast")),
            incident_action=_text(incident.get("action")),
            dedup_key=_text(incident.get("dedup_key")),
            change=bool(body.get("change")),
            actions=tuple(_text(one) for one in body.get("actions") or ()),
            criteria=tuple((_text(row[0]), _text(row[1])) for row in body.get("criteria") or () if len(row) == 2),
            level=int(body.get("level") or 0),
            to_email=tuple(_text(one) for one in people.get("email") or ()),
            mentions=tuple(_text(one) for one in people.get("slack") or ()),
        )

    @property
    def headline(self) -> str:
        """The title, or what stands in for it."""
        return self.title or f"{self.kind or 'message'} about {self.service or 'Watchdog'}"

    def answers(self) -> list[tuple[str, str]]:
        """Question and answer, in order; unanswered questions are left out."""
        asked = [
            ("What happened", self.happened),
            ("What we did", self.did),
            ("Is it over?", self.over),
            ("What you must do", self.todo),
        ]
        return [(question, answer) for question, answer in asked if answer]

    def facts(self) -> list[tuple[str, str]]:
        """The small print: traffic before and after, the revision, the watch, the time."""
        known = [
            ("Traffic before" if self.split_after else "Traffic", split_text(self.split_before)),
            ("Traffic after", split_text(self.split_after)),
            ("Revision", self.revision),
            ("Project", self.project),
            ("Watch", self.watch),
            ("At", iso(self.at) if self.at else ""),
        ]
        return [(name, value) for name, value in known if value]

    def plain(self) -> str:
        """The whole message as plain text, one line an answer."""
        lines = [self.headline, *(answer for _, answer in self.answers())]
        lines += [f"{name}: {value}" for name, value in self.evidence]
        return "\n".join(lines)


def split_text(split: Mapping[str, int] | None) -> str:
    """A split as a person reads it: `api-00002 90 %, api-00001 10 %`."""
    return ", ".join(f"{revision} {percent} %" for revision, percent in (split or {}).items())


def iso(at: float) -> str:
    """Unix seconds as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clip(text: str, limit: int) -> str:
    """The text, or its beginning with an ellipsis, in at most `limit` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


def _link(item: Any) -> Link | None:
    """Only web addresses: a channel would refuse the whole message for another one."""
    if not isinstance(item, Mapping):
        return None
    href = _text(item.get("href"))
    try:
        good = urlsplit(href).scheme in ("http", "https") and bool(urlsplit(href).hostname)
    except ValueError:
        good = False
    return Link(href, _text(item.get("text")) or "Link") if good else None


def _text(value: Any) -> str:
    return "" if value is None else str(value)
