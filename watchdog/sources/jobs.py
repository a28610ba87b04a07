"""The source `jobs`: do the jobs run that run by themselves? Cloud Scheduler says it, or they ping.

A job that has not been attempted since the deploy proves nothing about it yet, so it is `Missing`, not passed.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from aiohttp import ClientSession

from watchdog.core.checks import JOB_PREFIX, JobCheck
from watchdog.core.model import Evidence, Failed, Missing, Passed, Sample, ServiceKey
from watchdog.core.policy import Policy
from watchdog.core.text import span
from watchdog.errors import PermanentError, WatchdogError
from watchdog.ports import Feed, MetricQuery
from watchdog.sources.cloud_monitoring import Trouble
from watchdog.transport import GoogleTokens, Peer, request_json, scrub

EVERY_S: Final = 60.0
TIMEOUT_S: Final = 5.0
GOOGLE: Final = "https://cloudscheduler.googleapis.com"
ROLE: Final = "roles/cloudscheduler.viewer"

Verdict = tuple[Evidence, str]


class Jobs:
    """`ports.Source` over Cloud Scheduler's REST API and what the jobs pinged.

    `base_url` names an emulator, which takes no credentials. The session is shared and not closed here.
    """

    def __init__(self, session: ClientSession, tokens: GoogleTokens, *, base_url: str | None = None) -> None:
        self._session = session
        self._tokens = tokens
        self._base_url = base_url
        self._trouble = Trouble(self.name)

    @property
    def name(self) -> str:
        """See `ports.Source.name`."""
        return "jobs"

    async def feeds(self, service: ServiceKey, policy: Policy) -> Sequence[Feed]:  # noqa: ARG002 - the port's signature
        """See `ports.Source.feeds`."""
        return [Feed(source=self.name, check=f"{JOB_PREFIX}{n}", period_s=EVERY_S, lag_s=0.0) for n in policy.jobs]

    async def sample(self, query: MetricQuery, *, now: float) -> Sequence[Sample]:
        """See `ports.Source.sample`: one sample a job, from now on. Never raises for what the Scheduler does."""
        if query.policy is None or query.past or query.control:
            return ()
        jobs = list(query.policy.jobs.values())
        answers = await asyncio.gather(*(self._judged(job, query, now) for job in jobs))
        return [
            Sample(
                source=self.name,
                check=f"{JOB_PREFIX}{job.name}",
                revision="",
                start=now,
                end=now + EVERY_S,
                seen=now,
                evidence=evidence,
                note=note,
            )
            for job, (evidence, note) in zip(jobs, answers, strict=True)
        ]

    async def _judged(self, job: JobCheck, query: MetricQuery, now: float) -> Verdict:
        if job.heartbeat_s is not None:
            return pinged(job, query.about.heartbeats.get(job.name), since=query.about.since, now=now)
        path = job.scheduler or job.name
        if not path.startswith("projects/"):
            path = f"projects/{query.service.project}/locations/{query.service.region}/jobs/{path}"
        peer = Peer(
            name="Cloud Scheduler", timeout_s=TIMEOUT_S, hints={403: f"Grant {ROLE} to the watchdog's service account"}
        )
        try:
            headers = {} if self._base_url else await self._tokens.headers()
            body = await request_json(
                self._session,
                peer,
                "GET",
                f"{self._base_url or GOOGLE}/v1/{path}",
                doing=f"Reading job {job.name}",
                headers=headers,
            )
        except PermanentError as error:
            self._trouble.note(job.name, error)
            if error.status == 404:
                return Failed("no_job"), f"there is no Cloud Scheduler job {path.rpartition('/')[2]}"
            return Missing("access" if error.status in {401, 403} else "source_error"), ""
        except WatchdogError as error:
            self._trouble.note(job.name, error)
            return Missing("source_error"), ""
        self._trouble.note(job.name, None)
        return scheduled(job, body, since=query.about.since, now=now)


def pinged(job: JobCheck, last: float | None, *, since: float, now: float) -> Verdict:
    """Whether a job pings as often as it should: counted from the deploy on while it has not pinged since."""
    every_s = job.heartbeat_s or 0.0
    late_s = now - max(last or 0.0, since) - every_s
    if late_s > job.grace_s:
        ago = f"{span(now - last)} ago" if last is not None else "never"
        return Failed("no_heartbeat"), f"pinged {ago}, expected every {span(every_s)}"
    if last is None or last < since:
        return Missing("no_heartbeat_yet"), ""
    return Passed(), ""


def scheduled(job: JobCheck, body: Any, *, since: float, now: float) -> Verdict:
    """What Cloud Scheduler's `Job` says (google/cloud/scheduler/v1/job.proto): state, last attempt, next time."""
    state = str(body.get("state") or "")
    if state != "ENABLED":
        return Failed(
            "not_enabled"
        ), f"the job is {state.lower().replace('_', ' ') or 'in no known state'}, so it does not run"
    planned, attempted = _seconds(body.get("scheduleTime")), _seconds(body.get("lastAttemptTime"))
    if planned is not None and now - planned > job.grace_s:
        return Failed("overdue"), f"was due {span(now - planned)} ago and was not attempted"
    if attempted is None or attempted < since:
        return Missing("no_attempt_yet"), ""  # what ran before the deploy says nothing about it
    status = body.get("status")
    code = status.get("code") if isinstance(status, dict) else None
    if code:
        said = scrub(str(status.get("message") or ""), limit=120) if isinstance(status, dict) else ""
        return Failed("attempt_failed"), f"its last attempt failed (code {code}{': ' + said if said else ''})"
    return Passed(), ""


def _seconds(text: object) -> float | None:
    if not isinstance(text, str) or not text:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
