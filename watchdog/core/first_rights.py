"""The rights that a watchdog needs on a service, as commands: least privilege, what is needed now before what is needed
to act. deploy/README.md explains each; deploy/terraform/ grants the same."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from shlex import quote
from typing import Final

from watchdog.core.first_policy import Described

ACCOUNT: Final = "deploy-watchdog"
OBSERVE: Final = ("run.services.get", "run.services.list", "run.revisions.get", "run.revisions.list")
ROLLBACK: Final = ("run.services.get", "run.services.update")
_COMPUTE: Final = re.compile(r"\d+-compute@developer\.gserviceaccount\.com")
_REPOSITORY: Final = re.compile(r"(?P<place>[a-z0-9-]+)-docker\.pkg\.dev/(?P<project>[^/]+)/(?P<name>[^/]+)/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Commands with one purpose. `title` says when they are needed."""

    title: str
    commands: tuple[str, ...]


def default_account(project: str) -> str:
    """The service account that deploy/README.md makes for a watchdog."""
    domain, _, name = project.rpartition(":")
    return f"{ACCOUNT}@{name}.{domain + '.' if domain else ''}iam.gserviceaccount.com"


def blocks(described: Described, account: str, *, needs_invoker: bool) -> list[Block]:
    """Everything in the order in which it is needed. `needs_invoker`: callers have to prove who they are."""
    found = [
        Block(title="The account, once a project", commands=tuple(_account(described, account))),
        Block(title="To see (all that observe mode needs)", commands=tuple(_observe(described, account))),
    ]
    if needs_invoker:
        found.append(
            Block(title="To probe: the service is private", commands=(_on_service(described, account, _INVOKER),))
        )
    found.append(
        Block(title="To roll back (only for mode approve or automatic)", commands=tuple(_write(described, account)))
    )
    return found


_INVOKER: Final = "roles/run.invoker"


def _account(described: Described, account: str) -> Iterator[str]:
    project = quote(described.key.project)
    name = account.partition("@")[0]
    yield f"gcloud iam service-accounts create {quote(name)} --project {project} --display-name 'Deploy watchdog'"
    for role, title, permissions in (
        ("deployWatchdogObserve", "Deploy watchdog: observe", OBSERVE),
        ("deployWatchdogRollback", "Deploy watchdog: roll back", ROLLBACK),
    ):
        yield (
            f"gcloud iam roles create {role} --project {project} --title '{title}' "
            f"--permissions {','.join(permissions)}"
        )


def _observe(described: Described, account: str) -> Iterator[str]:
    project = described.key.project
    for role in (f"projects/{project}/roles/deployWatchdogObserve", "roles/monitoring.viewer", "roles/logging.viewer"):
        yield (
            f"gcloud projects add-iam-policy-binding {quote(project)} --condition None "
            f"--member {_member(account)} --role {quote(role)}"
        )


def _write(described: Described, account: str) -> Iterator[str]:
    project = described.key.project
    yield _on_service(described, account, f"projects/{project}/roles/deployWatchdogRollback")
    runtime = described.account or "THE_SERVICES_OWN_ACCOUNT"
    if _COMPUTE.fullmatch(runtime):
        yield (
            f"# STOP: the service runs as {runtime}, which usually may edit the whole project; so could "
            "whoever may act as it. Give the service an account of its own first."
        )
    yield (
        f"gcloud iam service-accounts add-iam-policy-binding {quote(runtime)} --project {quote(project)} "
        f"--member {_member(account)} --role roles/iam.serviceAccountUser"
    )
    found = _REPOSITORY.match(described.image)
    place, owner, name = (
        (found["place"], found["project"], found["name"])
        if found
        else ("LOCATION", project, "THE_REPOSITORY_OF_ITS_IMAGES")
    )
    yield (
        f"gcloud artifacts repositories add-iam-policy-binding {quote(name)} --project {quote(owner)} "
        f"--location {quote(place)} --member {_member(account)} --role roles/artifactregistry.reader"
    )


def _on_service(described: Described, account: str, role: str) -> str:
    key = described.key
    return (
        f"gcloud run services add-iam-policy-binding {quote(key.name)} --project {quote(key.project)} "
        f"--region {quote(key.region)} --member {_member(account)} --role {quote(role)}"
    )


def _member(account: str) -> str:
    return f"serviceAccount:{quote(account)}"
