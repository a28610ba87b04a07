"""How `watchdog check` shows what a policy allows beyond traffic."""

from watchdog.core.conditions import format_duration, format_share
from watchdog.core.policy import Policy


def cells(policy: Policy) -> list[tuple[str, ...]]:
    """A line for each action that the policy names."""
    found: list[tuple[str, ...]] = []
    if (s := policy.scale_up) is not None:
        often = f"{s.per_day} times a day, {format_share(s.step)} more at a time"
        found.append(("scale up", f"to {s.max_instances} instances at most, {often}", _measured(s.measure_after_s)))
    if policy.redeploy_image:
        found.append(("redeploy", "the target's image, where no ready revision of it is left (mode automatic)"))
    if (d := policy.database_rollback) is not None:
        if d.job:
            run = "runs by itself" if d.run == "automatic" else "runs when a person lets it"
            found.append(("database", f"job {d.job} {run}", f"within {format_duration(d.within_s)}"))
        found += [("database", f"by hand: {command}") for command in d.commands]
    return found


def _measured(after_s: float) -> str:
    return f"measured again after {format_duration(after_s)}, put back where it did not help"
