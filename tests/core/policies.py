"""Policies for tests: the design's own example, word for word, and small ones to break."""

from collections.abc import Mapping
from typing import Any

from watchdog.core.policy_build import Built, build_policy

DESIGN_EXAMPLE = """\
version: 1
service:
  project: barq-fleet
  region: us-central1                            # or regions: [..], one release watched in several regions
  name: barq-fleet-api
  url: https://api.barqfleet.com                 # default: the URL that Cloud Run reports
  discover_every: 10s
  metrics_every: 60s                             # how often metric sources are asked
windows:                                         # a window may override `confirm`
  immediate:  {until: 15m, probe_every: 5s}
  short_term: {until: 60m, probe_every: 15s, confirm: {failures: 10}}
  extended:   {until: 24h, probe_every: 60s, confirm: {failures: 20}}
probes:
  health: {path: /health,              expect: {status: 200, json: {status: healthy}}, timeout: 3s}
  ready:  {path: /api/v1/health/ready, expect: {status: 200, json: {status: ready}},   timeout: 3s}
  live:   {path: /api/v1/health/live,  expect: {status: 200, json: {status: alive}},   timeout: 3s}
metrics:
  error_rate:   {source: cloud_run}            # built-ins for Cloud Run, Cloud SQL and Memorystore
  database_cpu: {source: cloud_sql, instance: barq-fleet-db}
  queue_depth:  {source: prometheus, query: 'sum(queue_depth)', unit: count}
success_criteria:                                # Metric | Target | Action if failed
  - {metric: error_rate,   target: "< 1%",     action: rollback}
  - {metric: p95_latency,  target: "< 500ms",  action: investigate}
  - {metric: health_check, target: "100%",     action: rollback}
window_criteria:
  short_term:
    - {metric: error_rate,  target: "< 0.1%",  action: investigate}
    - {metric: p50_latency, target: "< 1.5x before", action: investigate}
alert_thresholds:                                # Alert | Warning | Critical | Action
  - {metric: error_rate,   warning: "> 0.5%",  critical: "> 2%",    action: [investigate, rollback]}
  - {metric: cpu_usage,    warning: "> 70%",   critical: "> 90%",   action: scale_up}
confirm: {failures: 5, every: 1s}                # how a failing probe is confirmed
rollback:
  mode: automatic            # automatic | approve (a person confirms) | observe (say what would be done)
  warm: 5s                   # bounds: warming the target, routing settling, probes that prove recovery
  settle: 5s
  verify_probes: 3
  trial: 20%                 # or off
  cooldown: 10m
  per_day: 3
  immediately_if:
    - "error_rate > 5%"
    - "health_check failing"
    - signal: critical_functionality_broken
    - signal: database_corruption
    - signal: security_vulnerability
"""

MINIMAL: Mapping[str, Any] = {
    "version": 1,
    "service": {"project": "barq-fleet", "region": "us-central1", "name": "barq-fleet-api"},
    "probes": {"health": {"path": "/health"}},
}


def build(**changes: Any) -> Built:
    """The minimal policy with other top-level keys; a value of None removes one."""
    merged = {**MINIMAL, **changes}
    return build_policy({key: value for key, value in merged.items() if value is not None})


def problems(**changes: Any) -> list[tuple[str, str]]:
    """What is wrong with it: dotted path and message."""
    built = build(**changes)
    assert (built.policy is None) == bool(built.problems)
    return [(".".join(map(str, found.path)), found.message) for found in built.problems]
