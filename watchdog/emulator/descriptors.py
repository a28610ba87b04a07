"""What the emulator's Cloud Monitoring measures: one entry a metric, with labels, kinds and units of the real one.

Types, kinds, units and labels follow Google's metric list for `run.googleapis.com`. The bucket bounds are not part of a
descriptor; those below are what users saw in exported data:

* `request_latencies`: growth 1.1 from 10 ms. GitLab's Cloud Run dashboards pick the `le` values 19.48717100000001,
  74.00249944258171, 1067.1895716335973, 4052.650622296292, 27264.20685613271 and 32989.690295920576 from the exported
  histogram, which are 10 * 1.1**k for k = 7, 21, 49, 63, 83, 85 (gitlab-com/runbooks, runway archetype). The number of
  buckets was not published: 135 are enough for Cloud Run's longest request, one hour.
* `container/cpu/utilizations`, `container/memory/utilizations`: 100 steps of 0.01 from 0
  (prometheus-community/stackdriver_exporter issue 438: 102 buckets, `le` 0.00, 0.01, …).
* `container/max_request_concurrencies`: not published; steps of one up to Cloud Run's maximum of 1,000.

The label `route` is described but no series carries it: published answers of the managed service don't have it either.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from google.api.label_pb2 import LabelDescriptor
from google.api.launch_stage_pb2 import LaunchStage
from google.api.metric_pb2 import MetricDescriptor
from google.protobuf.duration_pb2 import Duration

from watchdog.emulator.distribution import Buckets

PREFIX = "run.googleapis.com/"
RESOURCE_TYPE = "cloud_run_revision"
RESOURCE_LABELS = ("project_id", "location", "service_name", "revision_name", "configuration_name")

LATENCY_BUCKETS = Buckets.exponential(finite=135, growth=1.1, scale=10.0)
SHARE_BUCKETS = Buckets.linear(finite=100, width=0.01, offset=0.0)
CONCURRENCY_BUCKETS = Buckets.linear(finite=1000, width=1.0, offset=0.0)


class Kind(StrEnum):
    """`google.api.MetricDescriptor.MetricKind`, as far as Cloud Run's metrics use it."""

    GAUGE = "GAUGE"
    DELTA = "DELTA"
    CUMULATIVE = "CUMULATIVE"


class ValueType(StrEnum):
    """`google.api.MetricDescriptor.ValueType`, as far as Cloud Run's metrics and their aggregates use it."""

    INT64 = "INT64"
    DOUBLE = "DOUBLE"
    DISTRIBUTION = "DISTRIBUTION"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric type."""

    type: str
    kind: Kind
    value_type: ValueType
    unit: str
    display_name: str
    description: str
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Label key → description; all of them are strings."""
    resource: str = RESOURCE_TYPE
    resource_labels: tuple[str, ...] = RESOURCE_LABELS
    from_container: bool = False
    """Written by the container agent, whose points arrive sooner (60 s) than those of the front end (180 s)."""


_CODE_LABELS = {
    "response_code": "Response code of a request.",
    "response_code_class": "Response code class of a request.",
    "route": "Route name that forwards a request.",
}
_STATE_LABEL = {"state": "State of the instance, one of [active, idle]."}

REQUEST_COUNT = Metric(
    type=PREFIX + "request_count",
    kind=Kind.DELTA,
    value_type=ValueType.INT64,
    unit="1",
    display_name="Request Count",
    description="Number of requests reaching the revision. Excludes requests that are not reaching your container "
    "instances (e.g. unauthorized requests or when maximum number of instances is reached).",
    labels=_CODE_LABELS,
)
REQUEST_LATENCIES = Metric(
    type=PREFIX + "request_latencies",
    kind=Kind.DELTA,
    value_type=ValueType.DISTRIBUTION,
    unit="ms",
    display_name="Request Latency",
    description="Distribution of request latency in milliseconds reaching the revision. Excludes container start up.",
    labels=_CODE_LABELS,
)
CPU_UTILIZATIONS = Metric(
    type=PREFIX + "container/cpu/utilizations",
    kind=Kind.DELTA,
    value_type=ValueType.DISTRIBUTION,
    unit="10^2.%",
    display_name="Container CPU Utilization",
    description="Container CPU utilization distribution across all container instances.",
    from_container=True,
)
MEMORY_UTILIZATIONS = Metric(
    type=PREFIX + "container/memory/utilizations",
    kind=Kind.DELTA,
    value_type=ValueType.DISTRIBUTION,
    unit="10^2.%",
    display_name="Container Memory Utilization",
    description="Container memory utilization distribution across all container instances.",
    from_container=True,
)
INSTANCE_COUNT = Metric(
    type=PREFIX + "container/instance_count",
    kind=Kind.GAUGE,
    value_type=ValueType.INT64,
    unit="1",
    display_name="Instance Count",
    description="Number of container instances that exist, broken down by state.",
    labels=_STATE_LABEL,
)
MAX_CONCURRENCIES = Metric(
    type=PREFIX + "container/max_request_concurrencies",
    kind=Kind.DELTA,
    value_type=ValueType.DISTRIBUTION,
    unit="1",
    display_name="Max Concurrent Requests",
    description="Distribution of the maximum number of concurrent requests being served by each container instance "
    "over a minute.",
    labels=_STATE_LABEL,
)

METRICS: Mapping[str, Metric] = {
    metric.type: metric
    for metric in (
        CPU_UTILIZATIONS,
        INSTANCE_COUNT,
        MAX_CONCURRENCIES,
        MEMORY_UTILIZATIONS,
        REQUEST_COUNT,
        REQUEST_LATENCIES,
    )
}
"""Cloud Run's own: metric type → metric, sorted by type, which is the order the descriptors are listed in."""


def describe(metric: Metric, *, project: str, sample_period_s: float, ingest_delay_s: float) -> MetricDescriptor:
    """The descriptor of `metric` in `project`, announcing the sampling period and the ingest delay that are kept."""
    return MetricDescriptor(
        name=f"projects/{project}/metricDescriptors/{metric.type}",
        type=metric.type,
        labels=[
            LabelDescriptor(key=key, value_type=LabelDescriptor.STRING, description=description)
            for key, description in metric.labels.items()
        ],
        metric_kind=MetricDescriptor.MetricKind.Value(metric.kind.value),
        value_type=MetricDescriptor.ValueType.Value(metric.value_type.value),
        unit=metric.unit,
        description=metric.description,
        display_name=metric.display_name,
        metadata=MetricDescriptor.MetricDescriptorMetadata(
            launch_stage=LaunchStage.GA,
            sample_period=duration(sample_period_s),
            ingest_delay=duration(ingest_delay_s),
        ),
        launch_stage=LaunchStage.GA,
        monitored_resource_types=[metric.resource],
    )


def duration(seconds: float) -> Duration:
    """`seconds` as a protobuf duration, to the microsecond."""
    result = Duration()
    result.FromMicroseconds(round(seconds * 1e6))
    return result
