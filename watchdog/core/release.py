"""One release in several regions: which watches belong together.

Each region keeps its own probes, split, target and rollback, hence its own watch. For people it is one incident: the
watch that saw the release first carries the thread, and the other regions' watches join it when they open. Decided at
the opening and written into its event, so that a journal alone tells it again.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from watchdog.core.events import Opened

TOGETHER_S = 86_400.0
"""A region that gets the release within this long is part of the same rollout; later it is one of its own."""


class Seen(NamedTuple):
    """A watch of the service, in any region."""

    watch: str
    release: str
    region: str
    opened_at: float
    image: str = ""
    fingerprint: str = ""
    outcome: str = ""


def same_code(one: str, other: str) -> bool:
    """Whether two image references are the same image: by digest where both have one, since registries are regional."""
    return bool(one) and one.rpartition("@")[2] == other.rpartition("@")[2]


def carrier(opened: Opened, seen: Iterable[Seen], regions: Collection[str]) -> Seen | None:
    """The watch whose release the new one belongs to; None when it is the first.

    The same configuration or the same image in another region of the policy, within a day. A release that was watched
    in this region already is over here: deployed once more, it is a new one.
    """
    here, deploy = opened.deploy.service.region, opened.deploy
    known = list(seen)
    taken = {s.release for s in known if s.region == here}
    fits = [
        s
        for s in known
        if s.region != here
        and s.region in regions
        and s.release not in taken
        and opened.at - s.opened_at <= TOGETHER_S
        and (same_code(s.image, deploy.image) or (s.fingerprint and s.fingerprint == deploy.fingerprint))
    ]
    return max(fits, key=lambda s: (s.opened_at, s.watch), default=None)


def joins(opened: Opened, first: Seen) -> str:
    """What the opening message says of it."""
    fate = "was rolled back in" if first.outcome == "rolled_back" else "is watched in"
    return (
        f"The same release {fate} {first.region} (watch {first.watch}): one incident and one thread, while "
        f"{opened.deploy.service.region} keeps its own probes, split and target."
    )
