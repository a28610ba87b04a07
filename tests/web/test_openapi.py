"""The description of the API is true, whole and valid."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.web import views
from tests.web.world import Site
from watchdog.web.bodies import DeployNotice
from watchdog.web.openapi import document

PAGES = {"/", "/watches/{id}", "/assets/{name}"}


def walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value)


async def test_every_route_is_described_and_every_description_is_routed(site: Site) -> None:
    routed = {
        (route.method.lower(), route.resource.canonical)
        for route in site.app.router.routes()
        if route.resource is not None and route.method != "HEAD" and route.resource.canonical not in PAGES
    }

    described = {
        (method, path) for path, methods in (await site.get("/api/openapi.json"))["paths"].items() for method in methods
    }

    assert described == routed


def test_it_is_openapi_3_1_in_its_references_names_and_parameters() -> None:
    api = document()
    operations = [operation for methods in api["paths"].values() for operation in methods.values()]

    assert api["openapi"] == "3.1.0"
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    for node in walk(api):
        if "$ref" in node:
            place, _, name = node["$ref"].rpartition("/")
            assert place == "#/components/schemas"
            assert name in api["components"]["schemas"]
    for path, methods in api["paths"].items():
        for operation in methods.values():
            declared = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert declared == set(re.findall(r"\{(\w+)\}", path))
            assert operation["responses"]["default"]["content"].keys() == {"application/problem+json"}


def test_every_unsafe_operation_asks_for_the_token_and_no_other_does() -> None:
    for methods in document()["paths"].values():
        for method, operation in methods.items():
            assert ("security" in operation) == (method == "post")


def test_request_bodies_refuse_unknown_fields_in_the_description_too() -> None:
    schemas = document()["components"]["schemas"]

    for name in ("DeployNotice", "Signal", "RollbackOrder", "Order", "Extension", "SignOff", "ReleaseOrder"):
        assert schemas[name]["additionalProperties"] is False
    assert set(schemas["DeployNotice"]["properties"]) == set(DeployNotice.model_fields)
    assert "for" in schemas["Extension"]["required"]


@pytest.mark.parametrize("name", ["WatchView", "WatchSummary"])
def test_what_is_described_as_always_there_is_there(name: str) -> None:
    assert set(document()["components"]["schemas"][name]["required"]) <= views.watching().keys()
