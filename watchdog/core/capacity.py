"""Out of capacity, or down? Users and probes that no instance takes look the same in both.

Going back does not help against a peak of traffic: the old revision has the same ceiling and starts cold. But a release
whose instances crash when they start is turned away by the same front end, so a peak has to be *proven*, by the request
log: far more is asked for than before the deploy, users are turned away, and all the while the instances that run serve
at least as many users well as before the deploy, and about as many as ever in this watch. A release that serves fewer
is guilty, however much is asked of it. The hold ends as soon as newer evidence says otherwise.
"""

from dataclasses import replace
from math import sqrt
from typing import Final

from watchdog.core import decide, evaluate, messages
from watchdog.core.acts import Trigger
from watchdog.core.decide import Step
from watchdog.core.load import Rates
from watchdog.core.model import Action, State
from watchdog.core.standing import Confirmation
from watchdog.core.state import Watch
from watchdog.core.text import share, span

KIND: Final = "capacity"
"""Of the hold."""
PEAK: Final = 1.5
"""So many times the traffic from before the deploy is a peak."""
BEST: Final = 0.8
"""At full load a sound revision serves at least this part of the most that it ever served."""
SOUND: Final = 0.05
"""Of what instances answer, at most so much may be bad."""
LEAST: Final = 5.0
"""Fewer requests say nothing."""
LEAST_SHARE: Final = 0.25
"""A smaller share of users turned away does not explain five probes in a row."""
FRESH_S: Final = 30.0
"""Older evidence does not say how things are now."""
SILENT_S: Final = 60.0
"""A hold does not outlive the log that speaks for it by more than this; a tail is taken up again sooner."""
SLOT_S: Final = 5.0
"""Of the log's newest slots, one has to lie after the first failure."""
WAIT_S: Final = 25.0
"""How long the log may take to tell of the seconds in which probes began to be turned away: 15 to 20 s."""


def explains(step: Step, trigger: Trigger, c: Confirmation) -> bool:
    """Whether the probe fails for want of capacity, or may for a few seconds yet: then nothing is rolled back."""
    watch = step.watch
    if _held(watch):
        return not again(step)
    if watch.hold is not None and watch.hold.kind in decide.FIRM:
        return False
    if c.unserved < c.failures:
        return False
    rates = _fresh(watch)
    if rates is None:
        return False
    if _is_peak(watch, rates) and rates.refused >= LEAST_SHARE * rates.asked:
        _hold(step, trigger, rates)
        return True
    # "Every instance is busy" of a release that served well until now: the log is seconds behind, so ask it first.
    untold = rates.end < c.failed_at + SLOT_S and watch.at < c.failed_at + WAIT_S
    waits = untold and c.turned_away == c.failures and _serves_well(watch, rates)
    if waits:
        _say_once(step, c.probe)
    return waits


def _say_once(step: Step, probe: str) -> None:
    text = f"Probe {probe} is told that every instance is busy: the request log is asked first whether this is a peak."
    if all(entry.text != text for entry in step.watch.timeline[-5:]):
        step.note("capacity", text)


def explains_share(step: Step, trigger: Trigger) -> bool:
    """Whether the share of probes that raised the alarm is what users see, too, who are turned away in a peak."""
    rates = _fresh(step.watch)
    if rates is None or not _is_peak(step.watch, rates) or rates.refused < (trigger.bad_share or 1.0) / 2 * rates.asked:
        return False
    _hold(step, trigger, rates)
    return True


def lasts(watch: Watch) -> bool:
    """Whether the hold for want of capacity outlives a probe's pass: in a peak some requests always find a place."""
    return _held(watch) and _fresh(watch) is not None


def again(step: Step) -> bool:
    """End the hold when evidence from after its beginning says that the peak is over, or that it is the release after
    all; whether it has ended."""
    watch = step.watch
    held = watch.hold
    if held is None or held.kind != KIND:
        return False
    rates = watch.load.now(since=held.since)
    if watch.at - max(held.since, watch.load.newest) > SILENT_S:
        if not _fails(watch, held.trigger.probe):
            return _over(step)
        told = f"the request log has said nothing for {span(SILENT_S)}, so nothing proves a peak any more"
        return _let_go(step, told)
    if rates is None:
        return False
    sound = rates.bad <= SOUND * (rates.well + rates.bad)
    if sound and rates.refusing:  # at full load: does it still serve what it can?
        wanted = max(watch.expected_per_s or 0.0, BEST * watch.load.best)
        if _steady(watch, rates) and _at_least(rates.full * SLOT_S, wanted * SLOT_S):
            return False
    elif sound and not _fails(watch, held.trigger.probe):
        return _over(step)
    return _let_go(step, _told(watch, rates))


def taken_up(step: Step) -> None:
    """After an absence of ours the log has to be given its time: it was we who did not hear it."""
    held = step.watch.hold
    if held is not None and held.kind == KIND:
        step.watch.hold = replace(held, since=step.watch.at)


def _over(step: Step) -> bool:
    """The peak has passed, and with it what failed. Returns True."""
    evaluate.excuse_probes(step.watch)
    decide.release_hold(step, "the peak is over, and probes pass again")
    return True


def _let_go(step: Step, why: str) -> bool:
    """It is not the peak, or not surely: from now on what fails is acted on. Returns True."""
    watch = step.watch
    step.note("released", f"No longer held for want of capacity: {why}.")
    watch.hold, watch.state = None, State.CONFIRMING if watch.confirmations else State.WATCHING
    return True


def _fails(watch: Watch, probe: str | None) -> bool:
    """Whether the probe is still failing; any, where none is named."""
    return bool(watch.confirmations) if probe is None else probe in watch.confirmations


def _held(watch: Watch) -> bool:
    return watch.hold is not None and watch.hold.kind == KIND


def _fresh(watch: Watch) -> Rates | None:
    rates = watch.load.now()
    return rates if rates is not None and watch.at - rates.end <= FRESH_S else None


def _is_peak(watch: Watch, rates: Rates) -> bool:
    before = watch.expected_per_s
    return (
        before is not None
        and rates.asked >= PEAK * before * rates.took_s
        and rates.refused >= LEAST
        and _at_least(rates.well, before * rates.took_s)
        and _serves_well(watch, rates)
        and _steady(watch, rates)
    )


def _steady(watch: Watch, rates: Rates) -> bool:
    """Whether in the last minute's slots at full load as many were served as before the deploy. The best seconds are
    not all of them: instances that serve, crash and start again serve fewer. And a minute leaves less to chance."""
    return rates.full_s <= SLOT_S or _at_least(rates.full_well, (watch.expected_per_s or 0.0) * rates.full_s)


def _serves_well(watch: Watch, rates: Rates) -> bool:
    sound = rates.well >= LEAST and rates.bad <= SOUND * (rates.well + rates.bad)
    return sound and _at_least(rates.well, BEST * watch.load.best * rates.took_s)


def _at_least(n: float, wanted: float) -> bool:
    """Whether a count is not below what was wanted by more than chance: two standard deviations."""
    return n + 2.0 * sqrt(n) >= wanted


def _told(watch: Watch, rates: Rates) -> str:
    asked, well = (f"{n / rates.took_s:.3g}" for n in (rates.asked, rates.well))
    turned = share(rates.refused / rates.asked) if rates.asked else "none"
    return (
        f"{asked} requests/s are asked for ({watch.expected_per_s or 0.0:.3g}/s before the deploy), "
        f"{well}/s are answered well, {turned} are turned away because no instance is free"
    )


def _hold(step: Step, trigger: Trigger, rates: Rates) -> None:
    watch = step.watch
    told, service = _told(watch, rates), watch.deploy.service
    watch.hold = None  # one that is not firm rested on something else that fails, and that passes again
    step.decide(Action.SCALE_UP, trigger.criterion, f"Scale up {messages.place(watch)}: {trigger.sentence}; {told}.")
    decide.hold(
        step,
        trigger,
        kind=KIND,
        reason=f"it is a peak of traffic: {told}; what runs is sound, so a rollback would not help",
        todo=(
            f"Raise the ceiling: `gcloud run services update {service.name} --project {service.project} "
            f"--region {service.region} --max-instances N` (mind the database's connections), or take load away. "
            f"`watchdog rollback {watch.id} --reason …` overrides this."
        ),
    )
