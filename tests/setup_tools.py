"""Installs what the tests need beyond Python, where this machine allows it: `make test` and `make check` run it first.

Where it does not (no apt, not root, no network), it says so and succeeds: the tests in question skip and say why. In CI
nothing may be skipped (conftest.py), so there a tool that could not be installed fails the run.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

POLICY = Path("/usr/sbin/policy-rc.d")
"""Debian asks this script whether a package may start its service; exit code 101 forbids it."""


def has_postgresql() -> bool:
    """Whether there is a PostgreSQL *server*: `psql` alone is only the client. Debian keeps it off PATH."""
    return any(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


def missing() -> dict[str, str]:
    """The Debian packages that are not there yet, each with what it is for."""
    wanted = {
        "prometheus": ("promtool checks the alert rules", bool(shutil.which("promtool"))),
        "postgresql": ("the store's second database", has_postgresql()),
        "chromium": ("looks at the status page as a person does", bool(shutil.which("chromium"))),
    }
    return {package: purpose for package, (purpose, there) in wanted.items() if not there}


def apt(*arguments: str) -> None:
    """Run apt-get, waiting for another one that may hold its lock."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", *arguments]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def install(packages: list[str]) -> None:
    """Install Debian packages without letting them start a service: tests start their own, on free ports."""
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        apt("update")
        apt("install", "-y", "--no-install-recommends", *packages)
    finally:
        if ours:
            POLICY.unlink()


def main() -> int:
    """Exit code 0 in any case: what is missing is the tests' to report."""
    wanted = missing()
    if not wanted:
        return 0
    names = ", ".join(f"{package} ({purpose})" for package, purpose in wanted.items())
    if not shutil.which("apt-get") or os.geteuid() != 0:
        print(f"tools: not installed: {names}. Tests that need them skip. On Debian, as root: make tools", flush=True)
        return 0
    print(f"tools: installing {names}", flush=True)
    try:
        install(list(wanted))
    except (OSError, subprocess.CalledProcessError) as problem:
        print(f"tools: could not install {', '.join(missing())}: {problem}. Tests that need them skip.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
