"""State as the control API shows it: plainer than the Admin API, and with what only the emulator knows."""

from dataclasses import asdict

from watchdog.emulator.world import Json, Revision, Service, ServiceKey, TrafficChange, Write


def describe_service(service: Service) -> Json:
    """One service, without its revisions."""
    return {
        **_describe_key(service.key),
        "name": service.key.name,
        "url": service.url,
        "generation": service.generation,
        "observed_generation": service.observed_generation,
        "split": service.split(),
        "tags": service.tags(),
        "annotations": service.annotations,
        "conditions": {kind: condition.status for kind, condition in service.conditions.items()},
        "latest_created": service.latest_created,
        "latest_ready": service.latest_ready,
    }


def describe_revision(revision: Revision) -> Json:
    """One revision with its fault script."""
    return {
        "name": revision.name,
        "ready": revision.ready.status,
        "image": revision.template["spec"]["containers"][0]["image"],
        "version": revision.version,
        "first_traffic_at": revision.faults.first_traffic_at,
        "faults": [fault.model_dump(exclude_defaults=True) for fault in revision.faults.faults],
    }


def describe_change(change: TrafficChange) -> Json:
    """One entry of the traffic history."""
    return {
        **_describe_key(change.key),
        "at": change.at,
        "generation": change.generation,
        "split": change.split,
        "tags": change.tags,
    }


def describe_write(write: Write) -> Json:
    """One line of the Admin API's write log."""
    fields = asdict(write)
    del fields["key"]
    return {**_describe_key(write.key), **fields}


def _describe_key(key: ServiceKey) -> Json:
    return {"project": key.project, "region": key.region, "service": key.name}
