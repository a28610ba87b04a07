"""`watchdog replay`: evidence from a file, judged in virtual time."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchdog.cli.exits import INTERNAL, OF_OUTCOME, UNVERIFIED
from watchdog.cli.options import echo_json, json_option

if TYPE_CHECKING:
    from watchdog.core.policy import Policy
    from watchdog.engine.replay import Judgement
    from watchdog.engine.replay_journal import Journal

LARGEST_BYTES = 512 * 1024 * 1024
SQLITE = b"SQLite format 3\x00"


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="The policy to judge by. Default: a journal's own, else WATCHDOG_CONFIG.",
)
@click.option("--watch", "watch_id", metavar="ID", help="Which watch, where FILE is a watchdog's SQLite database.")
@json_option
def replay(file: Path, config: Path | None, watch_id: str | None, *, as_json: bool) -> int:
    """Judge recorded evidence in virtual time: what would have been decided, and when?

    FILE is one of

    \b
    - a table (CSV) with the header
        start_s,end_s,seen_s,check,bad,total,value,missing
      one row a sample over [start_s, end_s), seconds since the cutover, rows
      in any order. seen_s is when it was seen (empty: at end_s). Counts fill
      bad and total, gauges value (shares as 0.85, times in seconds), missing
      holds a reason. check is a metric of the policy, health_check (every
      critical probe), probe.NAME or NAME.
    - a watch's journal, as GET /api/v1/watches/ID/events answers it: JSON
      lines or a list; or the whole report, GET .../report?format=json
    - a watchdog's SQLite database, with --watch ID
    - a dash: a table or a journal from standard input

    A table is judged without a control and without cold start; rows up to 10 s
    wide count as 10 s late, wider ones as 180 s. Rollbacks are supposed to
    succeed; in observe and approve mode nobody acts, as it would be live.

    A journal is judged by the policy that it carries, and has to give the very
    decisions of the live watch. With another policy in --config it says what
    that one would have decided on the evidence there is.

    \b
    Exit codes: 0 passed, 10 rolled back, 11 failed, 12 superseded or
    overridden, 13 unverified, 2 the file or the policy is not understood,
    1 a journal whose decisions are not reproduced.
    Example: watchdog replay outage.csv --config config/barq-fleet.yaml
    """  # noqa: D301 - click's mark for lines that it must not wrap
    raw = _read(file)
    teller = _Teller(as_json)
    if raw.startswith(SQLITE):
        return _judge_journal(_stored(file, watch_id), config, teller)
    if watch_id is not None:
        raise click.UsageError(f"--watch is for a SQLite database, which {file} is not.")
    text = _decoded(raw, file)

    from watchdog.engine.replay_journal import looks_like_json, read_journal  # noqa: PLC0415 - only now needed

    if looks_like_json(text):
        return _judge_journal(read_journal(text, str(file)), config, teller)
    return _judge_table(text, file, config, teller)


# --- what is judged -----------------------------------------------------------------------------------------------


def _judge_table(text: str, file: Path, config: Path | None, teller: "_Teller") -> int:
    from watchdog.engine.replay import batches, judge, opening_of  # noqa: PLC0415
    from watchdog.engine.replay_csv import read_csv  # noqa: PLC0415

    policy = _policy(config)
    if policy is None:
        raise click.UsageError("a table is judged by a policy: name one with --config FILE or in WATCHDOG_CONFIG.")
    evidence = read_csv(text, str(file), policy)
    for warning in evidence.warnings:
        click.echo(f"warning: {warning}", err=True)
    ends_s = evidence.last_s if evidence.last_s < policy.watch_s else None
    teller.begin(f"{evidence.rows} rows", policy.watch_s if ends_s is None else ends_s, policy.hash)
    judged = judge(opening_of(policy, ends_s=ends_s), batches(evidence.samples))
    return teller.tell(judged)


def _judge_journal(journal: "Journal", config: Path | None, teller: "_Teller") -> int:
    from watchdog.engine.replay import judge, refold  # noqa: PLC0415
    from watchdog.engine.replay_journal import differences  # noqa: PLC0415
    from watchdog.engine.replay_policy import under  # noqa: PLC0415

    policy = None if config is None else _policy(config)  # WATCHDOG_CONFIG is what the next watch will be judged by
    opening, events = journal.opening, journal.events
    lasted = (events[-1].at if events else opening.at) - opening.at
    if policy is not None and not journal.is_under(policy):
        teller.begin(
            f"{len(events) + 1} records", lasted, f"{policy.hash}, not the journal's own {opening.policy_hash}"
        )
        return teller.tell(judge(*under(policy, opening, events)))
    teller.begin(f"{len(events) + 1} records", lasted, opening.policy_hash)
    judged = refold(opening, events)
    found = differences(journal, judged)
    teller.compare(found, whole=journal.shown is not None)
    code = teller.tell(judged)
    return INTERNAL if found else code


def _policy(config: Path | None) -> "Policy | None":
    """The policy of `--config`, else the one of the environment; None where neither names one."""
    from watchdog.policy_file import load_policy  # noqa: PLC0415

    if config is None:
        from watchdog.cli.common import settings_of_environment  # noqa: PLC0415

        paths = settings_of_environment().config
        if len(paths) > 1:
            raise click.UsageError("WATCHDOG_CONFIG names several policies: say with --config which one to judge by.")
        if not paths:
            return None
        config = paths[0]
    loaded = load_policy(config)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    return loaded.policy


# --- where it comes from ------------------------------------------------------------------------------------------


def _read(file: Path) -> bytes:
    from watchdog.errors import ConfigError  # noqa: PLC0415

    try:
        with click.open_file(str(file), "rb") as opened:
            raw: bytes = opened.read(len(SQLITE))
            if raw != SQLITE:
                raw += opened.read(LARGEST_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"{file}: cannot be read: {reason}") from None
    if len(raw) > LARGEST_BYTES:
        raise ConfigError(f"{file}: is longer than {LARGEST_BYTES // 1024**2} MB; is this the right file?")
    return raw


def _decoded(raw: bytes, file: Path) -> str:
    from watchdog.errors import ConfigError  # noqa: PLC0415

    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ConfigError(f"{file}:{line}: is not UTF-8 (byte 0x{raw[error.start]:02x}); save it as UTF-8") from None


def _stored(file: Path, watch_id: str | None) -> "Journal":
    """A watch's journal from a database file."""
    from watchdog.cli.local import opened, watch_in  # noqa: PLC0415
    from watchdog.engine.replay_journal import journal_of  # noqa: PLC0415
    from watchdog.errors import ConfigError, PermanentError  # noqa: PLC0415
    from watchdog.telemetry import configure_logging  # noqa: PLC0415

    if str(file) == "-":
        raise click.UsageError("a database has to be a file: it cannot be read from standard input.")
    if watch_id is None:
        raise click.UsageError(f"{file} is a database: say with --watch ID which watch to replay (`watchdog history`).")

    configure_logging(level=logging.WARNING)
    url = f"sqlite:///{file.absolute()}"

    async def read() -> "Journal":
        async with opened(url) as store:
            try:
                row = await watch_in(store, watch_id, ended=True)
            except PermanentError as error:  # a watch that is not there failed in nothing
                raise ConfigError(f"--watch: {error}") from None
            records = [record async for record in store.read(f"watch/{row.id}")]
            return journal_of(records, f"watch {row.id} in {file}", row.view)

    return asyncio.run(read())


# --- what is said -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Teller:
    """Prints what was found, for people or for programs."""

    as_json: bool

    def begin(self, what: str, lasted_s: float, policy: str) -> None:
        """What is about to be judged."""
        from watchdog.core.report_text import span_text  # noqa: PLC0415

        if not self.as_json:
            click.echo(f"Judging {what} over {span_text(lasted_s)} under policy {policy}.")

    def compare(self, found: list[str], *, whole: bool) -> None:
        """Whether a journal's decisions are reproduced."""
        if self.as_json:
            echo_json({"event": "compared", "reproduced": not found, "differences": found})
        elif not found:
            what = "Every decision of the live watch was reproduced" if whole else "Every traffic write was reproduced"
            click.echo(f"{what}.")
        for difference in found:
            click.echo(f"error: not reproduced: {difference}", err=True)

    def tell(self, judged: "Judgement") -> int:
        """The decisions and the end; returns the outcome's exit code."""
        from watchdog.core.report_text import offset_text  # noqa: PLC0415

        for d in judged.decisions:
            at_s = _rounded(d.at_s)
            if self.as_json:
                found = {"action": d.action, "criterion": d.criterion, "reason": d.reason}
                echo_json({"event": "decision", "at_s": at_s, **found})
            else:
                click.echo(f"{offset_text(at_s, 0.0):>14}  {d.action.replace('_', ' ')}: {d.reason}")
        ending = _ending(judged)
        if self.as_json:
            echo_json({"event": "watch_ended", **ending})
        else:
            word = str(ending["outcome"]).replace("_", " ").upper()
            click.echo(f"{offset_text(ending['at_s'], 0.0):>14}  {word}: {ending['reason']}")
        return OF_OUTCOME[str(ending["outcome"])] if judged.outcome else UNVERIFIED


def _ending(judged: "Judgement") -> Mapping[str, Any]:
    at_s = _rounded(judged.ended_s)
    if judged.outcome is None:
        state = judged.watch.state.value.replace("_", " ")
        return {"at_s": at_s, "outcome": "unverified", "reason": f"The journal ends while the watch is open ({state})."}
    return {"at_s": at_s, "outcome": judged.outcome.value, "reason": judged.reason}


def _rounded(seconds: float) -> float:
    return round(seconds, 3) + 0.0
