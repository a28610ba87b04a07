"""Does with the service what a person does, step by step, and says which step did not work.

A journey is evidence like a probe's: anything the service does is an answer, never an exception; what is our own
trouble (no credentials, not let through) is `Missing`. Cleanup steps are sent whatever happened before, also when the
journey is called off half-way.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import aiohttp

from watchdog import __version__
from watchdog.core.journey import SECRET, Journey, JourneyStep, fill, text_of
from watchdog.core.model import Failed, Missing, Passed
from watchdog.core.probing import ProbeAnswer, StepAnswer
from watchdog.errors import WatchdogError
from watchdog.ports import Clock
from watchdog.sources.access import DENIED, REDIRECTS, denied_by, location, login_redirect, no_instance
from watchdog.sources.certificates import default_context
from watchdog.sources.http_probe import DETAIL_LIMIT, PROBE_USER_AGENT_PREFIX
from watchdog.sources.journey_request import CaptureError, StepResponse, build_step, captured, refusal
from watchdog.sources.probe_failures import explain
from watchdog.sources.probe_request import SHORTEST_SECRET, audience_of, redact, token_header
from watchdog.sources.redaction import excerpt
from watchdog.sources.resolver import ThreadResolver

USER_AGENT = f"{PROBE_USER_AGENT_PREFIX}{__version__} (journey)"
"""Begins as a probe's does, so that request logs leave journeys out of the users' counts too."""
BODY_LIMIT = 256 * 1024
"""Bytes of a body, after decompression, that a step reads."""
STEP_DETAIL = 400
CLEANUP_S = 30.0
"""For all cleanup steps together."""
CALLED_OFF_S = 3.0
"""How long the end of the process waits for cleanup that is still under way."""
HIDDEN_FROM = 8
"""Captured values of this length and more may be tokens and are hidden; shorter ones are ids that a person needs."""

TokenProvider = Callable[[str], Awaitable[str]]
"""Audience → ID token."""


@dataclass(slots=True, kw_only=True)
class _Run:
    """One journey under way."""

    journey: Journey
    base_url: str
    session: aiohttp.ClientSession
    variables: dict[str, Any]
    secrets: set[str]
    headers: Mapping[str, str]
    steps: list[StepAnswer] = field(default_factory=list)
    passed: set[str] = field(default_factory=set)
    refused: bool = False
    """Whether no instance took the step that ended it."""

    @property
    def failed(self) -> StepAnswer | None:
        """The step that ended it, cleanup apart."""
        return next((s for s in self.steps if s.result in {"failed", "missing"} and not s.cleanup), None)


class HttpJourneys:
    """`ports.Journeys` over aiohttp. Call `close` at the end.

    `secrets` are the values of `${secret.NAME}`; `id_token` gives ID tokens for services that are private;
    `new_run` makes the value of `${run}`.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        secrets: Mapping[str, str],
        new_run: Callable[[], str],
        id_token: TokenProvider | None = None,
        ssl_context: ssl.SSLContext | None = None,
        hosts: Path | None = None,
    ) -> None:
        self._clock = clock
        self._secrets = dict(secrets)
        self._new_run = new_run
        self._id_token = id_token
        self._ssl = ssl_context or default_context()
        self._resolver = ThreadResolver(hosts)
        self._tidying: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let cleanup that is under way end, for a few seconds at most."""
        if self._tidying:
            _, late = await asyncio.wait(self._tidying, timeout=CALLED_OFF_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def missing_secrets(self, journey: Journey) -> tuple[str, ...]:
        """See `ports.Journeys.missing_secrets`."""
        return tuple(name for name in journey.secrets if not self._secrets.get(name))

    async def run(self, journey: Journey, base_url: str, *, auth: str = "none", audience: str = "") -> ProbeAnswer:
        """See `ports.Journeys.run`."""
        started_at, started = self._clock.now(), self._clock.monotonic()

        def answer(evidence: Passed | Failed | Missing, detail: str, run: _Run | None = None) -> ProbeAnswer:
            failed = run.failed if run else None
            return ProbeAnswer(
                evidence=evidence,
                started_at=started_at,
                ended_at=started_at + (self._clock.monotonic() - started),
                status=failed.status if failed else None,
                detail=detail[:DETAIL_LIMIT],
                refused=run.refused if run else False,
                steps=tuple(run.steps) if run else (),
            )

        absent = self.missing_secrets(journey)
        if absent:
            return answer(Missing("credentials"), f"no secret {', '.join(absent)} is set for it")
        headers, refused = await self._authenticate(base_url, auth, audience)
        if refused:
            return answer(Missing("auth"), refused)
        run = self._begin(journey, base_url, started_at, headers)
        try:
            await self._steps(run)
            await self._tidy(run)
        except BaseException:  # called off, most likely: what was made must go all the same
            self._tidy_later(run)
            raise
        await run.session.close()
        return answer(*_verdict(run), run)

    # --- before ----------------------------------------------------------------------------------------------------

    async def _authenticate(self, base_url: str, auth: str, audience: str) -> tuple[Mapping[str, str], str]:
        if auth != "id_token":
            return {}, ""
        if self._id_token is None:
            return {}, "no ID token: no Google credentials are configured"
        try:
            token = await self._id_token(audience or audience_of(base_url))
        except (WatchdogError, OSError) as error:
            return {}, f"no ID token: {error}"
        return {token_header(audience, taken=True): f"Bearer {token}"}, ""

    def _begin(self, journey: Journey, base_url: str, now: float, headers: Mapping[str, str]) -> _Run:
        connector = aiohttp.TCPConnector(ssl=self._ssl, resolver=self._resolver, use_dns_cache=False, limit=0)
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.CookieJar(unsafe=True),  # addresses without a name are how tests and tags are reached
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
            headers={"Accept": "application/json, */*;q=0.5"},
        )
        moment = datetime.fromtimestamp(now, UTC)
        variables: dict[str, Any] = {f"{SECRET}{name}": self._secrets[name] for name in journey.secrets}
        variables |= {"run": self._new_run(), "today": f"{moment:%Y-%m-%d}", "now": f"{moment:%Y-%m-%dT%H:%M:%SZ}"}
        for name, value in journey.variables.items():
            variables[name] = fill(value, variables)
        secrets = {value for name in journey.secrets if len(value := self._secrets[name]) >= SHORTEST_SECRET}
        secrets |= {part for value in headers.values() for part in value.split() if len(part) >= HIDDEN_FROM}
        return _Run(
            journey=journey,
            base_url=base_url,
            session=session,
            variables=variables,
            secrets=secrets,
            headers=headers,
        )

    # --- steps -----------------------------------------------------------------------------------------------------

    async def _steps(self, run: _Run) -> None:
        """Send the steps until one does not pass, within the journey's time."""
        deadline = self._clock.monotonic() + run.journey.timeout_s
        for step in run.journey.steps:
            if run.failed is not None:
                now = self._clock.now()
                run.steps.append(StepAnswer(name=step.name, result="skipped", started_at=now, ended_at=now))
                continue
            left = deadline - self._clock.monotonic()
            await self._step(run, step, min(step.timeout_s, max(0.001, left)), whole=left < step.timeout_s)

    async def _step(
        self, run: _Run, step: JourneyStep, timeout_s: float, *, whole: bool = False, cleanup: bool = False
    ) -> None:
        """Send one step and keep what came of it. `whole`: it is the journey's time that ends it."""
        started_at, started = self._clock.now(), self._clock.monotonic()
        response: StepResponse | None = None
        evidence: Passed | Failed | Missing
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._send(run, step)
            evidence, detail = _judge(step, response, run)
        except TimeoutError:
            limit = f"{run.journey.timeout_s:g} s of the whole journey" if whole else f"{timeout_s:g} s"
            evidence, detail = Failed("timeout"), f"no complete answer within {limit}"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            evidence, detail = explain(error)
        if isinstance(evidence, Passed):
            run.passed.add(step.name)
        elif response is not None and not cleanup:
            run.refused = no_instance(response.status, response.headers, response.body)
        detail = redact(detail, run.secrets)
        if response is not None and response.body and not isinstance(evidence, Passed):
            detail = f"{detail}; body: {excerpt(response.body, run.secrets)}"
        run.steps.append(
            StepAnswer(
                name=step.name,
                result={Passed: "passed", Failed: "failed", Missing: "missing"}[type(evidence)],
                started_at=started_at,
                ended_at=started_at + (self._clock.monotonic() - started),
                status=response.status if response else None,
                reason="" if isinstance(evidence, Passed) else evidence.reason,
                detail=detail[:STEP_DETAIL],
                cleanup=cleanup,
            )
        )

    async def _send(self, run: _Run, step: JourneyStep) -> StepResponse:
        request = build_step(step, run.base_url, run.variables, user_agent=USER_AGENT)
        for name, value in run.headers.items():
            request.headers[name] = value
        async with run.session.request(
            request.method, request.url, headers=request.headers, data=request.body, allow_redirects=False
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > BODY_LIMIT:
                    break
            return StepResponse(
                status=response.status,
                headers=response.headers,
                cookies={name: morsel.value for name, morsel in response.cookies.items()},
                body=bytes(body[:BODY_LIMIT]),
                whole=len(body) <= BODY_LIMIT,
            )

    # --- cleanup ---------------------------------------------------------------------------------------------------

    async def _tidy(self, run: _Run) -> None:
        """Every cleanup step that has something to do; a failing one does not keep the others from being sent."""
        deadline = self._clock.monotonic() + CLEANUP_S
        for step in run.journey.cleanup:
            left = deadline - self._clock.monotonic()
            if any(s.cleanup and s.name == step.name for s in run.steps):
                continue  # done before the cleanup itself was called off
            if (step.after and step.after not in run.passed) or left <= 0:
                self._skip(run, step)
                continue
            try:
                await self._step(run, step, min(step.timeout_s, left), cleanup=True)
            except KeyError:  # its variable was never captured
                self._skip(run, step)

    def _skip(self, run: _Run, step: JourneyStep) -> None:
        now = self._clock.now()
        run.steps.append(StepAnswer(name=step.name, result="skipped", started_at=now, ended_at=now, cleanup=True))

    def _tidy_later(self, run: _Run) -> None:
        async def tidy() -> None:
            try:
                await self._tidy(run)
            finally:
                await run.session.close()

        task = asyncio.create_task(tidy(), name="journey cleanup")
        self._tidying.add(task)
        task.add_done_callback(self._tidying.discard)


def _judge(step: JourneyStep, response: StepResponse, run: _Run) -> tuple[Passed | Failed | Missing, str]:
    """Whether the answer is what the step expects; captured values become variables."""
    wanted = " or ".join(str(status) for status in step.expect.status)
    if response.status not in step.expect.status:
        login = login_redirect(response.status, response.headers)
        if login:
            return Missing("access"), f"{login} (status {response.status}), expected {wanted}"
        denied = denied_by(response.status, response.headers, response.body) if response.status in DENIED else ""
        if denied:
            return Missing("access"), f"{denied}, the request did not reach the service; expected {wanted}"
        if response.status in REDIRECTS and "Location" in response.headers:
            return Failed("redirect"), f"redirected ({response.status}) to {location(response.headers)}"
        return Failed("status"), f"answered {response.status}, expected {wanted}"
    for name, capture in step.capture.items():
        try:
            value = captured(capture, response)
        except CaptureError as error:
            return Failed("capture"), f"{name} cannot be captured: {error}"
        run.variables[name] = value
        with suppress(TypeError, ValueError):
            text = text_of(value)
            run.secrets |= {text} if len(text) >= HIDDEN_FROM else set()
    refused = refusal(step.expect, response, run.variables)
    return (Failed(refused[0]), refused[1]) if refused else (Passed(), "")


def _verdict(run: _Run) -> tuple[Passed | Failed | Missing, str]:
    """The journey as a whole. Cleanup that failed is told and proves nothing against the service."""
    failed = run.failed
    if failed is None:
        left = [s for s in run.steps if s.cleanup and s.result in {"failed", "missing"}]
        return Passed(), f"cleanup step {left[0].name}: {left[0].detail}" if left else ""
    evidence = Missing(failed.reason) if failed.result == "missing" else Failed(failed.reason)
    return evidence, f"step {failed.name}: {failed.detail}"
