"""A service that is one resource in several regions is not rolled back by itself."""

import pytest

from tests.core.drive import policy
from watchdog.actions.knative import service_state
from watchdog.core.model import ServiceKey, ServiceState
from watchdog.core.multi_region import bounded, why_not_automatic

KEY = ServiceKey(project="acme", region="us-central1", name="api")


def state(**annotations: str) -> ServiceState:
    return service_state({"metadata": {"name": "api", "annotations": annotations}}, KEY)


def test_automatic_acts_as_approve_and_says_why() -> None:
    spanning = state(**{"run.googleapis.com/regions": "us-central1, europe-west1"})
    assert spanning.spans == ("us-central1", "europe-west1")
    said = why_not_automatic(policy(), spanning)
    assert said is not None
    assert "us-central1 and europe-west1" in said
    assert bounded(policy(), spanning).rollback.mode == "approve"


@pytest.mark.parametrize("mode", ["approve", "observe"])
def test_the_other_modes_stay_as_they_are(mode: str) -> None:
    spanning = state(**{"run.googleapis.com/regions": "us-central1"})
    assert why_not_automatic(policy(mode), spanning) is None
    assert bounded(policy(mode), spanning) == policy(mode)


@pytest.mark.parametrize("value", [None, "", " , "])
def test_a_service_of_one_region_is_left_alone(value: str | None) -> None:
    plain = state(**({} if value is None else {"run.googleapis.com/regions": value}))
    assert plain.spans == ()
    assert bounded(policy(), plain) == policy()
