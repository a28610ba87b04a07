"""The first policy of a service: always valid, always in observe mode, and honest about what is not known."""

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from watchdog.actions.described import described
from watchdog.core.first_policy import Described, FoundProbe, kept, text
from watchdog.core.first_rights import blocks, default_account
from watchdog.core.model import ServiceKey
from watchdog.policy_file import parse_policy

ROOT = Path(__file__).parents[2]
KEY = ServiceKey(project="barq-fleet", region="us-central1", name="barq-fleet-api")
NAMES = st.from_regex(r"[a-z](?:[a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
PATHS = st.from_regex(r"/[!-\"$-~]{0,30}", fullmatch=True)
WORDS = st.text(max_size=40)
PROBES = st.lists(
    st.builds(
        FoundProbe,
        name=st.sampled_from(["ready", "live", "startup"]),
        path=PATHS,
        origin=WORDS,
        answer=st.sampled_from(["ok", "failed", "private", "unasked"]),
        said=WORDS,
    ),
    max_size=3,
    unique_by=lambda probe: probe.name,
)


@given(
    key=st.builds(ServiceKey, project=NAMES, region=NAMES, name=NAMES),
    probes=PROBES,
    ingress=st.sampled_from(["all", "internal", "internal-and-cloud-load-balancing"]),
    databases=st.lists(st.tuples(NAMES, NAMES, NAMES).map(":".join), max_size=3),
    url=st.sampled_from(["", "https://api-xyz-uc.a.run.app"]),
    iap=st.booleans(),
    asked=st.booleans(),
)
def test_whatever_cloud_run_tells_the_policy_is_valid_and_only_observes(
    key: ServiceKey, probes: list[FoundProbe], ingress: str, databases: list[str], url: str, *, iap: bool, asked: bool
) -> None:
    told = Described(
        key=key, asked=asked, url=url, ingress=ingress, iap=iap, databases=tuple(databases), probes=tuple(probes)
    )
    loaded = parse_policy(text(told, probes), Path("p.yaml"))
    assert loaded.warnings == ()
    assert loaded.policy.rollback.mode == "observe"
    assert loaded.policy.service.keys == (key,)
    assert {p.path for p in loaded.policy.probes.values()} == ({p.path for p in probes} or {"/health"})
    assert all(p.auth == "id_token" for p in loaded.policy.probes.values()) == (
        iap or any(p.answer == "private" for p in probes)
    )


def test_a_service_as_the_api_shows_it() -> None:
    container = {
        "image": "us-docker.pkg.dev/barq-fleet/api/api:1.2.3",
        "ports": [{"containerPort": 8080}],
        "livenessProbe": {"httpGet": {"path": "/api/live", "port": 8080}},
        "readinessProbe": {"httpGet": {"path": "/api/live"}},
        "startupProbe": {"httpGet": {"path": "/boot", "port": 9090}},
    }
    told = described(
        {
            "metadata": {
                "annotations": {
                    "run.googleapis.com/ingress": "internal",
                    "run.googleapis.com/iap-enabled": "true",
                    "run.googleapis.com/regions": "us-central1,us-east1",
                }
            },
            "spec": {
                "template": {
                    "metadata": {
                        "annotations": {
                            "run.googleapis.com/cloudsql-instances": "barq-fleet:us-central1:db, shared:x:y"
                        }
                    },
                    "spec": {"serviceAccountName": "api@barq-fleet.iam.gserviceaccount.com", "containers": [container]},
                }
            },
            "status": {"url": "https://api.run.app"},
        },
        KEY,
    )
    assert [(p.name, p.path) for p in told.probes] == [("ready", "/api/live")]
    assert "port 9090" in told.left_out[0]
    assert (told.ingress, told.iap, told.regions) == ("internal", True, ("us-central1", "us-east1"))
    assert told.databases == ("barq-fleet:us-central1:db", "shared:x:y")
    policy = text(told, told.probes)
    assert "Ingress is internal" in policy
    assert "Identity-Aware Proxy" in policy
    assert "Also connected to shared:x:y" in policy
    loaded = parse_policy(policy, Path("p.yaml"))
    assert loaded.policy.metrics["database_cpu"].instance == "db"


def test_an_empty_service_is_described_too() -> None:
    assert described({}, KEY) == Described(key=KEY)


def test_of_guesses_only_the_first_that_answers_is_written_down() -> None:
    guesses = [
        FoundProbe(name="health", path="/health", origin="", answer="failed"),
        FoundProbe(name="health", path="/api/health", origin="", answer="ok"),
        FoundProbe(name="health", path="/", origin="", answer="ok"),
    ]
    assert [p.path for p in kept(guesses)] == ["/api/health"]
    assert kept(guesses[:1]) == []


def test_rights_name_what_is_known_and_warn_of_the_default_account() -> None:
    told = Described(
        key=KEY, account="123-compute@developer.gserviceaccount.com", image="us-docker.pkg.dev/images/api/api@sha256:1"
    )
    found = blocks(told, default_account("example.com:barq"), needs_invoker=True)
    commands = [command for block in found for command in block.commands]
    assert any("deploy-watchdog@barq.example.com.iam.gserviceaccount.com" in c for c in commands)
    assert any("repositories add-iam-policy-binding api --project images --location us" in c for c in commands)
    assert any("roles/run.invoker" in c for c in commands)
    assert any(c.startswith("# STOP") for c in commands)
    observing = "\n".join(next(b for b in found if b.title.startswith("To see")).commands)
    assert "update" not in observing


def test_the_commands_grant_what_the_readme_grants() -> None:
    readme = (ROOT / "deploy" / "README.md").read_text()
    told = Described(key=KEY, account="RUNTIME", image="us-docker.pkg.dev/p/IMAGES/api")
    for block in blocks(told, "SA", needs_invoker=True):
        for command in block.commands:
            role = re.search(r"--(?:role|permissions) (\S+)", command)
            if role is not None:
                assert role[1].replace(KEY.project, "$PROJECT") in readme, command
