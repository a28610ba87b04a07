"""What holds for every test: no task is left behind, no loop is blocked, and CI repeats itself and skips nothing."""

import asyncio
import inspect
import os
from collections.abc import AsyncIterator, Iterator

import pytest
from blockbuster import BlockBuster
from hypothesis import HealthCheck, settings

IN_CI = os.environ.get("CI") == "true"

MAY_BE_ABSENT = ("gcloud",)
"""Tools without which CI may go on, since no package registry has them. A skip names its tool first (`needs.tool`)."""

# No deadlines: two cores are shared with whatever else runs. In CI the examples are the same in every run; elsewhere
# each run looks for new ones.
settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if IN_CI else "dev")

STALLS_THE_LOOP = ("time.sleep", "sqlite3.", "socket.socket.", "ssl.")
"""What our code may never do on an event loop's thread. Blockbuster knows more (path look-ups, locks, files), which
libraries do for microseconds, on import and while they are torn down: that would only be noise."""


NATIVE_TASKS_END_WITHIN_S = 10.0
"""A task of a compiled library that still runs after this was left behind too."""


class Skips:
    """Remembers why tests were skipped, in the process that gives the exit code (xdist sends it every report)."""

    def __init__(self) -> None:
        self.forbidden: list[str] = []

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith(MAY_BE_ABSENT):
            self.forbidden.append(f"{report.nodeid}: {reason}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.forbidden:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.forbidden:
            terminalreporter.section("skipped, which CI forbids", red=True)
            for line in self.forbidden:
                terminalreporter.line(line)


def pytest_configure(config: pytest.Config) -> None:
    # Says "there is no loop" from the start. looptime asks for the current one around every synchronous test; the first
    # such question would make a loop that nobody closes, which fails some later test with a ResourceWarning.
    asyncio.set_event_loop(None)
    if IN_CI and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Skips(), "skips")


@pytest.fixture(scope="session", autouse=True)
def no_blocking_call() -> Iterator[None]:
    """While one coroutine blocks, no probe of any watch runs: a call of ours that would do so fails its test."""
    guards = [guard for name, guard in BlockBuster("watchdog").functions.items() if name.startswith(STALLS_THE_LOOP)]
    for guard in guards:
        guard.activate()
    yield
    for guard in guards:
        guard.deactivate()


@pytest.fixture
async def _task_census() -> AsyncIterator[None]:
    """Set up before and torn down after every other fixture of an asynchronous test, on the test's own loop."""
    before = asyncio.all_tasks()
    yield
    left: set[asyncio.Task[object]] = set()
    for _ in range(10):  # a task that has been cancelled or has just finished gets its last turns
        await asyncio.sleep(0)
        left = {task for task in asyncio.all_tasks() - before - {asyncio.current_task()} if not task.done()}
        if not left:
            return
    if native := {task for task in left if not inspect.iscoroutine(task.get_coro())}:
        # Compiled code's own (gRPC's calls): they end when its completion thread has been given the processor, which no
        # number of turns of this loop says anything about.
        left -= (await asyncio.wait(native, timeout=NATIVE_TASKS_END_WITHIN_S))[0]
        if not left:
            return
    names = ", ".join(sorted(f"{task.get_name()} ({_origin(task)})" for task in left))
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    pytest.fail(f"left running: {names}")


@pytest.fixture(autouse=True)
def no_task_left_behind(request: pytest.FixtureRequest) -> None:
    """Whoever starts a task ends it: a forgotten one would go on probing, or hide its own failure."""
    if inspect.iscoroutinefunction(getattr(request.node, "function", None)):
        request.getfixturevalue("_task_census")


def _origin(task: asyncio.Task[object]) -> str:
    """The coroutine's name, asked before it ends: a compiled one forgets it then."""
    return getattr(task.get_coro(), "__qualname__", repr(task.get_coro()))
