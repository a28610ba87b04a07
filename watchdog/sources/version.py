"""The source `version`: does the version that was deployed answer?

A pipeline that went green and a revision that serves may still be the old code: a cached image, a wrong tag, a deploy
that fell back. What the service itself says is compared with what the deploy notice, the image or a label says.
"""

import re
from collections.abc import Sequence
from typing import Final

import jmespath
from aiohttp import ClientSession
from jmespath.exceptions import JMESPathError

from watchdog.core.checks import VERSION, VersionCheck
from watchdog.core.model import Evidence, Failed, Missing, Passed, Sample, ServiceKey
from watchdog.core.policy import Policy
from watchdog.errors import WatchdogError
from watchdog.ports import Feed, MetricQuery
from watchdog.sources.cloud_monitoring import Trouble
from watchdog.transport import GoogleTokens, Peer, Reply, error_of, request, scrub

TIMEOUT_S: Final = 5.0
SHOWN: Final = 80
"""Characters of an answer that a sentence quotes."""


class VersionEndpoint:
    """`ports.Source` over HTTP. The session is shared and not closed here."""

    def __init__(self, session: ClientSession, tokens: GoogleTokens) -> None:
        self._session = session
        self._tokens = tokens
        self._trouble = Trouble(self.name)

    @property
    def name(self) -> str:
        """See `ports.Source.name`."""
        return "version"

    async def feeds(self, service: ServiceKey, policy: Policy) -> Sequence[Feed]:  # noqa: ARG002 - the port's signature
        """See `ports.Source.feeds`."""
        check = policy.version_check
        return [] if check is None else [Feed(source=self.name, check=VERSION, period_s=check.every_s, lag_s=0.0)]

    async def sample(self, query: MetricQuery, *, now: float) -> Sequence[Sample]:
        """See `ports.Source.sample`: one sample, from now on. Never raises for what the endpoint does."""
        check = query.policy.version_check if query.policy is not None else None
        if check is None or query.past or query.control:
            return ()
        evidence, note = await self._ask(check, query)
        return [
            Sample(
                source=self.name,
                check=VERSION,
                revision=query.revision,
                start=now,
                end=now + check.every_s,
                seen=now,
                evidence=evidence,
                note=note,
            )
        ]

    async def _ask(self, check: VersionCheck, query: MetricQuery) -> tuple[Evidence, str]:
        about = query.about
        if check.pattern is None and not about.version:
            return Missing("no_expected_version"), ""
        if check.url is None and not about.base_url:
            return Missing("no_url"), ""
        url = check.url or about.base_url.rstrip("/") + (check.path or "/")
        peer, doing = Peer(name="the version endpoint", timeout_s=TIMEOUT_S), "Reading the version"
        try:
            headers = await self._headers(check, url)
            reply = await request(self._session, peer, "GET", url, doing=doing, headers=headers)
            if not reply.ok:
                raise error_of(reply, peer, doing=doing)
        except WatchdogError as error:
            self._trouble.note(VERSION, error)
            return Missing("source_error"), ""  # whether it answers at all is for the probes
        self._trouble.note(VERSION, None)
        return judge(check, about.version, reply)

    async def _headers(self, check: VersionCheck, url: str) -> dict[str, str]:
        if check.auth == "google":
            return await self._tokens.headers()
        if check.auth == "id_token":
            return {"Authorization": f"Bearer {await self._tokens.id_token(check.audience or url)}"}
        return {}


def judge(check: VersionCheck, expected: str, reply: Reply) -> tuple[Evidence, str]:
    """Whether the answer is the version that was meant, and a clause for a person."""
    found = _version(check, reply)
    if found is None:
        return Failed("no_version"), "the answer holds no version"
    shown = scrub(found, limit=SHOWN)
    if check.pattern is not None:
        if re.fullmatch(check.pattern, found):
            return Passed(), ""
        return Failed("version"), f"answers {shown}, which is not like {check.pattern}"
    if _plain(found) == _plain(expected):
        return Passed(), ""
    return Failed("version"), f"answers {shown}, expected {expected}"


def _version(check: VersionCheck, reply: Reply) -> str | None:
    if check.query is None:
        body = reply.body if isinstance(reply.body, str) else reply.text
        return body.strip() or None
    try:
        found = jmespath.search(check.query, reply.body)
    except JMESPathError:
        return None
    if isinstance(found, bool) or not isinstance(found, str | int | float):
        return None
    return str(found).strip() or None


def _plain(version: str) -> str:
    """`v1.2.0` and `1.2.0` are one version."""
    return re.sub(r"^[vV](?=\d)", "", version.strip())
