"""Traffic survives the way to our model and back: percents, tags and kinds are kept, the template is never touched."""

import copy
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.actions import knative, knative_shapes
from watchdog.core.model import ServiceKey, ServiceState, Share, Split, Tag, TrialMark
from watchdog.errors import PermanentError

KEY = ServiceKey(project="barq-fleet", region="us-central1", name="api")

NAMES = st.sampled_from([f"api-{number:05d}-abc" for number in range(6)])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def splits(draw: st.DrawFn) -> Split:
    """Splits as the API has them: one share a revision and kind, whole percents that add up to 100."""
    names = draw(st.lists(st.tuples(NAMES, st.just(value=False)), min_size=0, max_size=4, unique=True))
    if not names or draw(st.booleans()):
        names = [*names, ("api-latest", True)]
    cuts = sorted(draw(st.sets(st.integers(1, 99), min_size=len(names) - 1, max_size=len(names) - 1)))
    edges = [0, *cuts, 100]
    percents = [high - low for low, high in itertools.pairwise(edges)]
    shares = [
        Share(revision=name, percent=p, latest=follows) for (name, follows), p in zip(names, percents, strict=True)
    ]
    return Split(tuple(shares))


@st.composite
def services(draw: st.DrawFn) -> dict[str, Any]:
    """A service as the API answers it, with tags on revisions and on the latest one."""
    entries: list[dict[str, Any]] = []
    for number, name in enumerate(draw(st.lists(st.none() | NAMES, max_size=5))):
        entry: dict[str, Any] = {"latestRevision": True} if name is None else {"revisionName": name}
        if draw(st.booleans()):
            entry["tag"] = f"tag-{number}"
        entry["percent"] = draw(st.integers(0, 100))
        entries.append(entry)
    return {
        "apiVersion": knative_shapes.API_VERSION,
        "kind": "Service",
        "metadata": {
            "name": "api",
            "resourceVersion": "AAA",
            "generation": 3,
            "annotations": draw(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3)),
        },
        "spec": {"template": draw(st.dictionaries(st.text(max_size=8), JSON, max_size=4)), "traffic": entries},
        "status": {"latestReadyRevisionName": "api-latest", "observedGeneration": 3},
    }


def served(body: dict[str, Any]) -> dict[str, Any]:
    """The service once the wish has come true: `status.traffic` as the API resolves it."""
    shown = copy.deepcopy(body)
    shown["status"]["traffic"] = [
        {"revisionName": entry.get("revisionName", "api-latest"), **entry} for entry in body["spec"]["traffic"]
    ]
    return shown


class TestRoundTrip:
    @settings(deadline=None)  # shared machines are slow now and then
    @given(services(), splits())
    def test_what_is_written_is_what_is_read_back(self, raw: dict[str, Any], split: Split) -> None:
        state = knative.service_state(served(knative.with_traffic(raw, split, resource_version="AAA")), KEY)

        assert state.split == split
        assert state.desired == split
        assert sum(state.split.percents().values()) == 100

    @settings(deadline=None)
    @given(services(), splits(), st.none() | st.just("") | NAMES)
    def test_only_traffic_and_our_annotations_change(
        self, raw: dict[str, Any], split: Split, rolled_back: str | None
    ) -> None:
        before = copy.deepcopy(raw)

        body = knative.with_traffic(raw, split, resource_version="BBB", rolled_back=rolled_back, client_version="1")

        assert raw == before
        assert body["spec"]["template"] == before["spec"]["template"]
        assert body["metadata"].pop("resourceVersion") == "BBB"
        annotations = body["metadata"].pop("annotations")
        ours = {knative_shapes.CLIENT_NAME: "deploy-watchdog", knative_shapes.CLIENT_VERSION: "1"}
        ours |= {knative.ROLLED_BACK: rolled_back} if rolled_back else {}
        assert annotations == before["metadata"].pop("annotations") | ours
        for part in (body, before):
            part["spec"].pop("traffic")
        before["metadata"].pop("resourceVersion")
        assert body == before

    @settings(deadline=None)
    @given(services(), splits(), splits())
    def test_a_trial_marks_the_service_and_any_other_write_takes_the_mark_away(
        self, raw: dict[str, Any], before: Split, after: Split
    ) -> None:
        mark = TrialMark(revision="api-2", at=1.5, before=before, after=after)

        marked = knative.with_traffic(raw, after, resource_version="AAA", trial=mark)
        state = knative.service_state(marked, KEY)
        assert state.trial == mark
        assert state.trial_of("api-2") == mark
        assert state.trial_of("api-1") is None

        others = knative.with_traffic(marked, before, resource_version="BBB")
        others["metadata"]["annotations"][knative.TRIAL] = marked["metadata"]["annotations"][knative.TRIAL]
        found = knative.service_state(others, KEY).trial_of("api-2")
        assert (found is None) != before.same_traffic(after), "a split that somebody else wrote is no trial"
        again = knative.with_traffic(marked, before, resource_version="BBB")
        assert knative.TRIAL not in again["metadata"]["annotations"]

    @pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"revision": "a"}', '{"revision": "a", "at": "x"}'])
    def test_a_mark_that_we_did_not_write_is_none(self, text: str) -> None:
        raw = {"metadata": {"annotations": {knative.TRIAL: text}}, "spec": {}, "status": {}}
        assert knative.service_state(raw, KEY).trial is None

    @settings(deadline=None)
    @given(services(), splits())
    def test_every_tag_keeps_its_revision_at_no_traffic(self, raw: dict[str, Any], split: Split) -> None:
        body = knative.with_traffic(raw, split, resource_version="AAA")

        def tags(entries: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
            return [(entry["tag"], entry.get("revisionName")) for entry in entries if "tag" in entry]

        written = body["spec"]["traffic"]
        assert tags(written) == tags(raw["spec"]["traffic"])
        assert all(entry["percent"] == 0 for entry in written if "tag" in entry)
        assert sum(entry["percent"] for entry in written) == 100
        assert all(isinstance(entry["percent"], int) for entry in written)
        assert all(("revisionName" in entry) != ("latestRevision" in entry) for entry in written)

    @settings(deadline=None)
    @given(JSON.filter(lambda value: isinstance(value, dict)))
    def test_no_answer_makes_reading_fail(self, junk: Any) -> None:
        """Fakes and half-made services lack or mangle fields; that is never a traceback."""
        nested = {"metadata": junk, "spec": junk, "status": junk}

        for raw in (junk, nested, {"status": {"traffic": [junk], "conditions": [junk]}, "spec": {"traffic": [junk]}}):
            assert isinstance(knative.service_state(raw, KEY), ServiceState)
            knative.revision_state(raw)
            knative.page(raw)


class TestWriting:
    def test_a_revision_goes_out_under_its_bare_name(self) -> None:
        body = knative.with_traffic({}, Split.of({"projects/p/revisions/api-1": 100}), resource_version="1")

        assert body["spec"]["traffic"] == [{"revisionName": "api-1", "percent": 100}]

    def test_the_latest_goes_out_without_a_name(self) -> None:
        split = Split((Share(revision="api-2", percent=90, latest=True), Share(revision="api-2", percent=10)))

        body = knative.with_traffic({}, split, resource_version="1")

        assert body["spec"]["traffic"] == [
            {"latestRevision": True, "percent": 90},
            {"revisionName": "api-2", "percent": 10},
        ]

    def test_a_serving_tag_becomes_an_entry_of_its_own(self) -> None:
        raw = {"spec": {"traffic": [{"revisionName": "api-2", "percent": 100, "tag": "blue", "url": "https://x"}]}}

        body = knative.with_traffic(raw, Split.of({"api-1": 100}), resource_version="1")

        assert body["spec"]["traffic"] == [
            {"revisionName": "api-1", "percent": 100},
            {"revisionName": "api-2", "percent": 0, "tag": "blue"},
        ]

    @pytest.mark.parametrize(
        "split",
        [
            Split(),
            Split.of({"a": 99}),
            Split.of({"a": 60, "b": 50}),
            Split((Share(revision="a", percent=110), Share(revision="b", percent=-10))),
        ],
    )
    def test_a_split_that_is_not_whole_is_never_written(self, split: Split) -> None:
        with pytest.raises(PermanentError, match="100 %"):
            knative.with_traffic({}, split, resource_version="1")

    def test_our_annotation_is_set_removed_or_left(self) -> None:
        split = Split.of({"a": 100})
        raw = {"metadata": {"annotations": {knative.ROLLED_BACK: "old", "x": "y"}}}

        def after(rolled_back: str | None) -> str | None:
            body = knative.with_traffic(raw, split, resource_version="1", rolled_back=rolled_back)
            value: str | None = body["metadata"]["annotations"].get(knative.ROLLED_BACK)
            return value

        assert (after("new"), after(""), after(None)) == ("new", None, "old")


def service(**parts: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "api", "generation": 2, "resourceVersion": "7", **parts.pop("metadata", {})},
        "spec": parts.pop("spec", {}),
        "status": {"observedGeneration": 2, **parts.pop("status", {})},
    }


def ready(status: str, **more: str) -> dict[str, Any]:
    return {"conditions": [{"type": "RoutesReady", "status": "True"}, {"type": "Ready", "status": status, **more}]}


class TestReadingServices:
    def test_effective_traffic_leaves_out_tags_and_adds_up_entries(self) -> None:
        """`traffic[0]` may be a tag entry; a revision may have several."""
        traffic = [
            {"revisionName": "api-3", "tag": "green", "url": "https://green---x"},
            {"revisionName": "api-1", "percent": 40},
            {"revisionName": "api-1", "percent": 30, "tag": "blue", "url": "https://blue---x"},
            {"revisionName": "api-2", "percent": 30, "latestRevision": True},
            {"revisionName": "api-9", "percent": 0},
        ]

        state = knative.service_state(service(status={"traffic": traffic}), KEY)

        assert state.split == Split(
            (Share(revision="api-1", percent=70), Share(revision="api-2", percent=30, latest=True))
        )
        assert state.tags == (
            Tag(name="green", revision="api-3", url="https://green---x"),
            Tag(name="blue", revision="api-1", url="https://blue---x"),
        )

    def test_desired_traffic_is_the_specs_and_an_empty_list_means_the_latest(self) -> None:
        raw = service(status={"latestReadyRevisionName": "api-5"})

        assert knative.service_state(raw, KEY).desired == Split((Share(revision="api-5", percent=100, latest=True),))
        raw["spec"] = {"traffic": [{"revisionName": "api-1", "percent": 100}, {"revisionName": "api-2", "tag": "t"}]}
        state = knative.service_state(raw, KEY)
        assert state.desired == Split.of({"api-1": 100})
        assert state.tags == (Tag(name="t", revision="api-2", url=""),)

    @pytest.mark.parametrize("status,expected", [("True", True), ("False", False), ("Unknown", None), ("", None)])
    def test_readiness_is_the_ready_condition(self, status: str, expected: bool | None) -> None:  # noqa: FBT001
        state = knative.service_state(service(status=ready(status, message="because")), KEY)

        assert state.ready is expected
        assert state.ready_message == ("" if expected else "because")

    def test_readiness_of_an_older_generation_says_nothing(self) -> None:
        raw = service(status={**ready("True"), "observedGeneration": 1})

        assert knative.service_state(raw, KEY).ready is None

    def test_a_service_just_created_has_no_status(self) -> None:
        state = knative.service_state({"metadata": {"name": "api", "generation": 1}, "spec": {}}, KEY)

        assert (state.ready, state.split, state.url, state.observed_generation) == (None, Split(), "", 0)

    def test_the_url_may_stand_in_the_address(self) -> None:
        assert knative.service_state(service(status={"address": {"url": "https://b"}}), KEY).url == "https://b"
        both = service(status={"url": "https://a", "address": {"url": "https://b"}})
        assert knative.service_state(both, KEY).url == "https://a"

    def test_who_wrote_last_is_read(self) -> None:
        annotations = {
            "deploy-watchdog/rolled-back": "api-2",
            "serving.knative.dev/lastModifier": "ci@example.com",
            "run.googleapis.com/client-name": "gcloud",
        }

        state = knative.service_state(service(metadata={"annotations": annotations, "labels": {"a": "b"}}), KEY)

        assert (state.rolled_back, state.last_modifier, state.client_name) == ("api-2", "ci@example.com", "gcloud")
        assert state.labels == {"a": "b"}


def revision(name: str = "api-1", **parts: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "creationTimestamp": "2026-08-01T10:00:00.5Z", **parts.pop("metadata", {})},
        "spec": {"containers": [{"image": "repo/api:1"}], **parts.pop("spec", {})},
        "status": {"imageDigest": "repo/api@sha256:abc", **ready("True"), **parts.pop("status", {})},
    }


class TestReadingRevisions:
    def test_a_revision_is_read(self) -> None:
        state = knative.revision_state(revision(metadata={"labels": {"watchdog-rollback-safe": "false"}}))

        assert state.name == "api-1"
        assert state.ready
        assert state.created_at == 1785578400.5
        assert state.image == "repo/api@sha256:abc"
        assert not state.rollback_safe
        assert len(state.fingerprint) == 64

    @pytest.mark.parametrize("reason", ["Retired", "Retiring", "RESERVE"])
    @pytest.mark.parametrize("status", ["Unknown", "False"])
    def test_an_idle_revision_is_not_a_broken_one(self, reason: str, status: str) -> None:
        assert knative.revision_state(revision(status=ready(status, reason=reason))).ready

    def test_a_broken_revision_says_why(self) -> None:
        broken = revision(status=ready("False", reason="HealthCheckContainerError", message="failed to start"))

        state = knative.revision_state(broken)

        assert not state.ready
        assert state.reason == "HealthCheckContainerError: failed to start"

    def test_a_revision_without_conditions_is_not_called_ready(self) -> None:
        state = knative.revision_state(revision(status={"conditions": None}))

        assert (state.ready, state.reason) == (False, "its Ready condition is not known")

    def test_newest_come_first_and_the_same_second_is_told_apart_by_generation(self) -> None:
        def made(name: str, at: str, generation: str) -> Any:
            labels = {"serving.knative.dev/configurationGeneration": generation}
            return knative.revision_state(revision(name, metadata={"creationTimestamp": at, "labels": labels}))

        same = "2026-08-02T00:00:00Z"
        unordered = [made("b", same, "9"), made("a", "2026-08-03T00:00:00Z", "11"), made("c", same, "10")]

        assert [state.name for state in knative.newest_first(unordered)] == ["a", "c", "b"]
