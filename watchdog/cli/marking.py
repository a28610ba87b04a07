"""`watchdog history --mark`: a person's word about an ended watch, by the daemon or straight into the store."""

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any

import click

from watchdog.cli.common import settings_of_environment
from watchdog.cli.exits import OK
from watchdog.cli.local import opened, validated, watch_in
from watchdog.cli.options import echo_json
from watchdog.cli.reach import answered, daemon_of, reach, segment
from watchdog.core import marks
from watchdog.core import service as facts
from watchdog.core.model import ServiceKey
from watchdog.engine import marking
from watchdog.engine.clock import SystemClock
from watchdog.settings import Settings


def record(watch: str, said: Mapping[str, str], *, as_json: bool) -> int:
    """Mark a watch. `said` holds `mark`, `by` and `reason`."""
    settings = settings_of_environment()

    def by_daemon() -> Mapping[str, Any]:
        path = f"/api/v1/watches/{segment(watch)}/mark"
        answer: Mapping[str, Any] = daemon_of(settings).post(path, said, key=uuid.uuid4().hex)
        return answer

    def by_store() -> Mapping[str, Any]:
        validated("mark", said)
        return asyncio.run(_in_store(settings, watch, said))

    def act() -> int:
        answer = reach(settings, by_daemon, by_store, "writing the mark")
        if as_json:
            echo_json(answer)
            return OK
        when = "" if answer.get("written") else "; the history shows it within half a second"
        click.echo(f"Watch {answer['watch']} is marked {said['mark']} ({marks.WORDS[said['mark']]}){when}.")
        return OK

    return answered(act, as_json=as_json)


async def _in_store(settings: Settings, reference: str, said: Mapping[str, str]) -> Mapping[str, Any]:
    """Write it where nobody keeps the service; else leave it in the inbox of whoever does. Raises `PermanentError`."""
    async with opened(settings.database_url.get_secret_value()) as store:
        row = await watch_in(store, reference, ended=True)
        body = {**said, "watch": row.id}
        now = SystemClock().now()
        written = await marking.write(store, row, body, owner=f"mark-{uuid.uuid4().hex[:12]}", now=now)
        if not written:
            key = ServiceKey(project=row.project, region=row.region, name=row.service)
            stream = facts.stream(key)
            await store.post(stream, key=f"{stream}:mark:{uuid.uuid4().hex}", kind=marking.KIND, body=body, now=now)
        detail = "Written." if written else "In the inbox."
        return {"accepted": True, "watch": row.id, "repeated": False, "written": written, "detail": detail}
