"""Makes the virtual environment from the hashed locks; `make` runs it when a lock is newer than the environment.

Runs on a machine that has nothing but Python, before anything is installed: standard library only, and a sentence
instead of a traceback where something is missing, on an old Python too. Bytecode is compiled here, once, on all cores:
otherwise the first start of the daemon would pay for it, and every start where the folder cannot be written.
"""

from __future__ import annotations  # an old Python has to get as far as the sentence that it is too old

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
OLDEST = (3, 11)
LOCKS = {"runtime": ["runtime.txt", "build.txt"], "dev": ["dev.txt"]}


class SetupError(Exception):
    """What is missing, and what to do about it."""


def run(*command: object) -> None:
    """Run a command; quiet when it succeeds, its own words when it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetupError(f"{done.stdout}{done.stderr}\nfailed: {' '.join(str(part) for part in command)}")


def works(python: Path) -> bool:
    """Whether this interpreter starts, and is new enough: an environment may outlive the Python it was made from."""
    probe = f"import sys; sys.exit(sys.version_info[:2] < {OLDEST})"
    try:
        return subprocess.run([python, "-c", probe], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def make_environment(venv: Path) -> None:
    """An environment with an interpreter, and pip too where this Python can put it in.

    Debian ships Python without `ensurepip`; there the environment is made without pip, which `find_pip` makes up for.
    """
    shutil.rmtree(venv, ignore_errors=True)
    try:
        run(sys.executable, "-m", "venv", venv)
    except SetupError:
        run(sys.executable, "-m", "venv", "--clear", "--without-pip", venv)


def find_pip(venv: Path) -> list[object]:
    """The command that runs pip for the environment.

    Its own pip; else this Python's pip pointed at it; else, as root on Debian, `python3-venv` is installed first.
    """
    own = [venv / "bin" / "python", "-m", "pip"]
    if succeeds(*own, "--version"):
        return own
    outside = [sys.executable, "-m", "pip", "--python", venv / "bin" / "python"]
    if succeeds(*outside, "--version"):
        return outside
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    if shutil.which("apt-get") and os.geteuid() == 0:
        print(f"setup: this Python cannot make a virtual environment; installing {package}", flush=True)
        apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
        if succeeds(*apt, "update") and succeeds(*apt, "install", "-y", "--no-install-recommends", package):
            make_environment(venv)
            if succeeds(*own, "--version"):
                return own
    raise SetupError(
        f"{sys.executable} can make no virtual environment with pip in it. On Debian and Ubuntu: apt-get install "
        f"{package}. Elsewhere: {sys.executable} -m ensurepip, or another Python: make PYTHON=/path/to/python3.12"
    )


def succeeds(*command: object) -> bool:
    """Whether a command exits 0."""
    try:
        run(*command)
    except SetupError:
        return False
    return True


def install(kind: str, venv: Path) -> None:
    """Bring the environment to the locks of `kind`, with this checkout as an editable package."""
    python = venv / "bin" / "python"
    if not works(python):
        make_environment(venv)
    pip = [*find_pip(venv), "--disable-pip-version-check", "--no-input", "install", "--quiet", "--no-compile"]
    for lock in LOCKS[kind]:
        run(*pip, "--require-hashes", "--requirement", HERE / lock)
    run(*pip, "--no-deps", "--no-build-isolation", "--editable", HERE.parent)
    # The exit code says only that some file somewhere is not of this Python's grammar (test data, templates).
    subprocess.run(
        [python, "-m", "compileall", "-q", "-q", "-j", "0", venv / "lib", HERE.parent / "watchdog"], check=False
    )
    for done in {kind, "runtime"}:  # dev.txt holds everything that runtime.txt and build.txt hold
        (venv / f".{done}").touch()


def main() -> int:
    """Exit code: 0 done, 1 something is missing, 2 this Python is too old."""
    parser = argparse.ArgumentParser(description="Make the virtual environment from the hashed locks.")
    parser.add_argument(
        "kind", choices=sorted(LOCKS), help="what to install: the program, or all that a developer needs"
    )
    parser.add_argument("--venv", type=Path, default=HERE.parent / ".venv", help="where (default: .venv)")
    options = parser.parse_args()
    if sys.version_info < OLDEST:
        here = ".".join(str(part) for part in sys.version_info[:3])
        print(f"setup: needs Python 3.11 or newer; {sys.executable} is {here}. Choose another: make PYTHON=python3.12")
        return 2
    print(
        f"setup: installing the {options.kind} lock into {options.venv} (first time, or the lock changed)", flush=True
    )
    try:
        install(options.kind, options.venv.absolute())
    except SetupError as problem:
        print(f"setup: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
