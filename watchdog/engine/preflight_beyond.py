"""Could what a policy allows beyond traffic be done right now? Asked without doing any of it."""

from collections.abc import Sequence
from dataclasses import replace

from watchdog.core.model import RevisionState, ServiceKey, ServiceState
from watchdog.core.policy import Policy
from watchdog.core.scaling_plan import DEFAULT_MAX
from watchdog.engine.findings import Finding
from watchdog.engine.tools import Tools
from watchdog.errors import WatchdogError


async def beyond(
    tools: Tools, policy: Policy, state: ServiceState, revisions: Sequence[RevisionState], watched: str
) -> list[Finding]:
    """A finding for each of `scale_up` and `database_rollback.job` that the policy has. None of them is a problem for a
    rollback of traffic."""
    key = ServiceKey(project=state.project, region=state.region, name=state.name)
    return [*_scaling(policy, state, revisions, watched), *await _job(tools, policy, key)]


def _scaling(policy: Policy, state: ServiceState, revisions: Sequence[RevisionState], watched: str) -> list[Finding]:
    if policy.scale_up is None:
        return []
    cap, most = policy.scale_up.max_instances, state.max_instances
    own = next((r.max_instances for r in revisions if r.name == watched), 0) or DEFAULT_MAX
    command = f"gcloud run services update {state.name} --project {state.project} --region {state.region} --max N"
    if not most or own <= most:
        detail = f"what binds is the maximum of {watched} itself ({own}): scaling up would page with the command"
        return [
            Finding(check="scale_up", mark="unknown", detail=detail, todo=f"Below that, set the service's: {command}")
        ]
    if most >= cap:
        detail = f"the service may have {most} instances, and the policy's cap is {cap}: there is no room"
        return [Finding(check="scale_up", mark="unknown", detail=detail, todo="Raise scale_up.max_instances.")]
    return [Finding(check="scale_up", mark="ok", detail=f"{most} instances at most now, up to {cap} by the policy")]


async def _job(tools: Tools, policy: Policy, key: ServiceKey) -> list[Finding]:
    config = policy.database_rollback
    if config is None or not config.job or tools.jobs is None:
        return []
    check, place = f"job {config.job}", replace(key, region=config.region or key.region)
    try:
        known = await tools.jobs.executions(place, config.job)
    except WatchdogError as error:
        todo = "Grant run.executions.list and run.jobs.run on the job (deploy/README.md), or correct its name."
        return [Finding(check=check, mark="unknown", detail=str(error), todo=todo)]
    ran = f"it ran {len(known)} times lately" if known else "it never ran"
    todo = "Run it once against a copy of the database, with the watchdog's account."
    return [Finding(check=check, mark="ok", detail=f"there ({ran}); whether we may run it is not tested", todo=todo)]
