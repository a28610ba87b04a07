"""What the drills of several regions share: the policy, the second region's service, and how one incident looks."""

from collections.abc import Mapping
from typing import Any, Final

from watchdog.demo.stage import Stage

CENTRAL: Final = "us-central1"
EAST: Final = "us-east1"
IMAGE: Final = "us-docker.pkg.dev/barq-fleet/api/api:bad"


def policy(**rollback: object) -> Mapping[str, Any]:
    """The drills' policy for both regions."""
    return {"service": {"region": None, "regions": [CENTRAL, EAST]}, "rollback": rollback}


async def second_region(stage: Stage) -> None:
    """The service in the second region, with a revision of its own that can be asked."""
    await stage.deploy("good-east", region=EAST, image="us-docker.pkg.dev/barq-fleet/api/api:good")
    await stage.move(LATEST=100, tags={"stable": "good-east"}, region=EAST)


async def one_incident(stage: Stage, first: str, *others: str, pages: int = 1) -> None:
    """The watches of these revisions are one release: one root message in Slack, and so many PagerDuty incidents."""
    views = [await stage.until(name) for name in (first, *others)]
    stage.require("the regions' watches are not one release", len({view["release"] for view in views}) == 1)
    threads = await stage.threads()
    stage.require(f"{len(threads)} root messages in Slack, expected one: {list(threads)}", len(threads) == 1)
    said = [text for thread in threads.values() for text in (*threads, *thread)]
    for view in views:
        stage.check(f"the thread on {view['region']}", said, view["region"])
    incidents = await stage.incidents()
    stage.require(f"{len(incidents)} incidents in PagerDuty, expected {pages}", len(incidents) == pages)
