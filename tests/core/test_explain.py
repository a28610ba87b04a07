"""Why it was rolled back, and why not: what an explanation finds in a journal is what was decided live."""

import json
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.player import Player, World, down_from, play, refused
from tests.core.watches import NEW, OLD, T0, fails, ok, policy, sampled
from watchdog.core import explain_text
from watchdog.core.events import Lag, Opened, Resumed, Sampled, Ticked
from watchdog.core.explain import Explainer, explain
from watchdog.core.explain_bins import MOST, WIDTHS_S, Bins
from watchdog.core.explain_rows import CURVE, REPEATED, Curve, Ends
from watchdog.core.explain_view import view
from watchdog.core.explanation import QUIET, Criterion, Explanation
from watchdog.core.journal import JournalError
from watchdog.core.model import Action, Counts, Missing, Outcome, Split, Verdict
from watchdog.core.probing import ProbeAnswer

ERRORS = "success.error_rate"


def row(e: Explanation, row_id: str) -> Criterion:
    return next(c for c in e.criteria if c.rule.row.id == row_id)


def failing(e: Explanation) -> Criterion:
    return next(c for c in e.criteria if c.rule.row.condition is None)


def why(e: Explanation, row_id: str) -> str:
    return explain_text.row(row(e, row_id), e)


def errors(
    share: float, *, after_s: float, until_s: float = 1e9, total: float = 50.0
) -> Callable[[float], tuple[float, float]]:
    """A steady service that fails this share of its requests between two moments."""
    return lambda at: (share * total if T0 + after_s < at <= T0 + until_s else 0.0, total)


def sick(start_s: float, until_s: float = 1e9) -> World:
    """The new revision fails its probes, at the public URL and at its own."""
    return World(public=down_from(start_s, until_s=until_s), own=down_from(start_s, until_s=until_s))


@pytest.fixture(scope="module")
def outage() -> Player:
    """30 % errors from the tenth minute on, seen by a fast feed; the target is warmed first."""
    player = play(World(requests=errors(0.3, after_s=600))).run(1800)
    assert player.watch.outcome is Outcome.ROLLED_BACK
    return player


@pytest.fixture(scope="module")
def hard_down() -> Player:
    """Every probe fails from the tenth minute on."""
    player = play(sick(600)).run(1800)
    assert player.watch.outcome is Outcome.ROLLED_BACK
    return player


@pytest.fixture(scope="module")
def day() -> Player:
    """A good release: 0.2 % errors, and a probe that fails three times for a few seconds."""

    def requests(at: float) -> tuple[float, float]:
        return (3.0 if int(at / 30) % 5 == 0 else 0.0, 300.0)

    def public(name: str, at: float) -> ProbeAnswer:
        blips = ((600, 602), (7195, 7203), (39_955, 39_970))
        ill = name == "health" and any(T0 + start <= at < T0 + end for start, end in blips)
        return fails(at) if ill else ok(at)

    feed = Lag(source="requests", check="error_rate", period_s=30.0, lag_s=10.0)
    player = play(World(public=public, own=public, requests=requests, period_s=30.0), lags=(feed,)).run()
    assert player.watch.outcome is Outcome.PASSED
    return player


@pytest.fixture(scope="module")
def good(day: Player) -> Explanation:
    return explain(day.journal)


# --- why it was ---------------------------------------------------------------------------------------------------


def test_the_moment_of_the_proof_comes_before_the_warming_and_the_decision_after_it(outage: Player) -> None:
    e = explain(outage.journal)
    c = row(e, ERRORS)
    (proof,) = c.proofs
    decision = next(d for d in outage.watch.decisions if d.action is Action.ROLLBACK)
    warming = outage.announced("warming")[0]
    proven = next(c for c in e.criteria if c.rule.label == warming.fields["criterion"]).proofs[0]

    assert proven.at == warming.at
    assert T0 + 600 < proof.began_at < proof.at <= decision.at
    assert proof.sentence.startswith("error_rate: ")
    assert proof.acted_at in {None, decision.at}
    assert "limit < 1%" in proof.sentence


def test_the_evidence_grows_to_the_proof_in_the_curve_and_in_the_bins(outage: Player) -> None:
    e = explain(outage.journal)
    c = row(e, ERRORS)
    curve = [full for _, full in c.proofs[0].approach]

    assert curve[-1] == 1.0
    assert all(QUIET < full < 1.0 for full in curve[:-1])
    assert len(curve) > 2
    assert [b.fullness == 1.0 for b in c.bins] == [end > c.proofs[0].at for end in e.ends]
    assert sum(b.total for b in c.bins) == c.counted.total
    assert sum(b.bad for b in c.bins) == c.counted.bad > 0


def test_a_failing_probe_is_proven_at_the_decision_from_its_first_failed_answer_on(hard_down: Player) -> None:
    e = explain(hard_down.journal)
    (decision,) = e.decisions
    (proof,) = failing(e).proofs

    assert proof.at == decision.at == proof.acted_at
    assert proof.led_to == decision.reason
    assert proof.began_at == T0 + 600.05
    assert [full for _, full in proof.approach] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert {(r.probe, r.ended) for r in e.confirmations} >= {("health", "proven")}


def test_the_answer_says_what_was_broken_since_when_and_when_traffic_was_back(hard_down: Player) -> None:
    e = explain(hard_down.journal)
    told = " ".join(explain_text.answer(e))

    assert explain_text.question(e) == "Why was it rolled back?"
    assert "health_check failing: probe health failed 5 times in a row" in told
    assert "The first failed answer came at 22:23:20 UTC (+10 min)" in told
    assert "it was enough 4.0 s later" in told
    assert f"{OLD} 100 % served again at" in told


def test_other_rows_that_were_broken_too_say_who_had_decided(outage: Player) -> None:
    e = explain(outage.journal)
    others = [p for c in e.criteria for p in c.proofs if p.acted_at is None]

    assert others
    assert all("had decided about the rollback" in p.led_to for p in others)


def test_what_comes_after_the_write_says_nothing_about_the_bad_revision(outage: Player) -> None:
    e = explain(outage.journal)
    written = outage.watch.rollback.written_at if outage.watch.rollback else None

    assert e.ends[-1] == written
    assert all(c.proofs or (c.peak.at or 0.0) <= e.ends[-1] for c in e.criteria)


def test_a_signal_and_a_person_are_named_as_the_reason() -> None:
    told = play().run(300)
    told.signal("database_corruption")
    told.run(900)
    ordered = play().run(300)
    ordered.operate("rollback", reason="customers complain")
    ordered.run(900)

    assert explain_text.answer(explain(told.journal))[0] == "alice says database corruption: two shops report it."
    assert explain_text.answer(explain(ordered.journal))[0] == "Alice asked for it: customers complain."
    assert "on the word of alice" in " ".join(explain_text.answer(explain(ordered.journal)))


# --- why it was not -----------------------------------------------------------------------------------------------


def test_a_good_day_says_how_near_each_row_came_and_what_its_traffic_would_have_shown(good: Explanation) -> None:
    e, said = good, why(good, ERRORS)

    assert explain_text.question(e) == "Why was it not rolled back?"
    assert not any(c.proofs for c in e.criteria if c.can_roll_back)
    assert "1,7" in said
    assert "requests failed (0.2 %; limit < 1%)" in said
    assert "At the 10 requests/s that came (requests), error_rate above" in said
    assert "would have been found within 5 min, above" in said
    assert "within 1 h, above 1.1 % over the watch (100 % covered)." in said
    assert any(line.startswith("No rollback row ever had enough evidence") for line in explain_text.answer(e))


def test_probes_that_passed_again_are_told_with_the_longest_run_of_failures(good: Explanation) -> None:
    e, c = good, failing(good)
    longest = max(e.confirmations, key=lambda r: r.failures)

    assert c.proofs == ()
    assert {r.ended for r in e.confirmations} == {"passed"}
    assert e.tallies["health"].times == e.tallies["health"].passed == 3
    assert 1 < longest.failures < longest.needed
    assert c.peak.fullness == pytest.approx(max(r.failures / r.needed for r in e.confirmations))
    assert "A failing probe was repeated 3 times and never failed often enough in a row." in explain_text.row(c, e)
    assert f"At most health failed {longest.failures} of the {longest.needed} times" in explain_text.row(c, e)


def test_a_near_miss_is_told_with_its_moment_and_counts() -> None:
    """Errors for two minutes, and the feed's own lag: close, but not proof."""
    player = play(World(requests=errors(0.06, after_s=600, until_s=625))).run(900)
    c = row(explain(player.journal), ERRORS)

    assert not player.watch.decisions
    assert QUIET < c.peak.fullness < 1.0
    assert c.peak.at is not None
    assert T0 + 600 < c.peak.at < T0 + 700
    said = why(explain(player.journal), ERRORS)
    assert said.startswith(f"Reached {100 * c.peak.fullness:.2g}"[:10])
    assert "of the proof at 22:23:" in said


def test_a_row_whose_alarm_cleared_is_told_as_broken_once() -> None:
    """An advice row asks at the very moment of its proof."""
    player = play(World(requests=errors(0.008, after_s=600))).run(3600)
    e = explain(player.journal)
    (decision,) = e.decisions
    (proof,) = row(e, "alert.error_rate.warning").proofs

    assert proof.at == proof.acted_at == decision.at == player.watch.decisions[0].at
    assert "It asked to investigate." in why(e, "alert.error_rate.warning")
    assert "Nearest: error_rate < 1%" in " ".join(explain_text.answer(e)) or "none came nearer" in " ".join(
        explain_text.answer(e)
    )


def test_a_hold_says_why_and_how_it_ended() -> None:
    """Both revisions are sick: asked for two minutes, then undone, as the immediate window does."""
    world = sick(300)
    world.control = down_from(300)
    player = play(world).run(1200)
    e = explain(player.journal)
    (held,) = e.holds

    assert (held.kind, held.ended) == ("shared", "rolled back")
    assert f"{OLD} fails the same probe" in held.reason
    assert held.until is not None
    assert held.until - held.at >= 120
    assert any("It was held from" in line for line in explain_text.answer(e))
    assert failing(e).proofs[0].at <= held.at


def test_a_hold_that_goes_on_is_the_answer() -> None:
    player = play(World(public=down_from(300), own=down_from(1e8))).run(600)
    e = explain(player.journal)

    assert explain_text.question(e) == "Why has it not been rolled back so far?"
    assert any("Held since" in line and "at the edge" in line for line in explain_text.answer(e))
    assert e.holds[-1].ended == ""


def test_a_refusal_is_the_reason() -> None:
    world = sick(300)
    world.write = refused("the target is not ready")
    refusing = play(world).run(400)
    refusing.operate("finish")
    refusing.run(401)
    unsafe = explain(refusing.journal)

    assert explain_text.question(unsafe) == "Why was it not rolled back?"
    assert "the target is not ready" in " ".join(explain_text.answer(unsafe))
    assert "the target is not ready" in unsafe.holds[-1].reason
    assert [m.kind for m in unsafe.course if m.kind in {"decision", "refused"}][:2] == ["decision", "refused"]


def test_a_watch_superseded_by_a_newer_deploy_says_so() -> None:
    player = play().run(600)
    player.traffic({"api-00003": 100}, newer=True)

    assert "A newer revision took over" in explain_text.answer(explain(player.journal))[0]


def test_missing_evidence_is_added_up_by_check_and_reason() -> None:
    player = play(World(requests=None)).run(60)
    for end, evidence in ((65, Missing("source_error")), (125, Missing("source_error")), (185, Counts(0, 50))):
        player.fold(sampled("error_rate", end, evidence))
    player.fold(sampled("error_rate", 245, Missing("stale")))
    e = explain([*player.journal, Ticked(at=T0 + 305)])
    (first, second) = row(e, ERRORS).gaps

    assert (first.reason, first.times, first.seconds, first.goes_on) == ("source_error", 1, 120.0, False)
    assert (second.reason, second.times, second.seconds, second.goes_on) == ("stale", 1, 60.0, True)
    assert "Evidence was missing for 3 min (source error and stale)." in why(e, ERRORS)


def test_the_watchdogs_own_absence_is_told() -> None:
    player = play().run(300)
    player.fold(Resumed(at=T0 + 900, down_since=T0 + 300))
    e = explain(player.journal)

    assert e.away_s == 600.0
    assert "The watchdog itself was away for 10 min" in explain_text.answer(e)[-1]


def test_a_watch_without_traffic_has_nothing_to_explain_yet() -> None:
    player = play(World(requests=None), cutover_at=None, split=Split.of({OLD: 100}))
    e = explain([player.first])

    assert explain_text.answer(e) == (f"{NEW} has no traffic yet, so there is nothing to judge.",)
    assert all(c.bins == () for c in e.criteria)
    json.dumps(view(e), allow_nan=False)


# --- what holds for every journal ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Story:
    """A watch of some minutes in a world that may fail in several ways at once."""

    share: float
    total: float
    begins: int
    probes: tuple[str, str, str]
    """How the public, own and control paths are: `well`, `down` from `begins` on, or a `blip` of 3 s."""
    mode: str
    tagged: bool
    until: int
    person: str

    def play(self) -> Player:
        paths = {
            "well": down_from(1e8),
            "down": down_from(self.begins),
            "blip": down_from(self.begins, until_s=self.begins + 3.0),
        }
        public, own, control = (paths[p] for p in self.probes)
        requests = errors(self.share, after_s=self.begins, total=self.total)
        world = World(requests=requests, public=public, own=own, control=control)
        first = {} if self.tagged else {"tags": ()}
        player = play(world, policy(rollback={"mode": self.mode}), **first).run(self.until)
        if self.person and player.watch.open:
            player.operate(self.person, reason="a person")
            player.run(self.until + 120)
        return player


stories = st.builds(
    Story,
    share=st.sampled_from([0.0, 0.004, 0.012, 0.05, 0.3, 1.0]),
    total=st.sampled_from([0.5, 5.0, 50.0, 500.0]),
    begins=st.integers(0, 400),
    probes=st.sampled_from(
        [
            ("well", "well", "well"),
            ("down", "down", "well"),
            ("down", "well", "well"),
            ("down", "down", "down"),
            ("blip", "blip", "well"),
        ]
    ),
    mode=st.sampled_from(["automatic", "approve"]),
    tagged=st.booleans(),
    until=st.integers(30, 600),
    person=st.sampled_from(["", "hold", "pause", "finish", "rollback"]),
)


@settings(max_examples=30, deadline=None)
@given(stories)
def test_the_moments_and_decisions_are_the_journals_own(story: Story) -> None:
    player = story.play()
    e = explain([*player.journal, Ticked(at=player.now)])  # looks of which nothing came are not in a journal
    w = player.watch

    assert [(d.at, d.action, d.criterion, d.reason) for d in e.decisions] == [
        (d.at, d.action.value, d.criterion, d.reason) for d in w.decisions
    ]
    for c in e.criteria:
        assert c.state == w.verdicts[c.index]
        for proof in c.proofs:
            assert proof.began_at <= proof.at <= (proof.acted_at or proof.at)
            assert proof.acted_at is None or any(d.at == proof.acted_at for d in w.decisions)
        if c.state.alarmed_at is not None:
            assert c.proofs[-1].at == c.state.alarmed_at
    # A decision falls at the moment of its row's proof; only asking the target or a person first puts it off.
    at_once = not story.tagged and not story.person and story.mode == "automatic"
    for d in w.decisions:
        moments = [p.at for c in e.criteria if c.rule.label == d.criterion for p in c.proofs]
        if moments:
            assert d.at in moments if at_once else d.at >= min(moments)
        else:
            assert d.criterion == "operator"


@settings(max_examples=20, deadline=None)
@given(stories)
def test_an_explanation_is_bounded_whole_and_json(story: Story) -> None:
    player = story.play()
    e = explain(player.journal)
    until = e.watch.rollback.written_at if e.watch.rollback else None

    assert len(e.ends) <= MOST
    assert e.bin_s in WIDTHS_S
    assert all(a < b for a, b in pairwise((e.begins_at, *e.ends)))
    assert e.ends[-1] == (until or e.watch.ended_at or e.watch.at)
    for c in e.criteria:
        assert len(c.bins) == len(e.ends)
        assert all(0.0 <= b.fullness <= 1.0 and b.total >= 0.0 for b in c.bins)
        assert c.peak.fullness == pytest.approx(max(b.fullness for b in c.bins))
        assert (c.peak.fullness == 1.0) == bool(c.proofs)
        assert explain_text.row(c, e)
    assert explain_text.answer(e)
    told = view(e)
    assert json.loads(json.dumps(told, allow_nan=False)) == json.loads(json.dumps(told))


@settings(max_examples=10, deadline=None)
@given(stories, st.integers(20, 400))
def test_asking_in_between_changes_nothing_that_was_proven(story: Story, every: int) -> None:
    player = story.play()
    explainer = Explainer()
    for i, event in enumerate(player.journal):
        explainer.fold(event)
        if i % every == 0:
            explainer.explanation()
    once, often = explain(player.journal), explainer.explanation()

    assert [c.proofs for c in often.criteria] == [c.proofs for c in once.criteria]
    assert (often.decisions, often.course, often.holds, often.ends) == (
        once.decisions,
        once.course,
        once.holds,
        once.ends,
    )
    assert [c.counted for c in often.criteria] == [c.counted for c in once.criteria]


# --- bounds -------------------------------------------------------------------------------------------------------


def test_a_whole_day_fills_sixty_bins_of_24_minutes(good: Explanation) -> None:
    e, c = good, row(good, ERRORS)

    assert (e.bin_s, len(e.ends), e.ends[-1]) == (1440.0, 60, T0 + 86_400.0)
    assert sum(b.total for b in c.bins) == c.counted.total
    assert all(b.total == pytest.approx(14_400, rel=0.02) for b in c.bins[1:])


def test_bins_keep_what_was_worst_when_they_are_joined() -> None:
    watch = play(World(requests=None)).watch
    bins = Bins(T0, [0.0], [Verdict.PASS])
    for second in range(5000):
        bins.pass_to(T0 + second, watch)
        bins.now[0] = 0.7 if second == 333 else 0.1
        bins.verdicts[0] = Verdict.FAIL if second == 444 else Verdict.PASS
        bins.touch(0)
    ends, found = bins.ends(T0 + 5000), bins.of_rule(0, watch, T0 + 5000)

    assert len(ends) == len(found) == 42
    assert [i for i, b in enumerate(found) if b.fullness == 0.7] == [333 // 120]
    assert [i for i, b in enumerate(found) if b.verdict is Verdict.FAIL] == [444 // 120]


def test_a_gap_of_hours_is_passed_in_one_step() -> None:
    watch = play(World(requests=None)).watch
    bins = Bins(T0, [0.2], [Verdict.INCONCLUSIVE])
    bins.pass_to(T0 + 86_399.0, watch)

    assert bins.width_s == 1440.0
    assert {b.fullness for b in bins.of_rule(0, watch, T0 + 86_399.0)} == {0.2}


def test_long_lists_keep_both_ends_and_say_how_much_is_left_out() -> None:
    kept: Ends[int] = Ends(10)
    for i in range(100):
        kept.add(i)
    curve = Curve()
    for i in range(10_000):
        curve.add(i, i)

    assert kept.all() == (0, 1, 2, 3, 4, 95, 96, 97, 98, 99)
    assert kept.left_out == 90
    assert CURVE // 2 <= len(curve.points) <= CURVE
    assert curve.points[0] == (0, 0)


def test_a_flapping_probe_keeps_its_longest_runs() -> None:
    """A probe that fails every other time confirms hundreds of times a day."""

    def public(name: str, at: float) -> ProbeAnswer:
        second = int(at - T0)
        return fails(at) if second % 20 < (4 if second // 20 == 17 else 2) else ok(at)

    only = [{"metric": "error_rate", "target": "< 1%", "action": "rollback"}]
    player = play(World(public=public, own=public), policy(success_criteria=only)).run(1500)
    e = explain(player.journal)

    assert len(e.confirmations) <= REPEATED
    assert max(r.failures for r in e.confirmations) == 4
    assert e.tallies["health"].times > REPEATED
    assert e.confirmations == tuple(sorted(e.confirmations, key=lambda r: r.at))


def test_a_day_is_explained_in_little_memory() -> None:
    """Events are not kept: what is in memory is the watch, sixty bins and some short lists."""
    explainer = Explainer()
    explainer.fold(play(World(requests=None)).first)
    tracemalloc.start()
    try:
        for end in range(30, 86_400, 30):
            explainer.fold(sampled("error_rate", end, Counts(end % 90 == 0, 300.0), width=30.0, seen_s=end + 2.0))
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < 1_500_000
    assert most < 2_000_000


# --- journals that are not whole ----------------------------------------------------------------------------------


def test_a_journal_has_to_begin_with_an_opening_and_hold_one_watch(outage: Player) -> None:
    with pytest.raises(JournalError, match="does not begin with watch_opened"):
        explain(outage.journal[1:])
    with pytest.raises(JournalError, match="opens a second watch"):
        explain([outage.first, outage.first])
    with pytest.raises(JournalError, match="holds no watch"):
        explain([])


def test_an_event_that_cannot_be_folded_is_left_out_and_told(outage: Player) -> None:
    """As the live watch does: a fault of ours costs one piece of evidence, not the explanation."""
    broken = Sampled(at=T0 + 300.0, samples=(None,))  # type: ignore[arg-type]
    before = [e for e in outage.journal if e.at < T0 + 300.0]
    after = [e for e in outage.journal if e.at >= T0 + 300.0]
    e = explain([*before, broken, *after])

    assert e.not_folded == 1
    assert [d.at for d in e.decisions] == [d.at for d in outage.watch.decisions]
    assert "could not judge it: 1 event." in explain_text.answer(e)[-1]


def test_what_follows_the_end_changes_nothing(outage: Player) -> None:
    late = sampled("error_rate", 80_000, Counts(50, 50))

    assert view(explain([*outage.journal, late])) == view(explain(outage.journal))


def test_an_opening_alone_is_explained() -> None:
    first = play().first
    assert isinstance(first, Opened)
    e = explain([first])

    assert e.ends == (T0,)
    assert explain_text.question(e) == "Why has it not been rolled back so far?"
