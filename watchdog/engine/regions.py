"""Knows what the other regions' watches say of a release, by the read model that all processes share."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import structlog

from watchdog.core import release
from watchdog.core.events import Opened
from watchdog.core.policy import Policy
from watchdog.engine.tools import Tools
from watchdog.errors import TemporaryError
from watchdog.ports import WatchRow

EACH: Final = 4
"""Newest watches that are looked at, for each region of the policy."""

_log = structlog.get_logger(__name__)


async def joined(tools: Tools, policy: Policy, opened: Opened) -> Opened:
    """The opening, as part of a release that another region watches already, if one does. A store that does not answer
    costs the common thread, never the watch."""
    if len(policy.service.regions) < 2:
        return opened
    try:
        async with asyncio.timeout(tools.store_patience_s):
            rows = await newest(tools, policy)
    except (TemporaryError, TimeoutError) as error:
        _log.warning("regions_unknown", watch=opened.watch, error=str(error) or "the store does not answer")
        return opened
    first = release.carrier(opened, map(_seen, rows), policy.service.regions)
    if first is None:
        return opened
    _log.info("release_joined", watch=opened.watch, release=first.release, region=first.region)
    return replace(opened, release=first.release, notes=(*opened.notes, release.joins(opened, first)))


async def newest(tools: Tools, policy: Policy) -> Sequence[WatchRow]:
    """The newest watches of the policy's service, in all regions."""
    service = policy.service
    return await tools.store.watches(of=(service.project, service.name), limit=EACH * len(service.regions))


def _seen(row: WatchRow) -> release.Seen:
    view = row.view
    return release.Seen(
        watch=row.id,
        release=str(view.get("release") or row.id),
        region=row.region,
        opened_at=row.opened_at,
        image=str(view.get("image") or ""),
        fingerprint=str(view.get("fingerprint") or ""),
    )
