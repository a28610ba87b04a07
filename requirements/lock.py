"""Writes the hashed locks from pyproject.toml, or says whether they still fit it.

Three locks, one resolution: `runtime.txt` is what the program needs, `build.txt` what making its wheel needs, and
`dev.txt` all of it with the tools of a developer. The later two are constrained by the first, so that a test never runs
against another version than the one that is shipped. The locks hold no index address: they install from whichever index
the machine is set up with, and the hashes make sure that it hands out the same bytes.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CONSTRAINT = ["--constraint", "requirements/runtime.txt"]
LOCKS = {
    "runtime.txt": ["pyproject.toml"],
    "build.txt": ["--group", "build", *CONSTRAINT],
    "dev.txt": ["pyproject.toml", "--group", "dev", *CONSTRAINT],
}
OPTIONS = ["--quiet", "--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url"]


def resolve(sources: list[str], output: Path, *, upgrade: bool) -> None:
    """Write one lock; versions that `output` already pins are kept unless `upgrade`."""
    command = [sys.executable, "-m", "uv", "pip", "compile", *OPTIONS, "--no-header", *sources]
    command += ["--upgrade"] if upgrade else []
    subprocess.run([*command, "--output-file", str(output)], cwd=HERE.parent, check=True, stdout=subprocess.DEVNULL)


def pins(lock: Path) -> list[str]:
    """The pinned requirements without hashes and notes: a wheel added to an old release makes no lock stale."""
    lines = (line.rstrip(" \\") for line in lock.read_text().splitlines())
    return [line for line in lines if line and not line.startswith((" ", "#"))]


def stale() -> list[str]:
    """The names of the locks that would come out differently today, with the pins of today as preferences."""
    found = []
    for name, sources in LOCKS.items():
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder, name)
            output.write_text((HERE / name).read_text())
            resolve(sources, output, upgrade=False)
            if pins(output) != pins(HERE / name):
                found.append(name)
    return found


def main() -> int:
    """Exit code: 0 written, or still fitting; 1 a lock is stale."""
    parser = argparse.ArgumentParser(description="Write the hashed locks from pyproject.toml.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a lock no longer fits")
    parser.add_argument("--upgrade", action="store_true", help="move every pin to the newest release that fits")
    options = parser.parse_args()
    if options.check:
        for name in (out_of_date := stale()):
            print(f"requirements/{name} no longer fits pyproject.toml: run `make lock` and commit the result")
        return 1 if out_of_date else 0
    for name, sources in LOCKS.items():
        resolve(sources, HERE / name, upgrade=options.upgrade)
        print(f"requirements/{name}: {len(pins(HERE / name))} pins")
    return 0


if __name__ == "__main__":
    sys.exit(main())
