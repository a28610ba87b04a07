"""Which tags of ours a service should have: one on each revision of an open watch that nobody else has tagged.

What is wanted follows from the open watches alone, so a crash leaves nothing behind: the next look at the service takes
away what belongs to a watch that has ended. The watch's id is in the name, so that only our own tags are ever removed.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from watchdog.core.model import Tag
from watchdog.core.state import Watch

_OURS = re.compile(r"wd-([a-z0-9]{1,20})-[no]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What is to be written: name → revision, and names that go."""

    add: Mapping[str, str] = field(default_factory=dict)
    remove: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.add or self.remove)


def watch_of(tag: str) -> str | None:
    """The id of the watch that a tag of ours belongs to; None for anybody else's."""
    match = _OURS.fullmatch(tag)
    return match[1] if match else None


def names(watch_id: str) -> tuple[str, str]:
    """The tags of the watched revision and of its target. Short, as tag and service share a DNS label."""
    return f"wd-{watch_id}-n", f"wd-{watch_id}-o"


def wants(watch: Watch) -> bool:
    """Whether the watch's revisions are to be tagged: not where nothing may be written."""
    rollback = watch.rules.policy.rollback
    writes = rollback.mode != "observe" and not watch.known_bad and not watch.paused
    return watch.open and rollback.tag and writes and watch_of(names(watch.id)[0]) is not None


def changes(
    tags: Sequence[Tag], watches: Iterable[Watch], *, ended: Collection[str] = (), refused: Collection[str] = ()
) -> Changes:
    """From the service's tags to the wanted ones. `ended` are watches whose tags go, `refused` names that Cloud Run
    does not take. Tags of other watches, also of another watchdog's, stay."""
    open_ones = list(watches)
    wanted: dict[str, str] = {}
    for watch in open_ones:
        if wants(watch):
            for name, revision in zip(names(watch.id), (watch.revision, watch.target.revision), strict=True):
                taken = any(t.revision == revision and watch_of(t.name) is None for t in tags)
                if revision and not taken and name not in refused:
                    wanted[name] = revision
    have = {t.name: t.revision for t in tags if watch_of(t.name) is not None}
    mine = {w.id for w in open_ones if w.open and not w.paused} | set(ended)
    return Changes(
        add={name: revision for name, revision in wanted.items() if have.get(name) != revision},
        remove=tuple(name for name in have if watch_of(name) in mine and name not in wanted),
    )
