"""A Cloud Run service that is one resource in several regions, and why traffic of such a one is not moved by itself.

Cloud Run replicates it from a global endpoint and says so by the annotation `run.googleapis.com/regions`. A write to
one of its regions has nothing to promise about the others, so a person confirms each rollback.
"""

from watchdog.core.model import ServiceState
from watchdog.core.policy import Policy
from watchdog.core.text import listing


def why_not_automatic(policy: Policy, state: ServiceState) -> str | None:
    """One sentence why mode `automatic` acts as `approve` for this service; None where it does what it says."""
    if policy.rollback.mode != "automatic" or not state.spans:
        return None
    return (
        f"Mode automatic is refused and acts as approve: {state.name} is one service in several regions "
        f"(run.googleapis.com/regions: {listing(state.spans)}), and what a traffic write in {state.region} does to the "
        "others is not known, so a person confirms each rollback."
    )


def bounded(policy: Policy, state: ServiceState) -> Policy:
    """The policy as it acts for this service."""
    if why_not_automatic(policy, state) is None:
        return policy
    return policy.model_copy(update={"rollback": policy.rollback.model_copy(update={"mode": "approve"})})
