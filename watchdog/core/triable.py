"""May a rollback begin with a trial? Apart from `trial`, because `decide` asks it and `trial` builds on `decide`."""

from watchdog.core.acts import Trigger
from watchdog.core.catalogue import Family
from watchdog.core.state import Watch

PROMPT_S = 60.0
"""A feed that answers within this can judge a trial."""
LEAST_MINE = 2
"""Percent of the traffic below which the watched revision's share cannot be divided."""


def wanted(watch: Watch, trigger: Trigger) -> bool:
    """Whether the rollback of this trigger begins with a trial: an alarm of user traffic, from a feed that is prompt
    enough to judge both arms. A target that serves as much beside the watched revision already needs none."""
    policy = watch.rules.policy.rollback
    mine = watch.split.percent_of(watch.revision)
    if policy.trial is None or policy.trial >= 1.0 or policy.mode == "observe" or trigger.rule is None:
        return False
    if mine < LEAST_MINE or feed(watch, trigger.rule) is None:
        return False
    return sum(watch.split.percent_of(r) for r in watch.target.split.revisions) < mine * policy.trial


def feed(watch: Watch, rule: int) -> tuple[str, str] | None:
    """Source and check of the prompt feed that raised the rule's alarm, or that can judge the rule where none has."""
    found, state = watch.rules.rules[rule], watch.verdicts[rule]
    if found.family is Family.PROBES or not found.is_meter:
        return None
    prompt = [k for k, lag in watch.rules.lags.items() if k[1] in found.checks and lag.lag_s + lag.period_s <= PROMPT_S]
    if state.source:
        prompt = [k for k in prompt if k == (state.source, state.check)]
    return prompt[0] if prompt else None
