"""What is shipped is whole, locked and deployable: the wheel, the locks, the Dockerfile, and all under deploy/."""

import http.server
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import hcl2
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from requirements.lock import LOCKS, pins
from tests import needs
from watchdog.cli import cli
from watchdog.settings import load_settings

ROOT = Path(__file__).resolve().parent.parent
CLOUD_RUN = {"worker-pool": "WorkerPool", "service": "Service", "job": "Job"}


def run(*command: object, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


# ── Wheel ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    """The wheel of this checkout, built with the locked build backend."""
    folder = tmp_path_factory.mktemp("dist")
    built = run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder)
    assert built.returncode == 0, built.stdout + built.stderr
    return zipfile.Path(next(folder.glob("*.whl")))


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: zipfile.Path) -> None:
    """Templates, scenarios, migrations and the shipped policy too: a missing one would only be noticed by its user."""
    shipped = {entry.filename for entry in wheel.root.infolist() if not entry.is_dir()}
    shipped = {name for name in shipped if ".dist-info/" not in name}
    ours = (path for path in (ROOT / "watchdog").rglob("*") if path.is_file() and "__pycache__" not in path.parts)

    assert shipped == {path.relative_to(ROOT).as_posix() for path in ours}
    assert "watchdog/data/barq-fleet.yaml" in shipped
    for folder in ("data/templates", "data/journeys", "emulator/scenarios", "store/migrations"):
        assert any(name.startswith(f"watchdog/{folder}/") for name in shipped), folder


def test_the_installed_wheel_runs_in_an_empty_folder(wheel: zipfile.Path, tmp_path: Path) -> None:
    """The policy that it ships can be found and understood without the checkout."""
    wheel.root.extractall(tmp_path / "site")
    empty = tmp_path / "empty"
    empty.mkdir()
    policy = tmp_path / "site" / "watchdog" / "data" / "barq-fleet.yaml"

    checked = run(
        sys.executable, "-m", "watchdog", "check", policy, cwd=empty, env={"PYTHONPATH": str(tmp_path / "site")}
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert list(empty.iterdir()) == []


def test_the_files_under_config_are_the_shipped_ones() -> None:
    """One copy, so that what a reader edits is what the program reads."""
    for name in ("barq-fleet.yaml", "policy.schema.json", "journeys"):
        assert (ROOT / "config" / name).resolve() == ROOT / "watchdog" / "data" / name


# ── Locks ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_a_hash_for_every_pin_and_no_address(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    entries = re.split(r"\n(?=[a-z0-9])", text)

    assert len(entries) == len(pins(ROOT / "requirements" / name)) > 0
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert re.search(r"://|--(extra-)?index|--find-links|^-e|@ file", text, re.MULTILINE) is None


def test_the_locks_fit_the_declared_requirements() -> None:
    declared = {"runtime.txt": project()["project"]["dependencies"]}
    groups = project()["dependency-groups"]
    declared |= {f"{name}.txt": [entry for entry in group if isinstance(entry, str)] for name, group in groups.items()}
    declared["dev.txt"] += declared["runtime.txt"] + declared["build.txt"]

    for name, requirements in declared.items():
        locked = pinned(name)
        unfit = [text for text in requirements if not fits(Requirement(text), locked)]
        assert unfit == [], f"run `make lock`: requirements/{name}"


def test_tests_run_with_the_versions_that_are_shipped() -> None:
    dev, runtime = pinned("dev.txt"), pinned("runtime.txt")

    assert {name: dev[name] for name in runtime} == runtime


def test_nothing_in_the_locks_brings_another_package_called_watchdog() -> None:
    """The distribution `watchdog` (file events) owns our import name; whatever depends on it would shadow us."""
    locked = pinned("dev.txt")
    wanting = [
        name
        for name in locked
        if any(canonicalize_name(Requirement(text).name) == "watchdog" for text in required_by(name))
    ]

    assert "watchdog" not in locked
    assert wanting == []
    assert set(importlib.metadata.packages_distributions().get("watchdog", [])) <= {"deploy-watchdog"}


def pinned(name: str) -> dict[str, str]:
    """Version by canonical name, of one lock."""
    found = (Requirement(line) for line in pins(ROOT / "requirements" / name))
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in found}


def fits(requirement: Requirement, locked: Mapping[str, str]) -> bool:
    version = locked.get(canonicalize_name(requirement.name))
    return version is not None and requirement.specifier.contains(version)


def required_by(name: str) -> list[str]:
    """Its unconditional requirements, as installed here; none where a marker keeps it off this machine."""
    try:
        declared = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [text for text in declared if "extra ==" not in text]


# ── Make, container, systemd ──────────────────────────────────────────────────────────────────────────────────────────


def test_make_alone_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split()

    shown = run("make", "--no-print-directory").stdout

    assert [target for target in phony if not re.search(rf"^  {target} +\w", shown, re.MULTILINE)] == []


def test_make_demo_plays_the_scenario_it_is_asked_for() -> None:
    assert "demo --scenario slow" in run("make", "--dry-run", "demo", "SCENARIO=slow").stdout


def test_the_dockerfile_is_clean_and_runs_as_nobody() -> None:
    linted = run(Path(sys.executable).parent / "hadolint", "Dockerfile")
    lines = (ROOT / "Dockerfile").read_text().splitlines()

    assert (linted.returncode, linted.stdout) == (0, "")
    assert [line for line in lines if line.startswith("USER")] == ["USER 65532:65532"]
    assert lines[-2:] == ['ENTRYPOINT ["python", "-m", "watchdog"]', 'CMD ["run"]']


def test_what_the_dockerfile_copies_is_let_through() -> None:
    """.dockerignore begins by ignoring everything."""
    allowed = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copies = re.findall(r"^COPY ((?!--from).*) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    wanted = [name for names in copies for name in names.split()]

    assert [name for name in wanted if not any(Path(name).match(pattern) for pattern in allowed)] == []


# ── deploy/ ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path", [path for kind in ("yaml", "yml") for path in ROOT.glob(f"deploy/**/*.{kind}")], ids=lambda path: path.name
)
def test_yaml_parses(path: Path) -> None:
    assert list(yaml.safe_load_all(path.read_text()))


@pytest.mark.parametrize("name", CLOUD_RUN)
def test_cloud_run_gives_us_only_variables_that_we_read(name: str) -> None:
    container = the_container(yaml.safe_load((ROOT / "deploy" / "cloudrun" / f"{name}.yaml").read_text()))
    secrets = {"WATCHDOG_DATABASE_URL": "postgresql://user:password@/watchdog?host=/cloudsql/p:r:i"}
    given = {entry["name"]: entry.get("value") or secrets.get(entry["name"], "secret") for entry in container["env"]}

    settings = load_settings(given)

    assert settings.warnings == ()
    assert settings.database_url.get_secret_value().startswith("postgresql:")  # Cloud Run keeps no files


@pytest.mark.parametrize("name", CLOUD_RUN)
def test_gcloud_knows_every_field(name: str, tmp_path: Path) -> None:
    """It checks the whole file before it asks the API, which here is a server that refuses everybody."""
    gcloud = needs.gcloud()
    file = tmp_path / f"{name}.yaml"
    file.write_text((ROOT / "deploy" / "cloudrun" / file.name).read_text().replace("REGION", "us-central1"))
    kind = {"worker-pool": ["beta", "run", "worker-pools"]}.get(name, ["run", f"{name}s"])
    region = [] if name == "worker-pool" else ["--region", "us-central1"]

    with refusing_api() as (port, asked):
        answer = run(gcloud, *kind, "replace", file, *region, env=offline_gcloud(port, tmp_path))

    assert "Failed to parse" not in answer.stderr
    assert asked, f"gcloud refused the file by itself:\n{answer.stderr}"


def the_container(document: dict[str, Any]) -> dict[str, Any]:
    """The one container of a Cloud Run resource; a job's template holds another template."""
    template = document["spec"]["template"]["spec"]
    template = template["template"]["spec"] if document["kind"] == "Job" else template
    (container,) = template["containers"]
    return dict(container)


@contextmanager
def refusing_api() -> Iterator[tuple[int, list[str]]]:
    """A forward proxy on loopback that answers 403 to everything, and the paths that it was asked for."""
    asked: list[str] = []

    class Refuse(http.server.BaseHTTPRequestHandler):
        def refuse(self) -> None:
            asked.append(self.path)
            body = b'{"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "no"}}'
            self.send_response(403)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = refuse  # noqa: N815 - the names http.server calls

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's signature
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join()


def offline_gcloud(port: int, folder: Path) -> dict[str, str]:
    """An environment in which gcloud talks to nobody but the proxy, and has no credentials."""
    return {
        "CLOUDSDK_CONFIG": str(folder / "gcloud"),
        "CLOUDSDK_CORE_PROJECT": "project",
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": "http://run.fake.test/",
        "CLOUDSDK_PROXY_TYPE": "http",
        "CLOUDSDK_PROXY_ADDRESS": "127.0.0.1",
        "CLOUDSDK_PROXY_PORT": str(port),
    }


def test_terraform_parses_and_is_formatted() -> None:
    folder = ROOT / "deploy" / "terraform"
    for path in [*folder.glob("*.tf"), *folder.glob("*.tfvars")]:
        assert hcl2.loads(path.read_text()), path.name

    if terraform := shutil.which("terraform"):  # no registry that we use has it; parsing is checked everywhere
        formatted = run(terraform, "fmt", "-check", "-diff", folder)
        assert (formatted.returncode, formatted.stdout) == (0, "")


def test_terraform_and_the_commands_in_the_readme_grant_the_same() -> None:
    """Two ways to set it up, one set of rights."""
    readme = (ROOT / "deploy" / "README.md").read_text()
    terraform = (ROOT / "deploy" / "terraform" / "main.tf").read_text()
    commands = "".join(re.findall(r"```bash\n(.*?)```", readme, re.DOTALL))

    assert rights(commands) == rights(terraform)
    assert rights(commands) <= rights(readme.replace(commands, ""))


def rights(text: str) -> set[str]:
    """Predefined roles and permissions of Cloud Run that a text names."""
    return set(
        re.findall(r"roles/[a-z]+\.[a-zA-Z]+|run\.(?:services|revisions|operations|jobs|executions)\.[a-z]+", text)
    )


@pytest.mark.parametrize("pattern", ["deploy/**/*", "*.md", "docs/**/*.md"])
def test_every_command_that_we_tell_people_to_use_exists(pattern: str) -> None:
    verbs = set(cli.list_commands(click.Context(cli)))
    texts = (path.read_text() for path in ROOT.glob(pattern) if path.is_file() and "__pycache__" not in path.parts)
    told = {verb for text in texts for verb in re.findall(r"`(?:python -m )?watchdog ([a-z]+)", text)}

    assert told <= verbs


def test_the_systemd_unit_starts_the_daemon_and_lets_it_drain() -> None:
    unit = (ROOT / "deploy" / "systemd" / "watchdog.service").read_text()
    settings = dict(re.findall(r"^Environment=(\w+)=(.*)$", unit, re.MULTILINE))

    assert "ExecStart=/opt/watchdog/bin/python -m watchdog run\n" in unit
    assert int(re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[0]) > 5
    assert load_settings(settings).warnings == ()
