"""Nothing of the target can serve: its image is deployed again where it may be, else a person gets the command."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.core.drive import NEW, OLD, TEXT, Drive, opening
from tests.core.test_traffic import revisions, service
from watchdog.core.commands import Restore
from watchdog.core.journal import encode, public
from watchdog.core.model import Split
from watchdog.core.traffic import Refuse, preflight
from watchdog.policy_file import parse_policy

AGAIN = "api-wd-w1"
IMAGE = "europe-docker.pkg.dev/acme/api@sha256:abc"
WHY = f"the target {OLD} 100 % cannot serve: {OLD} is gone"
SNAPSHOT = {
    "metadata": {},
    "spec": {"containers": [{"image": IMAGE, "env": [{"name": "PASSWORD", "value": "hunter2"}]}]},
}


def gone(mode: str = "automatic", *, key: bool = True, **changes: Any) -> Drive:
    policy = parse_policy(TEXT.format(mode=mode) + f"redeploy_image: {str(key).lower()}\n", Path("policy.yaml")).policy
    values = {"policy": policy.canonical(), "policy_hash": policy.hash, "images": {OLD: IMAGE}, "snapshot": SNAPSHOT}
    drive = Drive(opening(**{**values, **changes}))
    drive.healthy(0, 50)
    drive.hard_down(50)
    if mode == "approve":
        drive.operate("rollback", 55)
    drive.written(56, "gone", reason=WHY)
    return drive


def test_it_is_deployed_again_and_traffic_goes_there() -> None:
    drive = gone()
    assert drive.writes == 2
    page = drive.messages("decision")[-1]
    assert page["title"] == "Rolling back api (europe-west1): health_check failing"
    assert IMAGE in page["did"]
    drive.written(90, "redeployed", after=Split.of({AGAIN: 100}))
    assert drive.writes == 3
    assert drive.watch.target.split == Split.of({AGAIN: 100})
    assert drive.watch.rollback is not None
    assert drive.watch.rollback.step == "whole"
    drive.written(92, after=Split.of({AGAIN: 100}))
    drive.traffic({AGAIN: 100}, 93, newer=True)
    assert "restored" in drive.announced
    assert drive.watch.outcome is None, "the new revision is no newer deploy that took over"
    assert drive.watch.rollback.before == Split.of({NEW: 100}), "what release restores is from before all of it"


@pytest.mark.parametrize(
    "mode, key, changes",
    [("automatic", False, {}), ("approve", True, {}), ("automatic", True, {"snapshot": {}})],
)
def test_otherwise_a_person_gets_the_command(mode: str, key: bool, changes: dict[str, Any]) -> None:  # noqa: FBT001
    drive = gone(mode, key=key, **changes)
    before = sum(isinstance(c, Restore) for c in drive.commands)
    assert before == 1
    page = drive.messages("rollback_failed")[-1]
    assert WHY in page["happened"]
    assert f"gcloud run deploy api --project acme --region europe-west1 --image {IMAGE} --no-traffic" in page["todo"]
    assert drive.watch.hold is not None
    assert drive.watch.hold.kind == "refused"


def test_a_revision_that_does_not_start_is_paged_with_the_command() -> None:
    drive = gone()
    drive.written(90, "failed", reason=f"{AGAIN}, made from the image of {OLD}, cannot serve: no image")
    page = drive.messages("rollback_failed")[-1]
    assert "cannot serve: no image" in page["happened"]
    assert "gcloud run deploy api" in page["todo"]
    assert drive.watch.outcome == "failed"


def test_nobody_reads_the_template_in_an_answer() -> None:
    kind, _, body = encode(gone().first)
    assert "hunter2" in str(body)
    assert "hunter2" not in str(public(kind, body))
    assert public("probed", {"snapshot": 1}) == {"snapshot": 1}


def test_only_what_is_gone_altogether_is_gone() -> None:
    there, lost, new = revisions("a", "b", "new")
    lost = replace(lost, ready=False)
    now = service({"new": 100})
    some = preflight(now, [there, lost, new], watched="new", target=Split.of({"a": 40, "b": 60}))
    assert isinstance(some, Refuse)
    assert not some.gone, "a part of it serves still: that is for a person"
    none = preflight(now, [lost, new], watched="new", target=Split.of({"a": 40, "b": 60}))
    assert isinstance(none, Refuse)
    assert none.gone
    bad = preflight(
        now, revisions("b", "new", b="f"), watched="new", target=Split.of({"b": 100}), known_bad=frozenset({"f"})
    )
    assert isinstance(bad, Refuse)
    assert not bad.gone, "what is known to be bad is not deployed again"
