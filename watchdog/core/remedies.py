"""What a person types where the watchdog does not act by itself: one exact command for each kind of resource."""

from watchdog.core.advice import quote
from watchdog.core.state import Watch


def more_instances(watch: Watch, instances: int, *, revision_level: bool = False) -> str:
    """The command that sets the maximum: of the service, or of the revision, which makes a new one."""
    flag = "--max-instances" if revision_level else "--max"
    return f"gcloud run services update {_place(watch)} {flag} {instances}"


def described(watch: Watch) -> str:
    """The command that shows what the instances have."""
    shown = "yaml(spec.template.spec.containers[].resources,spec.template.metadata.annotations,metadata.annotations)"
    return f"gcloud run services describe {_place(watch)} --format='{shown}'"


def _place(watch: Watch) -> str:
    service = watch.deploy.service
    return f"{quote(service.name)} --project {quote(service.project)} --region {quote(service.region)}"


def remedy(watch: Watch, metric: str) -> tuple[str, str]:
    """For a row that no write of ours can mend: the command, and what to know of it; empty where none is known."""
    policy = watch.rules.policy
    config = policy.metrics.get(metric)
    project, region = quote(watch.deploy.service.project), quote(watch.deploy.service.region)
    name = quote((config.instance or "").rpartition(":")[2]) if config is not None else ""
    size = policy.scale_up.next_size.get(name, "") if policy.scale_up is not None else ""
    match config.source if config is not None else "":
        case "cloud_run":
            about = "shows what its instances have; `gcloud run services update` gives more by --max, --cpu or --memory"
            return described(watch), about
        case "cloud_sql" if metric == "database_disk":
            command = f"gcloud sql instances patch {name} --project {project} --storage-size {size or 'GB'}"
            return command, "storage grows while it runs, and never shrinks"
        case "cloud_sql":
            has = f"gcloud sql instances describe {name} --project {project} --format='value(settings.tier)'"
            command = f"gcloud sql instances patch {name} --project {project} --tier {size or 'NEXT_TIER'}"
            return command, f"this restarts the database; what it has now: {has}"
        case "memorystore":
            place = f"{name} --project {project} --region {region}"
            has = f"gcloud redis instances describe {place} --format='value(memorySizeGb)'"
            command = f"gcloud redis instances update {place} --size {size or 'GB'}"
            return command, f"a basic instance loses its data by it; what it has now, in GB: {has}"
    if metric == "pool_utilization":
        command = f"gcloud run services update {_place(watch)} --update-env-vars DB_POOL_SIZE=SIZE"
        return command, "that is a deploy, with whatever your pool's variable is called"
    return "", ""
