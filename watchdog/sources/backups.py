"""When a Cloud SQL database was last backed up, by the Admin API's `instances.get` and `backupRuns.list`.

A replica has no backups of its own: its primary is asked (sqladmin v1: `instanceType`, `masterInstanceName`). Runs come
newest first, by when they began; one that failed or still runs is no backup.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from aiohttp import ClientSession

from watchdog.ports import Backup
from watchdog.transport import GoogleTokens, Peer, request_json, scrub

TIMEOUT_S: Final = 10.0
GOOGLE: Final = "https://sqladmin.googleapis.com"
ROLE: Final = "roles/cloudsql.viewer"
RUNS: Final = 20
"""Newest runs that are looked through."""


class CloudSqlBackups:
    """`ports.Backups`. `base_url` names an emulator, which takes no credentials. The session is not closed here."""

    def __init__(self, session: ClientSession, tokens: GoogleTokens, *, base_url: str | None = None) -> None:
        self._session = session
        self._tokens = tokens
        self._base_url = base_url

    async def newest(self, project: str, instance: str) -> Backup:
        """See `ports.Backups.newest`."""
        owner, _, name = instance.rpartition(":")
        owner = owner or project
        found = await self._get(owner, name)
        if found.get("instanceType") == "READ_REPLICA_INSTANCE" and found.get("masterInstanceName"):
            primary, _, name = str(found["masterInstanceName"]).rpartition(":")
            owner = primary or owner
        runs = (await self._get(owner, f"{name}/backupRuns", maxResults=str(RUNS))).get("items")
        ended_at, failed = None, ""
        for run in runs if isinstance(runs, list) else ():
            if not isinstance(run, dict):
                continue
            if run.get("status") == "SUCCESSFUL":
                ended_at = _seconds(run.get("endTime")) or _seconds(run.get("startTime"))
                break
            if run.get("status") == "FAILED" and not failed:
                failed = _why(run.get("error"))
        return Backup(instance=name, ended_at=ended_at, failed=failed)

    async def _get(self, project: str, path: str, **params: str) -> Mapping[str, Any]:
        peer = Peer(
            name="Cloud SQL", timeout_s=TIMEOUT_S, hints={403: f"Grant {ROLE} to the watchdog's service account"}
        )
        headers = {} if self._base_url else await self._tokens.headers()
        url = f"{self._base_url or GOOGLE}/v1/projects/{project}/instances/{path}"
        doing = f"Reading the backups of {path.partition('/')[0]}"
        return await request_json(self._session, peer, "GET", url, doing=doing, params=params, headers=headers)


def _why(error: object) -> str:
    said = error.get("message") or error.get("code") if isinstance(error, dict) else ""
    return scrub(str(said or "no reason given"), limit=120)


def _seconds(text: object) -> float | None:
    if not isinstance(text, str) or not text:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
