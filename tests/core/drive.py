"""Builders for watches in virtual time, and a driver that plays events against the fold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from watchdog.core import watch as folding
from watchdog.core.commands import Announce, Command, Notify, Restore
from watchdog.core.events import (
    Event,
    Lag,
    Opened,
    Operated,
    Probed,
    Sampled,
    Signalled,
    Target,
    Ticked,
    TrafficSeen,
    Written,
)
from watchdog.core.model import Counts, Deploy, Evidence, Failed, Missing, Passed, Sample, ServiceKey, Split, Tag
from watchdog.core.policy import Policy
from watchdog.core.probing import ProbeAnswer, Purpose, Role
from watchdog.core.state import Watch
from watchdog.policy_file import parse_policy

T0 = 1_790_000_000.0
OLD, NEW, NEWER = "api-00001-old", "api-00002-new", "api-00003-newer"
KEY = ServiceKey(project="acme", region="europe-west1", name="api")
TEXT = """
version: 1
service: {{project: acme, region: europe-west1, name: api}}
windows:
  immediate: {{until: 15m, probe_every: 5s}}
  short_term: {{until: 60m, probe_every: 15s, confirm: {{failures: 10}}}}
  extended: {{until: 24h, probe_every: 60s, confirm: {{failures: 20}}}}
probes:
  health: {{path: /health, timeout: 3s}}
success_criteria:
  - {{metric: error_rate, target: "< 1%", action: rollback}}
  - {{metric: health_check, target: "100%", action: rollback}}
alert_thresholds:
  - {{metric: memory_usage, warning: "> 75%", action: scale_up}}
rollback:
  mode: {mode}
  immediately_if: ["health_check failing", {{signal: database_corruption}}]
"""
CONTROL = (Tag(name="stable", revision=OLD, url="https://stable---api.example"),)
BOTH = (*CONTROL, Tag(name="next", revision=NEW, url="https://next---api.example"))
FEED = (Lag(source="cloud_run", check="error_rate", period_s=60.0, lag_s=180.0),)


def policy(mode: str = "automatic") -> Policy:
    """A small policy with one probe, errors and a gauge."""
    return parse_policy(TEXT.format(mode=mode), Path("policy.yaml")).policy


def opening(*, mode: str = "automatic", **changes: Any) -> Opened:
    """The first event of a watch of `NEW`, which took all traffic from `OLD` at `T0`."""
    p = policy(mode)
    values: dict[str, Any] = {
        "at": T0,
        "watch": "w1",
        "deploy": Deploy(service=KEY, revision=NEW),
        "policy": p.canonical(),
        "policy_hash": p.hash,
        "target": Target(split=Split.of({OLD: 100}), source="discovery"),
        "split": Split.of({NEW: 100}),
        "cutover_at": T0,
        "armed": ("health",),
        "lags": FEED,
    }
    return Opened(**{**values, **changes})


def answer(evidence: Passed | Failed | Missing, at: float, took: float = 0.05) -> ProbeAnswer:
    """A probe's answer that was sent at `at`."""
    status = 200 if isinstance(evidence, Passed) else 503 if evidence == DOWN else None
    return ProbeAnswer(evidence=evidence, started_at=at, ended_at=at + took, status=status)


OK, DOWN, HANGS, OURS = Passed(), Failed("status"), Failed("timeout"), Missing("prober")


@dataclass(slots=True)
class Drive:
    """Folds events and keeps what the fold asked for."""

    first: Opened = field(default_factory=opening)
    watch: Watch = field(init=False)
    commands: list[Command] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watch, commands = folding.opened(self.first)
        self.commands += commands
        self.events.append(self.first)

    def put(self, event: Event) -> None:
        """Fold one event."""
        self.events.append(event)
        self.watch, commands = folding.advance(self.watch, event)
        self.commands += commands

    def probe(
        self,
        evidence: Passed | Failed | Missing,
        at_s: float,
        *,
        purpose: Purpose = Purpose.REGULAR,
        role: Role = Role.PUBLIC,
        attempt: int = 0,
        took: float = 0.05,
    ) -> None:
        """The health probe was sent `at_s` after the cutover."""
        at = T0 + at_s
        slot = self.watch.probing.probe_every_s if purpose is Purpose.REGULAR else 0.0
        self.put(
            Probed(
                at=at + took,
                probe="health",
                role=role,
                purpose=purpose,
                scheduled_at=at,
                answer=answer(evidence, at, took),
                attempt=attempt,
                slot_s=slot,
            )
        )

    def confirm(self, evidence: Passed | Failed | Missing, at_s: float, attempt: int, role: Role = Role.PUBLIC) -> None:
        """A confirming attempt."""
        self.probe(evidence, at_s, purpose=Purpose.CONFIRM, role=role, attempt=attempt)

    def healthy(self, from_s: float, to_s: float, every: float = 5.0) -> None:
        """Passing probes on their grid."""
        at = from_s
        while at < to_s:
            self.probe(OK, at)
            at += every

    def hard_down(self, at_s: float, failures: int = 5, *, control: Passed | Failed | None = None) -> None:
        """A failing probe and its confirmation, one attempt a second; the control answers beside it."""
        self.probe(DOWN, at_s)
        for k in range(1, failures):
            if control is not None:
                self.confirm(control, at_s + k - 0.2, k, Role.CONTROL)
            self.confirm(DOWN, at_s + k, k)

    def counts(self, bad: float, total: float, from_s: float, to_s: float, *, revision: str = NEW) -> None:
        """A minute's counts of Cloud Monitoring, seen when its lag has passed."""
        self.sample("error_rate", Counts(bad, total), from_s, to_s, revision=revision)

    def sample(self, check: str, evidence: Evidence, from_s: float, to_s: float, *, revision: str = NEW) -> None:
        """Any sample of Cloud Monitoring."""
        seen = T0 + to_s + 181.0
        sample = Sample(
            source="cloud_run",
            check=check,
            revision=revision,
            start=T0 + from_s,
            end=T0 + to_s,
            seen=seen,
            evidence=evidence,
        )
        self.put(Sampled(at=seen, samples=(sample,)))

    def traffic(self, split: Mapping[str, int], at_s: float, **changes: Any) -> None:
        """Cloud Run's traffic was read."""
        self.put(TrafficSeen(at=T0 + at_s, split=Split.of(split), tags=self.watch.tags, **changes))

    def written(self, at_s: float, result: str = "done", **changes: Any) -> None:
        """The write ended."""
        after = Split.of({OLD: 100}) if result == "done" else Split()
        values = {"reason": "", "before": self.watch.split, "after": after, **changes}
        self.put(Written(at=T0 + at_s, result=result, **values))

    def restored(self, at_s: float) -> None:
        """Written, routed and settled; verifying probes begin."""
        self.written(at_s)
        self.traffic({OLD: 100}, at_s + 1)
        self.tick(at_s + 6.5)

    def verify(self, evidence: Passed | Failed, at_s: float, times: int = 3) -> None:
        """Verifying probes, one a second."""
        for k in range(times):
            self.probe(evidence, at_s + k, purpose=Purpose.VERIFY)

    def signal(self, name: str, at_s: float) -> None:
        """Somebody says something."""
        self.put(Signalled(at=T0 + at_s, signal=name, by="dba", reason="wrong rows"))

    def operate(self, verb: str, at_s: float, **changes: Any) -> None:
        """A person acts."""
        self.put(Operated(at=T0 + at_s, verb=verb, by="ada", **changes))

    def tick(self, at_s: float) -> None:
        """Nothing but time."""
        self.put(Ticked(at=T0 + at_s))

    # --- what came of it ---------------------------------------------------------------------------------------

    @property
    def writes(self) -> int:
        """How often traffic was to be moved."""
        return sum(isinstance(c, Restore) for c in self.commands)

    @property
    def announced(self) -> list[str]:
        """Announced events, in order."""
        return [c.event for c in self.commands if isinstance(c, Announce)]

    def messages(self, *kinds: str) -> Sequence[Mapping[str, Any]]:
        """Bodies of the messages of these kinds."""
        return [c.body for c in self.commands if isinstance(c, Notify) and c.kind in kinds]

    @property
    def ending(self) -> tuple[str, str | None]:
        """State and outcome."""
        return self.watch.state.value, self.watch.outcome.value if self.watch.outcome else None
