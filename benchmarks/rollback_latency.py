"""First failed answer to restored traffic, hard-down.

The whole loop is real: the daemon in a process of its own, the emulator in another, HTTP between them, 20 requests/s
from users, routing that takes the emulator 0.5 s. A run deploys a healthy revision, tells the daemon as a pipeline
does, waits until every probe has passed, and breaks the revision at a random moment of the probing interval:

* *at once*: by turns the container refuses connections (the front answers 503) or answers 503 itself;
* *hang*: the container accepts every request and never answers, so a probe fails when its time-out is over.

Two policies: the *BARQ policy* as shipped, and the *fast policy*, the same with `probe_every: 1s`, `timeout: 1s` and
`confirm: {failures: 3}`. Changed in both: the URL, and `rollback: {cooldown: 1s, per_day: 1000}`, since the runs follow
each other in one emulator and one daemon. Each run deploys an image and an environment of its own, or it would be known
to be bad.

* *first failed answer*: the end of the first failing probe's answer, as the watch's journal has it (`probed`);
* *decision*, *traffic write*: the decision, and the write as the emulated Admin API logged it;
* *restored*: `status.traffic` shows the split from before;
* *first good answer*: the restored revision answered a user's request at the public URL with 200;
* *recovery proven*: the watchdog says so (settle time, then `verify_probes` passes in a row of every probe).
"""

import argparse
import asyncio
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from benchmarks.lab import CLOCK, SERVICE, Lab, LabError, barq_policy, open_lab
from benchmarks.tables import conditions, held, quantile, table

USERS_PER_S: Final = 20.0
ROUTING_DELAY_S: Final = 0.5
END_S: Final = 150.0
AT_ONCE: Final = ("down", "status")
FAULTS: Final[Mapping[str, tuple[str, ...]]] = {"at once": AT_ONCE, "hang": ("hang",)}
"""What the tables call it → kinds of the emulator, taken in turn: the container refuses connections, it answers 503
itself, or it accepts a request and never answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One policy under test: what the figures must keep."""

    name: str
    target_s: float
    """p95 of first failed answer to restored."""
    bound_s: float
    """First failed answer to the write, whichever the run: (failures - 1) · every + timeout + 2 s."""


PROMISES: Final = {
    "barq": Promise(name="BARQ policy", target_s=9.0, bound_s=(5 - 1) * 1.0 + 3.0 + 2.0),
    "fast": Promise(name="fast policy", target_s=6.0, bound_s=(3 - 1) * 1.0 + 1.0 + 2.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One rollback; every field but the first two is Unix seconds."""

    fault: str
    revision: str
    broken_at: float
    failed_at: float
    decided_at: float
    written_at: float
    restored_at: float
    answered_at: float
    recovered_at: float
    recorded_at: float | None
    """The first failed probe in the emulator's record; None where it leaves no line (refused, or never answered)."""

    @property
    def restored_s(self) -> float:
        """What the targets are about."""
        return self.restored_at - self.failed_at


def policy_of(lab: Lab, name: str) -> dict[str, Any]:
    """The policy under test. Both may roll back as often as the benchmark asks, which is the only other change."""
    policy = barq_policy(lab)
    policy["rollback"] |= {"cooldown": "1s", "per_day": 1000}
    if name == "fast":
        policy["windows"]["immediate"]["probe_every"] = "1s"
        policy["confirm"] = {"failures": 3, "every": "1s"}
        for probe in policy["probes"].values():
            probe["timeout"] = "1s"
    return policy


async def measure(name: str, *, runs: int, faults: Sequence[str], seed: int) -> list[Run]:
    """All runs of one policy, one after another, in one emulator and one daemon."""
    chance = random.Random(f"{seed}/{name}")
    found: list[Run] = []
    options = ["--routing-delay", f"{ROUTING_DELAY_S:g}"]
    async with open_lab(rate_per_s=USERS_PER_S, seed=seed, options=options) as lab:
        policy = policy_of(lab, name)
        every_s = float(str(policy["windows"]["immediate"]["probe_every"]).removesuffix("s"))
        await lab.start_daemon(policy)
        await lab.wait_ready()
        for fault in faults:
            kinds = FAULTS[fault]
            for i in range(runs):
                run = await _run(lab, fault, kinds[i % len(kinds)], f"{fault}-{i}", chance.uniform(0.0, every_s))
                found.append(run)
                sys.stderr.write(f"{name}, {fault}, {i + 1} of {runs}: restored after {run.restored_s:.2f} s\n")
    return found


async def _run(lab: Lab, fault: str, kind: str, label: str, phase_s: float) -> Run:
    revision = await lab.deploy(f"us-docker.pkg.dev/barq-fleet/api/api:{label.replace(' ', '-')}", run=label)
    watch = await lab.watch_of(revision)
    await CLOCK.sleep(phase_s)
    _, index = await lab.requests_since(2**62)
    broken_at = CLOCK.now()
    await lab.ask_emulator("PUT", f"/revisions/{revision}/faults", {"faults": [{"kind": kind}]})

    async def ended() -> dict[str, Any] | None:
        view: dict[str, Any] = await lab.ask_daemon("GET", f"/watches/{watch}")
        return view if view["state"] == "ended" else None

    view = await lab.until(f"watch {watch} to end", ended, within_s=END_S)
    if view["outcome"] != "rolled_back":
        raise LabError(f"{label}: the watch ended {view['outcome']}: {view['reason']}; logs: {lab.folder}")
    failed_at = _first_failed(await lab.events(watch))
    lines, _ = await lab.requests_since(index)
    recorded_at = next((x["ended_at"] for x in lines if x["revision"] == revision and _failed_probe(x)), None)
    public = f"{lab.endpoints['service_url']}/"
    answered_at = next(
        line["ended_at"]
        for line in lines
        if line["revision"] == lab.good and line["status"] == 200 and line["url"].startswith(public)
        if not _is_probe(line)
    )
    return Run(
        fault=fault,
        revision=revision,
        broken_at=broken_at,
        failed_at=failed_at,
        decided_at=_unix(view["rollback"]["decided_at"]),
        written_at=await _written_at(lab, revision),
        restored_at=await _restored_at(lab, failed_at),
        answered_at=answered_at,
        recovered_at=_unix(view["rollback"]["verified_at"]),
        recorded_at=recorded_at,
    )


def _first_failed(events: Sequence[Mapping[str, Any]]) -> float:
    """The first failing answer of a regular probe at the public URL, from the journal."""
    return min(
        float(body["answer"]["t"][1])
        for body in (event["body"] for event in events if event["kind"] == "probed")
        if body["purpose"] == "regular" and body["role"] == "public" and body["answer"]["e"][0] == "f"
    )


def _is_probe(line: Mapping[str, Any]) -> bool:
    return str(line["user_agent"]).startswith("deploy-watchdog/")


def _failed_probe(line: Mapping[str, Any]) -> bool:
    return _is_probe(line) and line["status"] != 200


async def _written_at(lab: Lab, revision: str) -> float:
    """When the Admin API took the write that the watchdog marked with the revision that it rolled back."""
    writes = (await lab.ask_emulator("GET", "/admin-log"))["writes"]
    mark = "deploy-watchdog/rolled-back"
    return next(float(w["at"]) for w in writes if w["applied"] and w["annotations"].get(mark) == revision)


async def _restored_at(lab: Lab, after: float) -> float:
    """When `status.traffic` showed the good revision alone again."""
    history = (await lab.ask_emulator("GET", f"/traffic?service={SERVICE['service']}"))["history"]
    return next(float(c["at"]) for c in history if c["at"] > after and list(c["split"]) == [lab.good])


def _unix(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()


def report(promise: Promise, runs: Sequence[Run]) -> tuple[str, bool]:
    """One policy's tables, and whether its promises were kept."""
    kept = True
    sections: list[str] = []
    rows: list[list[object]] = []
    for fault in dict.fromkeys(run.fault for run in runs):
        some = [run for run in runs if run.fault == fault]
        restored = [run.restored_s for run in some]
        p95 = quantile(restored, 0.95)
        kept = kept and p95 <= promise.target_s
        goal = [f"≤ {promise.target_s:g} s", held(p95, promise.target_s)]
        rows.append([f"{promise.name}, {fault}", len(some), *_three(restored), *goal])
    header = ["first failed answer → split restored", "runs", "p50", "p95", "max", "target (p95)", "held"]
    sections.append(table(header, rows))
    legs = {
        "first failed answer → decision": [r.decided_at - r.failed_at for r in runs],
        "decision → traffic write": [r.written_at - r.decided_at for r in runs],
        "write → restored (0.5 s of it is the emulator's routing)": [r.restored_at - r.written_at for r in runs],
        "first failed answer → first good answer to a user": [r.answered_at - r.failed_at for r in runs],
        "restored → recovery proven (5 s of it is `settle`)": [r.recovered_at - r.restored_at for r in runs],
        "fault → first failed answer (probing interval, time-out)": [r.failed_at - r.broken_at for r in runs],
    }
    rows = [[leg, *_three(took)] for leg, took in legs.items()]
    sections.append(table([f"{promise.name}: where the time goes", "p50", "p95", "max"], rows))
    sections.append(" ".join(_checks(promise, runs)))
    return "\n\n".join(sections), kept


def _checks(promise: Promise, runs: Sequence[Run]) -> list[str]:
    within = sum(run.written_at - run.failed_at <= promise.bound_s for run in runs)
    bound = f"the design's bound of {promise.bound_s:g} s"
    said = [f"First failed answer → write stayed within {bound} in {within} of {len(runs)} runs."]
    apart = [abs(run.failed_at - run.recorded_at) for run in runs if run.recorded_at is not None]
    if apart:
        said.append(
            "Cross-check: where the container answered 503 itself, the emulator's own request record has the first "
            f"failed answer {1000 * max(apart):.0f} ms from the journal's at most ({len(apart)} runs)."
        )
    return said


def _three(values: Sequence[float]) -> list[str]:
    return [f"{quantile(values, q):.2f} s" for q in (0.5, 0.95, 1.0)]


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rollback_latency", description="From the first failed answer to restored traffic."
    )
    parser.add_argument("--runs", type=int, default=20, help="of each fault under each policy (20)")
    parser.add_argument("--policy", choices=[*PROMISES, "both"], default="both")
    parser.add_argument("--fault", choices=[*FAULTS, "both"], default="both")
    parser.add_argument("--seed", type=int, default=20_260, help="of the load and of the moments of the faults")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    return parser


def run(given: argparse.Namespace) -> tuple[str, bool]:
    """Measure; the tables, and whether every target was held."""
    names = list(PROMISES) if given.policy == "both" else [given.policy]
    faults = list(FAULTS) if given.fault == "both" else [given.fault]
    found = [
        report(PROMISES[name], asyncio.run(measure(name, runs=max(1, given.runs), faults=faults, seed=given.seed)))
        for name in names
    ]
    return "\n\n".join([*(text for text, _ in found), conditions()]), all(kept for _, kept in found)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when a target was missed and that was asked for."""
    given = make_parser().parse_args(argv)
    text, kept = run(given)
    print(text)
    return 1 if given.check and not kept else 0


if __name__ == "__main__":
    sys.exit(main())
