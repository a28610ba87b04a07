"""Who put a bad revision back, as Cloud Run's annotations tell it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.drive import NEW, OLD, T0, Drive, opening
from watchdog.core.author import NOBODY, OURS, Author, advice, who
from watchdog.core.events import TrafficSeen
from watchdog.core.journal import decode, encode
from watchdog.core.model import Split

ROBOT = "ci@acme.iam.gserviceaccount.com"


@pytest.mark.parametrize(
    "author, name, todo",
    [
        (Author(ROBOT, "terraform", "1.9.8"), "Terraform 1.9.8 (as service account ci)", "Terraform owns"),
        (Author("", "Terraform", ""), "Terraform", "first, or pin the good revision there"),
        (Author("jane@acme.com", "pulumi", "3"), "Pulumi 3 (as jane)", "Pulumi owns"),
        (Author("jane@acme.com", "gcloud", "502.0.0"), "jane (with gcloud 502.0.0)", "Ask jane first"),
        (Author("jane@acme.com", "cloud-console", ""), "jane (with the Cloud Console)", "Ask jane first"),
        (Author(ROBOT, "gcloud", "502.0.0"), "service account ci (with gcloud 502.0.0)", "Find what runs as service"),
        (Author(ROBOT, "deployctl", ""), "service account ci (with deployctl)", "Find what runs as service account ci"),
        (Author("jane@acme.com", OURS, "0.1"), "jane", "Ask jane first"),
        (Author(ROBOT, OURS, "0.1"), "service account ci", "Find what runs as service account ci"),
        (NOBODY, "somebody or some automation", "Find out who"),
        (Author("", OURS, "0.1"), "somebody or some automation", "Find out who"),
    ],
)
def test_who_it_was_and_what_to_do(author: Author, name: str, todo: str) -> None:
    assert who(author) == name
    assert todo in advice(author)


@given(st.builds(Author, st.text(), st.text(), st.text()))
def test_whatever_an_annotation_holds_is_a_sentence(author: Author) -> None:
    assert who(author)
    assert advice(author).endswith(".")


def test_it_travels_in_the_journal_and_older_rows_have_none() -> None:
    seen = TrafficSeen(at=T0, split=Split.of({NEW: 100}), author=Author(ROBOT, "terraform", "1.9.8"))
    kind, schema, body = encode(seen)
    assert decode(kind, schema, T0, body) == seen
    older = decode(kind, schema, T0, {k: v for k, v in body.items() if k != "author"})
    assert isinstance(older, TrafficSeen)
    assert older.author == NOBODY


def test_a_revision_that_is_put_back_during_verification_names_who_did_it() -> None:
    drive = Drive(opening())
    drive.healthy(0, 50)
    drive.hard_down(50)
    drive.restored(56)
    by = Author(ROBOT, "terraform", "1.9.8")
    drive.put(TrafficSeen(at=T0 + 60, split=Split.of({NEW: 100}), author=by))
    page = drive.messages("rollback_failed")[-1]
    assert page["title"].startswith("Bad revision is back")
    assert "Terraform 1.9.8 (as service account ci) put it back" in page["happened"]
    assert "revert the release in its configuration first" in page["todo"]
    assert f"--to-revisions {OLD}=100" in page["todo"]
    assert drive.watch.open


def test_a_known_bad_revision_that_serves_again_names_who_did_it() -> None:
    drive = Drive(opening(known_bad=True, mode="observe", author=Author("jane@acme.com", "gcloud", "502")))
    (page,) = drive.messages("opened")
    assert "jane (with gcloud 502) put it back" in page["happened"]
    assert "Ask jane first" in page["todo"]
    assert page["incident"]
