"""Traffic is read and moved by compare and swap, against the emulator, and against an API that misbehaves."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from google.auth.credentials import Credentials

from tests.actions.recorder import Answer, Recorder, Seen, recording
from watchdog.actions.cloud_run import CloudRun
from watchdog.core.model import ServiceKey, ServiceState, Share, Split
from watchdog.emulator.director import Release
from watchdog.emulator.gate import AdminFault
from watchdog.emulator.options import Options
from watchdog.emulator.server import Emulator
from watchdog.errors import ConflictError, PermanentError, TemporaryError
from watchdog.ports import TrafficControl
from watchdog.settings import Settings, load_settings
from watchdog.transport import USER_AGENT, GoogleTokens, open_session

KEY = ServiceKey(project="barq-fleet", region="us-central1", name="barq-fleet-api")
PATH = "/apis/serving.knative.dev/v1/namespaces/barq-fleet/services/barq-fleet-api"


async def settled(control: TrafficControl, key: ServiceKey = KEY) -> ServiceState:
    """The service once its newest generation is routed."""
    async with asyncio.timeout(5):
        while True:
            state = await control.read(key)
            if state.ready is not None:
                return state
            await asyncio.sleep(0.01)


class TestAgainstTheEmulator:
    """The emulator shares no code with us, so what works here is not two halves of one mistake."""

    @pytest.fixture
    async def emulator(self) -> AsyncIterator[Emulator]:
        async with Emulator(Options(startup_s=0.01, routing_delay_s=0.02, startup_timeout_s=0.02)) as emulator:
            yield emulator

    @pytest.fixture
    async def control(self, emulator: Emulator) -> AsyncIterator[CloudRun]:
        settings = load_settings(emulator.endpoints()["env"])
        async with open_session() as session:
            yield CloudRun.from_settings(session, settings, None)

    async def test_a_service_is_read(self, emulator: Emulator, control: TrafficControl) -> None:
        state = await settled(control)

        assert (state.project, state.region, state.name) == ("barq-fleet", "us-central1", "barq-fleet-api")
        assert state.url == emulator.endpoints()["service_url"]
        assert state.ready is True
        assert state.split == Split((Share(revision=state.latest_ready, percent=100, latest=True),))
        assert state.resource_version
        assert control.endpoint == f"http://{emulator.endpoints()['cloud_run']}"

    async def test_a_deploy_is_rolled_back_without_a_new_revision(
        self, emulator: Emulator, control: TrafficControl
    ) -> None:
        good = (await settled(control)).latest_ready
        bad = (await emulator.director.deploy(Release(revision="barq-fleet-api-bad", tag="canary"))).name
        before = await settled(control)
        assert before.split.sole == bad

        reply = await control.move(
            KEY, Split.of({good: 100}), resource_version=before.resource_version, rolled_back=bad
        )
        after = await settled(control)

        assert reply.desired == after.split == Split.of({good: 100})
        assert after.rolled_back == bad
        assert after.client_name == "deploy-watchdog"
        assert [tag.name for tag in after.tags] == ["canary"]
        assert after.tag_url(bad) == before.tag_url(bad)
        assert after.latest_created == bad
        assert {state.name for state in await control.revisions(KEY)} == {good, bad}
        write = emulator.world.write_log[-1]
        assert (write.new_revision, write.user_agent) == ("", USER_AGENT)

    async def test_release_makes_the_latest_serve_again(self, emulator: Emulator, control: TrafficControl) -> None:
        first = await settled(control)
        pinned = await control.move(
            KEY, Split.of({first.latest_ready: 100}), resource_version=first.resource_version, rolled_back="x"
        )
        latest = Split((Share(revision=first.latest_ready, percent=100, latest=True),))

        await settled(control)
        state = await control.read(KEY)
        await control.move(KEY, latest, resource_version=state.resource_version, rolled_back="")

        after = await settled(control)
        assert pinned.desired == Split.of({first.latest_ready: 100})
        assert after.split == after.desired == latest
        assert after.rolled_back == ""

    async def test_somebody_who_wrote_in_between_wins(self, emulator: Emulator, control: TrafficControl) -> None:
        state = await settled(control)
        emulator.director.race(emulator.director.service(KEY.name).key, None)

        with pytest.raises(ConflictError, match=r"Moving the traffic of .*409 ABORTED: Conflict"):
            await control.move(KEY, Split.of({state.latest_ready: 100}), resource_version=state.resource_version)
        assert (await control.read(KEY)).rolled_back == ""

    async def test_revisions_come_newest_first_with_their_state(
        self, emulator: Emulator, control: TrafficControl
    ) -> None:
        good = (await settled(control)).latest_ready
        again, unsafe, broken = (f"{KEY.name}-{suffix}" for suffix in ("again", "unsafe", "broken"))
        image = emulator.director.revision(good).template["spec"]["containers"][0]["image"]
        await emulator.director.deploy(Release(revision=again, image=image))
        await emulator.director.deploy(
            Release(revision=unsafe, env={"A": "1"}, labels={"watchdog-rollback-safe": "false"})
        )
        await settled(control)
        await emulator.director.deploy(Release(revision=broken, ready=False))
        await settled(control)

        states = await control.revisions(KEY)

        assert [state.name for state in states] == [broken, unsafe, again, good]
        assert [state.ready for state in states] == [False, True, True, True]
        assert [state.rollback_safe for state in states] == [True, False, True, True]
        assert states[0].reason.startswith("HealthCheckContainerError")
        assert "@sha256:" in states[3].image
        assert states[2].fingerprint == states[3].fingerprint != states[1].fingerprint

    async def test_services_are_listed_by_project_and_region(self, emulator: Emulator, control: TrafficControl) -> None:
        for name, project, region in (
            ("other", "barq-fleet", "us-central1"),
            ("barq-fleet-api", "barq-fleet", "europe-west1"),
            ("foreign", "somebody-else", "us-central1"),
        ):
            await emulator.director.deploy(Release(service=name, project=project, region=region))

        listed = await control.list_services("barq-fleet", "us-central1")

        assert sorted(state.name for state in listed) == ["barq-fleet-api", "other"]
        assert {state.region for state in listed} == {"us-central1"}
        europe = ServiceKey(project="barq-fleet", region="europe-west1", name="barq-fleet-api")
        assert (await settled(control, europe)).url != (await settled(control)).url

    async def test_an_unknown_service_is_a_404(self, control: TrafficControl) -> None:
        with pytest.raises(PermanentError) as caught:
            await control.read(ServiceKey(project="barq-fleet", region="us-central1", name="nothing"))

        assert caught.value.status == 404

    async def test_without_permission_the_grant_is_named(self, emulator: Emulator, control: TrafficControl) -> None:
        state = await settled(control)
        emulator.gate.may_write = False

        with pytest.raises(PermanentError, match=r"run\.services\.update") as caught:
            await control.move(KEY, Split.of({state.latest_ready: 100}), resource_version=state.resource_version)

        assert caught.value.status == 403

    async def test_a_write_whose_answer_is_lost_is_not_sent_again(
        self, emulator: Emulator, control: TrafficControl
    ) -> None:
        """It has landed: sending it twice could undo what somebody did in between."""
        state = await settled(control)
        writes = len(emulator.world.write_log)
        emulator.gate.arm(AdminFault(kind="drop", on="writes", after=True, count=1))

        with pytest.raises(TemporaryError) as caught:
            await control.move(
                KEY, Split.of({state.latest_ready: 100}), resource_version=state.resource_version, rolled_back="bad"
            )

        assert not isinstance(caught.value, ConflictError)
        assert len(emulator.world.write_log) == writes + 1
        assert (await control.read(KEY)).rolled_back == "bad"


def body(version: str = "1", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "barq-fleet-api", "resourceVersion": version, "generation": 1},
        "spec": {"template": {"spec": {"containers": [{"image": "x"}]}}},
        "status": status,
    }


class TestAgainstAnApiThatMisbehaves:
    @pytest.fixture
    async def api(self) -> AsyncIterator[tuple[Recorder, aiohttp.ClientSession]]:
        async with recording(Answer(body=body())) as pair:
            yield pair

    @pytest.fixture
    def control(self, api: tuple[Recorder, aiohttp.ClientSession]) -> CloudRun:
        recorder, session = api
        return CloudRun(session, tokens=None, api_url=recorder.url)

    async def test_the_write_is_the_body_that_was_read(
        self, api: tuple[Recorder, aiohttp.ClientSession], control: TrafficControl
    ) -> None:
        state = await control.read(KEY)
        await control.move(KEY, Split.of({"a": 100}), resource_version=state.resource_version)

        get, put = api[0].seen
        assert (get.method, get.path, put.method, put.path) == ("GET", PATH, "PUT", PATH)
        assert put.json["spec"]["template"] == body()["spec"]["template"]
        assert put.json["metadata"]["resourceVersion"] == "1"
        assert put.json["kind"] == "Service"
        assert get.headers["Host"] == "us-central1-run.googleapis.com"
        assert "Authorization" not in get.headers

    async def test_a_write_without_a_read_reads_first_and_notices_another_version(
        self, api: tuple[Recorder, aiohttp.ClientSession], control: TrafficControl
    ) -> None:
        with pytest.raises(ConflictError, match="somebody wrote in between"):
            await control.move(KEY, Split.of({"a": 100}), resource_version="0")
        assert [seen.method for seen in api[0].seen] == ["GET"]

        await control.move(KEY, Split.of({"a": 100}), resource_version="1")
        assert [seen.method for seen in api[0].seen] == ["GET", "PUT"]

    async def test_after_a_failed_write_the_service_is_read_again(
        self, api: tuple[Recorder, aiohttp.ClientSession], control: TrafficControl
    ) -> None:
        state = await control.read(KEY)
        api[0].answers.append(Answer(status=503, headers={"Retry-After": "2"}))
        with pytest.raises(TemporaryError) as caught:
            await control.move(KEY, Split.of({"a": 100}), resource_version=state.resource_version)
        await control.move(KEY, Split.of({"a": 100}), resource_version=state.resource_version)

        assert caught.value.delay_s == 2.0
        assert [seen.method for seen in api[0].seen] == ["GET", "PUT", "GET", "PUT"]

    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
    async def test_what_may_pass_is_temporary(
        self, api: tuple[Recorder, aiohttp.ClientSession], control: TrafficControl, status: int
    ) -> None:
        api[0].default = Answer(status=status)

        with pytest.raises(TemporaryError):
            await control.read(KEY)

    async def test_a_body_taken_for_a_new_revision_is_no_lost_race(
        self, api: tuple[Recorder, aiohttp.ClientSession], control: TrafficControl
    ) -> None:
        """Reading again and retrying would never end."""
        await control.read(KEY)
        error = {"error": {"code": 409, "status": "ALREADY_EXISTS", "message": "Revision named 'x' already exists"}}
        api[0].answers.append(Answer(status=409, body=error))

        with pytest.raises(PermanentError) as caught:
            await control.move(KEY, Split.of({"a": 100}), resource_version="1")

        assert caught.value.status == 409

    @pytest.mark.parametrize("answer", ["<html>", "[]", "null", '"x"'])
    async def test_an_answer_that_is_no_service_is_temporary(
        self, api: tuple[Recorder, aiohttp.ClientSession], control: TrafficControl, answer: str
    ) -> None:
        api[0].default = Answer(body=answer)

        with pytest.raises(TemporaryError):
            await control.read(KEY)

    async def test_an_empty_object_is_a_service_of_which_nothing_is_known(
        self, api: tuple[Recorder, aiohttp.ClientSession], control: TrafficControl
    ) -> None:
        api[0].default = Answer(body={})

        state = await control.read(KEY)

        assert (state.split, state.resource_version, state.ready) == (Split(), "", None)

    async def test_lists_are_followed_to_their_last_page(
        self, api: tuple[Recorder, aiohttp.ClientSession], control: TrafficControl
    ) -> None:
        def page(seen: Seen) -> Answer:
            number = int(seen.query.get("continue") or 0)
            items = [{"metadata": {"name": f"api-{number}"}}, None]
            more = {"continue": str(number + 1)} if number < 2 else {}
            return Answer(body={"items": items, "metadata": more})

        api[0].default = page

        assert [state.name for state in await control.list_services("p", "r")] == ["api-0", "api-1", "api-2"]
        revisions = await control.revisions(KEY)
        assert sorted(state.name for state in revisions) == ["api-0", "api-1", "api-2"]
        assert api[0].seen[-1].query == {
            "labelSelector": "serving.knative.dev/service=barq-fleet-api",
            "continue": "2",
        }

    async def test_a_list_without_end_or_without_a_region_is_an_error(
        self, api: tuple[Recorder, aiohttp.ClientSession], control: TrafficControl
    ) -> None:
        api[0].default = Answer(body={"items": [], "metadata": {"continue": "same"}})
        with pytest.raises(PermanentError, match="no end"):
            await control.list_services("p", "r")

        api[0].default = Answer(body={"items": [], "unreachable": ["us-central1"]})
        with pytest.raises(TemporaryError, match="incomplete"):
            await control.list_services("p", "r")

    async def test_an_odd_name_stays_inside_its_path(
        self, api: tuple[Recorder, aiohttp.ClientSession], control: TrafficControl
    ) -> None:
        await control.read(ServiceKey(project="example.com:p", region="r", name="a/../b?c"))

        assert api[0].seen[0].path == "/apis/serving.knative.dev/v1/namespaces/example.com:p/services/a/../b?c"

    async def test_the_cache_of_bodies_is_bounded(self, control: CloudRun) -> None:
        for number in range(200):
            await control.read(ServiceKey(project="p", region="r", name=f"s{number}"))

        assert len(control._bodies) == 64


class Signed(Credentials):
    """Credentials whose every refresh gives another token."""

    refreshes = 0

    def refresh(self, request: Any) -> None:
        self.refreshes += 1
        self.token = f"token-{self.refreshes}"


class TestCredentials:
    @pytest.fixture
    async def tokens(self) -> AsyncIterator[GoogleTokens]:
        tokens = GoogleTokens(load=lambda _call: Signed())  # type: ignore[no-untyped-call]
        yield tokens
        await tokens.close()

    async def test_every_call_carries_the_token_and_goes_to_the_region(self, tokens: GoogleTokens) -> None:
        async with recording(Answer(body=body())) as (server, session):
            control = CloudRun(session, tokens=tokens, api_url=f"{server.url}/{{region}}")

            await control.read(KEY)

        [seen] = server.seen
        assert seen.headers["Authorization"] == "Bearer token-1"
        assert seen.headers["Host"] != "us-central1-run.googleapis.com"
        assert seen.path == f"/us-central1{PATH}"
        assert control.endpoint == f"{server.url}/us-central1"

    async def test_a_token_revoked_early_is_replaced_once(self, tokens: GoogleTokens) -> None:
        def answer(seen: Seen) -> Answer:
            return Answer(body=body()) if seen.headers["Authorization"] == "Bearer new" else Answer(status=401)

        async with recording(answer) as (server, session):
            control = CloudRun(session, tokens=tokens, api_url=server.url)
            server.answers.append(Answer(status=401))
            server.answers.append(Answer(body=body()))
            await control.read(KEY)
            with pytest.raises(PermanentError, match="Google credentials"):
                await control.read(KEY)

        assert len(server.seen) == 4


async def test_the_real_api_is_regional() -> None:
    async with open_session() as session:
        control: TrafficControl = CloudRun.from_settings(session, Settings(), None)

        assert control.endpoint == "https://run.googleapis.com"
