"""A fingerprint is the same for the same thing to run, and differs for anything that could make it behave otherwise."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from watchdog.actions.fingerprint import fingerprint

REVISION: dict[str, Any] = {
    "metadata": {
        "name": "api-00002-abc",
        "labels": {"client.knative.dev/nonce": "abc"},
        "annotations": {"run.googleapis.com/secrets": "alias-1:projects/7/secrets/db-password"},
    },
    "spec": {
        "containerConcurrency": 80,
        "containers": [
            {
                "image": "repo/api:1.2",
                "command": ["/api"],
                "args": ["--port", "8080"],
                "ports": [{"containerPort": 8080}],
                "env": [
                    {"name": "MODE", "value": "production"},
                    {"name": "DEBUG", "value": ""},
                    {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "alias-1", "key": "7"}}},
                ],
                "resources": {"limits": {"cpu": "1", "memory": "512Mi"}},
                "volumeMounts": [{"name": "keys", "mountPath": "/keys"}],
            },
            {"name": "proxy", "image": "repo/proxy:3"},
        ],
        "volumes": [{"name": "keys", "secret": {"secretName": "tls", "items": [{"key": "3", "path": "key.pem"}]}}],
    },
    "status": {
        "imageDigest": "repo/api@sha256:aaa",
        "containerStatuses": [{"name": "proxy", "imageDigest": "repo/proxy@sha256:bbb"}],
    },
}


def shuffled(value: Any) -> Any:
    """The same document with its keys in another order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    revision = copy.deepcopy(REVISION)
    change(revision)
    return fingerprint(revision)


def container(revision: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = revision["spec"]["containers"][0]
    return found


def realias(revision: dict[str, Any]) -> None:
    """What gcloud does when it mounts the same secret again: another alias, the same secret."""
    revision["metadata"]["annotations"]["run.googleapis.com/secrets"] = "alias-2:projects/7/secrets/db-password"
    container(revision)["env"][2]["valueFrom"]["secretKeyRef"]["name"] = "alias-2"


SAME: dict[str, Callable[[dict[str, Any]], object]] = {
    "name": lambda r: r["metadata"].update(name="api-00009-xyz"),
    "nonce": lambda r: r["metadata"]["labels"].update({"client.knative.dev/nonce": "xyz"}),
    "order of variables": lambda r: container(r)["env"].reverse(),
    "order of containers": lambda r: r["spec"]["containers"].reverse(),
    "tag of the same digest": lambda r: container(r).update(image="repo/api:stable"),
    "same digest elsewhere": lambda r: r["status"].update(imageDigest="mirror/api@sha256:aaa"),
    "alias of the same secret": realias,
    "conditions": lambda r: r["status"].update(conditions=[{"type": "Ready", "status": "False"}]),
}

DIFFERENT: dict[str, Callable[[dict[str, Any]], object]] = {
    "digest": lambda r: r["status"].update(imageDigest="repo/api@sha256:ccc"),
    "sidecar digest": lambda r: r["status"]["containerStatuses"][0].update(imageDigest="repo/proxy@sha256:ccc"),
    "variable's value": lambda r: container(r)["env"][0].update(value="staging"),
    "variable's name": lambda r: container(r)["env"][0].update(name="MODUS"),
    "variable gone": lambda r: container(r)["env"].pop(1),
    "secret version": lambda r: container(r)["env"][2]["valueFrom"]["secretKeyRef"].update(key="8"),
    "secret": lambda r: container(r)["env"][2]["valueFrom"]["secretKeyRef"].update(name="other"),
    "mounted secret version": lambda r: r["spec"]["volumes"][0]["secret"]["items"][0].update(key="4"),
    "mount path": lambda r: container(r)["volumeMounts"][0].update(mountPath="/other"),
    "memory": lambda r: container(r)["resources"]["limits"].update(memory="1Gi"),
    "command": lambda r: container(r).update(command=["/other"]),
    "order of arguments": lambda r: container(r)["args"].reverse(),
    "no image known": lambda r: (r["status"].clear(), container(r).update(image="repo/api:1.3")),
}


def test_it_is_a_sha256_that_does_not_depend_on_the_order_of_keys() -> None:
    assert len(fingerprint(REVISION)) == 64
    assert fingerprint(shuffled_keys_only()) == fingerprint(REVISION)


def shuffled_keys_only() -> dict[str, Any]:
    found: dict[str, Any] = shuffled(REVISION)
    return found


@pytest.mark.parametrize("change", SAME)
def test_the_same_thing_deployed_again_is_recognised(change: str) -> None:
    assert changed(SAME[change]) == fingerprint(REVISION)


def test_every_difference_shows() -> None:
    found = {name: changed(change) for name, change in DIFFERENT.items()}

    assert len({fingerprint(REVISION), *found.values()}) == len(found) + 1


@pytest.mark.parametrize(
    "junk", [{}, {"spec": None}, {"spec": {"containers": [None, 3], "volumes": "x"}, "status": []}]
)
def test_an_incomplete_revision_has_one_too(junk: dict[str, Any]) -> None:
    assert len(fingerprint(junk)) == 64
