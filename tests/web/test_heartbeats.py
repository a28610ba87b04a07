"""Jobs ping: into the inbox of their service, and only those that its policy knows."""

from tests.web.world import EUROPE, WORKER, serve
from watchdog.core.model import ServiceKey


def jobs(key: ServiceKey) -> frozenset[str]:
    return frozenset({"cleanup"}) if key == WORKER else frozenset()


async def test_a_ping_goes_to_the_service_and_once_with_one_key() -> None:
    async with serve(heartbeat_jobs=jobs) as site:
        for repeated in (False, True):
            status, answer = await site.send(
                "/api/v1/services/barq-worker/heartbeats/cleanup", **{"Idempotency-Key": "run-7"}
            )
            assert (status, answer["accepted"], answer["job"]) == (202, True, "cleanup")
            assert answer["repeated"] is repeated
        assert await site.letters(f"service/{WORKER}") == [("heartbeat", {"job": "cleanup"})]


async def test_an_unknown_job_is_404_and_names_the_known_ones_and_a_stranger_is_401() -> None:
    async with serve(heartbeat_jobs=jobs) as site:
        unknown = await site.send("/api/v1/services/barq-worker/heartbeats/clean-up")
        elsewhere = await site.send("/api/v1/services/europe-west1%2Fbarq-fleet-api/heartbeats/cleanup")
        stranger = await site.send("/api/v1/services/barq-worker/heartbeats/cleanup", token=None)

        assert (unknown[0], "cleanup" in unknown[1]["detail"]) == (404, True)
        assert (elsewhere[0], "names: none" in elsewhere[1]["detail"]) == (404, True)
        assert stranger[0] == 401
        assert await site.letters(f"service/{EUROPE}") == []
