"""Every figure that the README quotes, in about 40 minutes; `python -m benchmarks NAME …` measures some.

Each benchmark is also a module of its own with options: `python -m benchmarks.NAME --help`.
"""

import argparse
import sys
from importlib import import_module
from pathlib import Path

NAMES = ("rollback_latency", "trial", "fold_speed", "at_rest", "paging")
HEAD = """# Benchmarks

Written by `make bench BENCH_ARGS="--write docs/benchmarks.md"`; the command under a title repeats its section.
Everything runs on one machine with our own tools: the real daemon, the real emulator, real HTTP between them.
Absolute figures depend on the machine and on what else it does, so each section ends with the conditions.
"""


def main(argv: list[str] | None = None) -> int:
    """Run them, print the tables as they come; 1 when a target was missed and that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="The figures that the README quotes.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)}; all by default")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write them as a Markdown document")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    given = parser.parse_args(argv)
    unknown = [name for name in given.names if name not in NAMES]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r} here; there are {', '.join(NAMES)}")
    document = HEAD
    all_kept = True
    for name in given.names or NAMES:
        module = import_module(f"benchmarks.{name}")
        text, kept = module.run(module.make_parser().parse_args([]))
        title, _, how = (module.__doc__ or "").partition("\n")
        section = f"## {title.strip().rstrip('.')}\n\n`python -m benchmarks.{name}`\n\n{how.strip()}\n\n{text}\n"
        print(section, flush=True)
        document += f"\n{section}"
        all_kept = all_kept and kept
    if given.write is not None:
        given.write.write_text(document, encoding="utf-8")
    return 1 if given.check and not all_kept else 0


if __name__ == "__main__":
    sys.exit(main())
