"""The days that are played: healthy ones, faults, and outages that a rollback cannot cure."""

from typing import Final

from benchmarks.detection_parts.streams import Onset, Scenario

THRESHOLD: Final = 0.01
"""The policy's row: error rate below 1 %, or roll back."""

HEALTHY: Final = (
    Scenario(name="0 % errors", base=0.0),
    Scenario(name="0.1 %"),
    Scenario(name="0.5 %", base=0.005),
    Scenario(name="0.9 %", base=0.009),
    Scenario(name="1.0 %, the threshold", base=0.01),
    Scenario(name="0.1 % + 5 s blips", blip_s=5.0),
    Scenario(name="0.1 % + 20 s blips", blip_s=20.0),
    Scenario(name="0.1 % + surges", surge=10.0),
    Scenario(name="0.3 % in clusters", base=0.003, cluster=3.0),
)
"""Blips: everything fails, every 4 h in the mean. Surges: 30 s of ten times the traffic, every hour. Clusters: 3 errors
in the mean, as one request and its retries."""

BEYOND: Final = (
    Scenario(name="0.9 % in clusters", base=0.009, cluster=3.0),
    Scenario(name="0.6 % in bursts", blip_s=10.0, blip_every_s=600.0, blip_share=0.3),
)
"""What the meter's bound does not cover: errors cause each other, near the threshold. Bursts: 30 % of 10 s fail, every
10 min in the mean, so that the share lies above 1 % for a quarter of an hour now and then."""

STEPS: Final = (0.012, 0.015, 0.02, 0.03, 0.06, 0.2, 1.0)
FAULTS: Final = (
    *(Scenario(name=f"{100 * p:g} %, late", onset=Onset.LATE, after=p) for p in STEPS),
    *(Scenario(name=f"{100 * p:g} %, at deploy", onset=Onset.DEPLOY, after=p) for p in STEPS),
    Scenario(name="0.9 → 3 %, late", base=0.009, onset=Onset.LATE, after=0.03),
    Scenario(name="0.9 → 6 %, late", base=0.009, onset=Onset.LATE, after=0.06),
    Scenario(name="slow burn 0.5 → 1.2 %, late", base=0.005, onset=Onset.LATE, after=0.012),
    Scenario(name="ramp to 5 % in 10 min, late", onset=Onset.LATE, after=0.05, ramp_s=600.0),
    Scenario(name="ramp to 5 % in 1 h, late", onset=Onset.LATE, after=0.05, ramp_s=3600.0),
    Scenario(name="flapping 5 s in 60, late", onset=Onset.LATE, after=1.0, flap_s=5.0, flap_every_s=60.0),
    Scenario(name="flapping 5 s in 300, late", onset=Onset.LATE, after=1.0, flap_s=5.0, flap_every_s=300.0),
)
CONTROLS: Final = (0.5, 1.0, 5.0, 50.0)
"""Requests a second of the control in an outage that both share."""
SPLITS: Final = {"50:50": 1.0, "90:10": 9.0}
"""How much more the new revision has."""
SPAN_S: Final = 4 * 3600.0
WITHIN_S: Final = (3600.0, 2 * 3600.0)
"""Only these hours are played, and the outage begins between those: what else happens in a day is told above."""
SHARED: Final = tuple(
    Scenario(
        name=f"{100 * share:g} % for {minutes:g} min on both, split {split}",
        shared_share=share,
        shared_s=60.0 * minutes,
        span_s=SPAN_S,
        late_s=WITHIN_S,
        rates=tuple(times * c for c in CONTROLS),
        control_scale=1.0 / times,
    )
    for share, minutes in ((0.05, 30), (0.3, 10), (1.0, 2))
    for split, times in SPLITS.items()
)
GUILTY: Final = tuple(
    Scenario(
        name=f"{100 * after:g} % late on the new one, split {split}",
        onset=Onset.LATE,
        after=after,
        span_s=SPAN_S,
        late_s=WITHIN_S,
        rates=tuple(times * c for c in CONTROLS),
        control_scale=1.0 / times,
    )
    for after in (0.03, 0.06, 1.0)
    for split, times in SPLITS.items()
)
"""What the veto must not hold up."""


def is_step(scenario: Scenario) -> bool:
    """Whether its bound is known: the share jumps once and stays."""
    return not scenario.is_null and scenario.ramp_s == 0.0 and scenario.flap_s == 0.0
