"""`rollback.impersonate`: traffic is written with another account's token, everything else is read with our own."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from watchdog.actions.cloud_run import CloudRun
from watchdog.core.model import ServiceKey, ServiceState, Split
from watchdog.emulator.gate import AdminFault
from watchdog.emulator.options import Options
from watchdog.emulator.server import Emulator
from watchdog.errors import PermanentError, TemporaryError
from watchdog.settings import load_settings
from watchdog.transport import open_session
from watchdog.transport.impersonation import AHEAD_S, LIFETIME_S, PERMISSION, Impersonated

KEY = ServiceKey(project="barq-fleet", region="us-central1", name="barq-fleet-api")
WRITER = "writer@barq-fleet.iam.gserviceaccount.com"


@dataclass
class HandClock:
    """A clock that a test moves."""

    at: float = 1_790_000_000.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, delay_s: float) -> None:
        self.at += delay_s


@dataclass
class World:
    """The emulator, where only `WRITER` may write, and a client that writes as it."""

    emulator: Emulator
    control: CloudRun
    writer: Impersonated
    clock: HandClock = field(default_factory=HandClock)

    async def read(self) -> ServiceState:
        async with asyncio.timeout(10):
            while (state := await self.control.read(KEY)).ready is None:  # noqa: ASYNC110 - a real server
                await asyncio.sleep(0.01)
            return state

    async def move(self) -> ServiceState:
        state = await self.read()
        return await self.control.move(
            KEY, Split.of({state.latest_ready: 100}), resource_version=state.resource_version, rolled_back="bad"
        )


@pytest.fixture
async def world() -> AsyncIterator[World]:
    clock = HandClock()
    async with Emulator(Options(startup_s=0.01, routing_delay_s=0.02)) as emulator, open_session() as session:
        emulator.gate.writers = frozenset({WRITER})
        url = f"http://{emulator.endpoints()['cloud_run']}"
        writer = Impersonated(session, None, clock, account=WRITER, api_url=url)
        settings = load_settings(emulator.endpoints()["env"])
        control = CloudRun.from_settings(session, settings, None, writers={KEY: writer})
        yield World(emulator=emulator, control=control, writer=writer, clock=clock)
        await writer.close()


async def test_only_the_write_carries_the_other_identity_and_its_token_is_kept(world: World) -> None:
    await world.read()
    assert world.emulator.mint.asked == 0
    await world.move()
    await world.move()
    writes = world.emulator.world.write_log
    assert [w.account for w in writes] == [WRITER, WRITER]
    assert all(w.applied for w in writes)
    assert world.emulator.mint.asked == 1


async def test_without_it_the_watchdogs_own_identity_cannot_write(world: World) -> None:
    async with open_session() as session:
        own = CloudRun.from_settings(session, load_settings(world.emulator.endpoints()["env"]), None)
        state = await world.read()
        with pytest.raises(PermanentError) as caught:
            await own.move(KEY, state.split, resource_version=state.resource_version)
        assert caught.value.status == 403


async def test_a_token_is_replaced_before_it_expires_and_serves_meanwhile(world: World) -> None:
    first = await world.writer.headers()
    world.clock.at += LIFETIME_S - AHEAD_S + 1
    assert await world.writer.headers() == first, "nobody waits for the new one"
    async with asyncio.timeout(10):
        while await world.writer.headers() == first:  # noqa: ASYNC110 - it comes in the background
            await asyncio.sleep(0.01)
    second = await world.writer.headers()
    world.clock.at += LIFETIME_S + 1
    assert await world.writer.headers() not in (first, second)
    assert world.emulator.mint.asked == 3


async def test_a_refresh_that_fails_harms_nobody_while_the_old_one_serves(world: World) -> None:
    first = await world.writer.headers()
    world.emulator.gate.arm(AdminFault(kind="status", on="tokens", status=503))
    world.clock.at += LIFETIME_S - AHEAD_S + 1
    for _ in range(3):
        assert await world.writer.headers() == first
        await asyncio.sleep(0.02)
    world.clock.at += AHEAD_S
    with pytest.raises(TemporaryError, match="503"):
        await world.writer.headers()
    world.emulator.gate.clear()
    assert await world.writer.headers() != first


async def test_one_that_was_revoked_is_asked_for_again(world: World) -> None:
    await world.move()
    world.emulator.mint.clear()
    await world.move()
    assert world.emulator.mint.asked == 2


@pytest.mark.parametrize(
    "fault, error, said",
    [
        (AdminFault(kind="status", on="tokens", status=503), TemporaryError, "IAM Credentials answered 503"),
        (AdminFault(kind="status", on="tokens", status=429), TemporaryError, "429"),
        (AdminFault(kind="drop", on="tokens"), TemporaryError, "no connection to IAM Credentials"),
        (AdminFault(kind="status", on="tokens", status=403), PermanentError, "roles/iam.serviceAccountTokenCreator"),
        (AdminFault(kind="status", on="tokens", status=404), PermanentError, "There is no service account"),
    ],
)
async def test_each_failure_has_its_type_and_says_what_to_do(
    world: World, fault: AdminFault, error: type[Exception], said: str
) -> None:
    world.emulator.gate.arm(fault)
    with pytest.raises(error, match=said):
        await world.move()
    assert not world.emulator.world.write_log


async def test_the_rights_are_those_of_whoever_writes(world: World) -> None:
    held = {right.permission: right for right in await world.control.rights(KEY)}
    assert {name: right.held for name, right in held.items()} == {
        "run.services.get": True,
        PERMISSION: True,
        "run.services.update": True,
    }
    assert WRITER in held["run.services.update"].purpose
    world.emulator.gate.writers = frozenset()
    held = {right.permission: right for right in await world.control.rights(KEY)}
    assert not held["run.services.update"].held
    assert f"serviceAccount:{WRITER}" in held["run.services.update"].remedy
    world.writer.forget()
    world.emulator.gate.may_impersonate = False
    held = {right.permission: right for right in await world.control.rights(KEY)}
    assert (held[PERMISSION].held, held[PERMISSION].writes, "run.services.update" in held) == (False, True, False)
    world.emulator.gate.clear()
    world.emulator.gate.arm(AdminFault(kind="status", on="tokens", status=503))
    with pytest.raises(TemporaryError):
        await world.control.rights(KEY)
