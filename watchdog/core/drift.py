"""Resource trends of the last window: a gauge that creeps up on its limit is said before it breaks."""

from math import isfinite

from watchdog.core import messages
from watchdog.core.decide import Step
from watchdog.core.model import Action, Sample, Window
from watchdog.core.rules import Rule
from watchdog.core.state import Watch
from watchdog.core.text import reading, span
from watchdog.core.trend import BUCKET_S, Growth, Trend, growth


def follow(step: Step, sample: Sample, x: float) -> None:
    """Fold one reading of a gauge into its trend; speak up, once a gauge and watch, when it will reach a limit soon."""
    watch = step.watch
    limits = watch.rules.ceilings.get(sample.check)
    if not limits or watch.rollback is not None or not isfinite(x):
        return
    config = watch.window_config(sample.start)
    if config is None or config.window is not Window.EXTENDED:
        return
    before = watch.trends.get(sample.check, Trend())
    after = before.add(sample.end, x)
    watch.trends = {**watch.trends, sample.check: after}
    if sample.check in watch.trends_said or len(after.buckets) == len(before.buckets):
        return
    for rule in limits:
        found = growth(after, rule.threshold or 0.0)
        if found is not None:
            watch.trends_said |= {sample.check}
            _say(step, rule, found, hours=(len(after.buckets) - 1) * BUCKET_S / 3600.0)
            return


def _say(step: Step, rule: Rule, found: Growth, *, hours: float) -> None:
    watch = step.watch
    metric = rule.row.metric
    sentence = (
        f"{metric} grows {reading(metric, found.per_hour)} an hour (over {hours:.1f} h, "
        f"{_percent(found.confidence)} sure), is at {reading(metric, found.level)} and reaches "
        f"{reading(metric, rule.threshold or 0.0)} in {span(found.reaches_in_s)}"
    )
    criterion = f"{metric} trend"
    step.decide(Action.INVESTIGATE, criterion, f"Investigate {messages.place(watch)}: {sentence}.")
    step.notify(
        messages.body(
            watch,
            "warning",
            severity="warning",
            title=f"Leak? {messages.place(watch)}: {metric} grows",
            happened=sentence + ".",
            did="Nothing: a trend never rolls back.",
            over="No.",
            todo="Look for a leak (memory, connections, files) before the limit is reached.",
            evidence=[(criterion, sentence)],
        )
    )


def _percent(confidence: float) -> str:
    return f"{min(99.99, 100.0 * confidence):.2f}".rstrip("0").rstrip(".") + " %"


def lines(watch: Watch) -> list[tuple[str, str]]:
    """Every gauge's trend as it stands, for the report: metric and what it does."""
    out = []
    for check, trend in sorted(watch.trends.items()):
        done = trend.buckets[:-1]
        if done:
            change = done[-1].mean - done[0].mean
            sign = "+" if change >= 0 else "−"
            over = (done[-1].start - done[0].start) / 3600.0
            moved = f"{sign}{reading(check, abs(change))} in {over:.1f} h"
            out.append((check, f"{moved}, now {reading(check, done[-1].mean)}"))
    return out
