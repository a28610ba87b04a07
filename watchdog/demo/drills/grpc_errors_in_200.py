"""A release fails its gRPC calls, and Cloud Run counts every one of them as 200."""

from watchdog.demo import noise_days
from watchdog.demo.drill import Cloud, Drill, Expect
from watchdog.demo.stage import Stage

CALLS = {
    "who": "apps",
    "grpc": True,
    "user_agent": "grpc-java-okhttp/1.66.0",
    "routes": {"/fleet.v1.Couriers/List": 3.0, "/fleet.v1.Assignments/Accept": 1.0},
}


async def _before(stage: Stage) -> None:
    await stage.load(15.0, **CALLS)
    await stage.pass_time(60.0)


async def _play(stage: Stage) -> None:
    after_s = stage.vary(15.0, 12.0, 60.0)
    code = stage.pick(14, 13, 2, 4)
    await stage.deploy(
        "v2", {"kind": "grpc", "grpc_status": code, "share": stage.vary(0.3, 0.2, 1.0), "after_s": after_s}
    )
    await stage.pass_time(after_s)
    stage.fault_now()
    line = await noise_days.told(stage, "v2", "Investigate")
    stage.check("the line", line, "grpc_error_rate", "calls", "request_log")


DRILL = Drill(
    name="grpc-errors-in-200",
    title="gRPC calls fail, inside HTTP 200",
    day="A release cannot reach its backend: three gRPC calls of ten end UNAVAILABLE. The status stands in a trailer, "
    "so the load balancer, the request log and Cloud Run's own metrics say 200 of each.",
    others="Everything that counts HTTP status is green. Tools with gRPC health checks ask one method, which works.",
    ours="Read the line that the application logs of each call, beside the request log and within seconds, and compare "
    "with before the deploy. Where none is logged, say so; a log-based metric can take its place.",
    expect=Expect(outcomes={"v2": "open"}, serving={"v2": 100}, writes=0),
    play=_play,
    set_up=_before,
    policy={"alert_thresholds": [{"metric": "grpc_error_rate", "warning": "> 3x before"}]},
    cloud=Cloud(load_per_s=5.0, sample_period_s=60.0, ingest_delay_s=180.0),
    within_s=240.0,
)
