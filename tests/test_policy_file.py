"""The policy file: whatever is in it, a person gets a policy or every mistake with its file, line and key."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.policies import DESIGN_EXAMPLE
from watchdog.core.model import Action, Row, Window
from watchdog.core.policy import Policy
from watchdog.errors import ConfigError
from watchdog.policy_file import LARGEST_BYTES, LoadedPolicy, load_policy, parse_policy, schema_text

ROOT = Path(__file__).parent.parent
BARQ = ROOT / "config" / "barq-fleet.yaml"
NAME = Path("config/x.yaml")


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_policy(text, NAME)
    return list(caught.value.problems)


# --- the shipped policy -------------------------------------------------------------------------------------------


def shipped() -> LoadedPolicy:
    return load_policy(BARQ)


def table(prefix: str) -> list[tuple[str, str, str]]:
    """Metric, condition as written, and action of the rows whose id begins with this."""
    rows: list[Row] = [r for r in shipped().policy.rows if r.id.startswith(prefix)]
    return [(r.metric, r.condition.text if r.condition else "failing", r.action) for r in rows]


def test_the_shipped_policy_holds_every_success_criterion_of_the_checklist() -> None:
    assert table("success.") == [
        ("error_rate", "< 1%", Action.ROLLBACK),
        ("p95_latency", "< 500ms", Action.INVESTIGATE),
        ("p99_latency", "< 1000ms", Action.INVESTIGATE),
        ("health_check", "100%", Action.ROLLBACK),
        ("database_cpu", "< 70%", Action.SCALE_UP),
        ("memory_usage", "< 80%", Action.SCALE_UP),
    ]


def test_the_shipped_policy_holds_every_alert_threshold_of_the_checklist() -> None:
    assert table("alert.") == [
        ("error_rate", "> 0.5%", Action.INVESTIGATE),
        ("error_rate", "> 2%", Action.ROLLBACK),
        ("p95_latency", "> 300ms", Action.INVESTIGATE),
        ("p95_latency", "> 1000ms", Action.INVESTIGATE),
        ("cpu_usage", "> 70%", Action.SCALE_UP),
        ("cpu_usage", "> 90%", Action.SCALE_UP),
        ("memory_usage", "> 75%", Action.SCALE_UP),
        ("memory_usage", "> 90%", Action.INVESTIGATE),
        ("db_connections", "> 80%", Action.SCALE_UP),
        ("db_connections", "> 95%", Action.SCALE_UP),
        ("redis_memory", "> 70%", Action.SCALE_UP),
        ("redis_memory", "> 85%", Action.INVESTIGATE),
    ]


def test_the_shipped_policy_holds_the_short_term_criteria_and_when_to_rollback() -> None:
    assert table("window.short_term.") == [
        ("journeys", "100%", Action.INVESTIGATE),
        ("error_rate", "< 0.1%", Action.INVESTIGATE),
        ("p95_latency", "< 200ms", Action.INVESTIGATE),
    ]
    assert table("immediate.") == [
        ("error_rate", "> 5%", Action.ROLLBACK),
        ("health_check", "failing", Action.ROLLBACK),
    ]
    assert shipped().policy.signals == {
        "critical_functionality_broken",
        "database_corruption",
        "security_vulnerability",
    }
    assert set(shipped().policy.journeys) == {
        f"journey.{name}" for name in ("login", "courier", "vehicle", "assignment", "attendance")
    }
    assert set(shipped().policy.signoffs) == {"user_reported_issues", "user_feedback"}


def test_the_shipped_policy_probes_what_the_checklist_probes_in_its_three_windows() -> None:
    policy = shipped().policy

    assert [(p.path, p.expect.json_subset) for p in policy.probes.values()] == [
        ("/health", {"status": "healthy"}),
        ("/api/v1/health/ready", {"status": "ready"}),
        ("/api/v1/health/live", {"status": "alive"}),
    ]
    assert [(w.window, w.until_s) for w in policy.windows] == [
        (Window.IMMEDIATE, 900),
        (Window.SHORT_TERM, 3600),
        (Window.EXTENDED, 86_400),
    ]


def test_the_shipped_policy_only_warns_of_metrics_that_have_no_source_yet() -> None:
    loaded = shipped()

    pending = {m.name for m in loaded.policy.metrics.values() if m.pending}
    assert len(loaded.warnings) == len(pending)
    assert all(".source: is pending" in warning for warning in loaded.warnings)
    assert {r.metric for r in loaded.policy.rows if r.pending} <= pending


def test_the_wheel_and_the_checkout_hold_the_same_policy_and_schema() -> None:
    for name in ("barq-fleet.yaml", "policy.schema.json"):
        assert (ROOT / "config" / name).resolve() == (ROOT / "watchdog" / "data" / name).resolve()


def test_the_shipped_schema_is_up_to_date() -> None:
    """`python -m watchdog.policy_file --schema > watchdog/data/policy.schema.json` makes it so."""
    assert (ROOT / "watchdog" / "data" / "policy.schema.json").read_text(encoding="utf-8") == schema_text()


def test_the_schema_is_printed_by_the_module_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "watchdog.policy_file", "--schema"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=30,
    )

    assert done.stdout.decode("utf-8") == schema_text()


def test_the_schema_knows_the_keys_that_a_section_needs() -> None:
    schema = json.loads(schema_text())

    assert schema["required"] == ["version", "service"]
    assert schema["$defs"]["CriterionFile"]["required"] == ["metric", "target"]
    assert "journeys" in schema["properties"]
    assert "tag" in schema["$defs"]["RollbackFile"]["properties"]
    assert "json" in schema["$defs"]["ExpectFile"]["properties"]
    assert not schema["additionalProperties"]


# --- where a mistake is -------------------------------------------------------------------------------------------


def test_the_designs_example_loads_word_for_word() -> None:
    loaded = parse_policy(DESIGN_EXAMPLE, NAME)

    assert len(loaded.policy.rows) == 11
    assert loaded.warnings == ()


def test_every_mistake_comes_with_file_line_key_and_suggestion_in_the_order_of_the_file() -> None:
    text = DESIGN_EXAMPLE.replace("probe_every: 15s", "probe_evry: 15s").replace('"< 1%", ', '"< 1 %%", ')
    text = text.replace("mode: automatic ", "mode: aprove ")

    assert mistakes(text) == [
        'config/x.yaml:11: windows.short_term.probe_evry: unknown key; did you mean "probe_every"?',
        'config/x.yaml:22: success_criteria[0].target: error_rate: "< 1 %%": "%%" is not a unit; did you mean "< 1%"?',
        'config/x.yaml:34: rollback.mode: "aprove" is not one of automatic, approve, observe; did you mean "approve"?',
    ]


def test_a_key_written_twice_is_found_at_the_second_place() -> None:
    text = DESIGN_EXAMPLE + "confirm: {failures: 3}\n"

    assert mistakes(text) == ["config/x.yaml:47: confirm: is written twice; the first is in line 32"]


def test_a_missing_key_is_found_where_its_section_begins() -> None:
    text = DESIGN_EXAMPLE.replace("  project: barq-fleet\n", "")

    assert mistakes(text) == ["config/x.yaml:2: service.project: is missing; write for example project: barq-fleet"]


BLOCK = yaml.safe_dump(yaml.safe_load(DESIGN_EXAMPLE), sort_keys=False)
"""The example with one key a line."""
FREE = {"health", "ready", "live", "error_rate", "database_cpu", "queue_depth", "status", "json"}
"""Keys that a team chooses itself, or that stand in a JSON body."""
KEY_LINES = [
    number
    for number, line in enumerate(BLOCK.splitlines(), 1)
    if (found := re.match(r"\s*(?:- )?(\w+):", line)) and found[1] not in FREE
]


@settings(max_examples=60)
@given(st.sampled_from(KEY_LINES))
def test_a_misspelt_key_is_found_in_its_own_line_whichever_it_is(number: int) -> None:
    lines = BLOCK.splitlines()
    lines[number - 1] = re.sub(r"(\w+):", r"zz\1zz:", lines[number - 1], count=1)

    found = mistakes("\n".join(lines))

    assert any(f.startswith(f"config/x.yaml:{number}: ") and "unknown" in f for f in found), found


# --- YAML ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, line, said",
    [
        ("", 1, "is empty"),
        ("# nothing\n\n", 1, "is empty"),
        ("- a\n- b\n", 1, "a list stands where a policy belongs"),
        ("policy\n", 1, '"policy" stands where a policy belongs'),
        ("version: 1\n\tservice: x\n", 2, "use spaces"),
        ("version: 1\nservice: {\n", 3, "is not YAML"),
        ("version: 1\nx: [a\ny: b\n", 3, "is not YAML"),
        ("version: 1\nx: > 5%\n", 2, "needs quotes"),
        ("version: 1\nx: {a: > 5%}\n", 2, "needs quotes"),
        ("version: 1\nx: %a\n", 2, "needs quotes"),
        ("version: 1\n--- \nversion: 1\n", 2, "one file holds one policy"),
        ("version: 1\nx: *nobody\n", 2, "needs quotes"),
        ('version: 1\nx: "\x00"\n', 2, "does not allow"),
        ("version: 1\nservice: !!python/object:os.system {}\n", 2, "has no meaning here"),
        ("version: 1\nservice: !mine x\n", 2, "has no meaning here"),
        ("version: 1\nx: &a {b: 1}\nservice:\n  <<: *a\n", 4, "write the keys out"),
        ("version: 1\n? [a, b]\n: c\n", 2, "one word"),
        ("version: 1\nper: .nan\n", 2, "not a number"),
        ("version: 1\nper: -.inf\n", 2, "not a number"),
        ("version: 1\nper: " + "9" * 5000 + "\n", 2, "more digits"),
        ('version: 1\nx: "\\ud800"\n', 2, "half of a character"),
    ],
)
def test_what_is_no_yaml_of_ours_is_told_with_its_line(text: str, line: int, said: str) -> None:
    found = mistakes(text)

    assert any(f.startswith(f"config/x.yaml:{line}: ") and said in f for f in found), found


@pytest.mark.parametrize(
    "text, said",
    [
        ("a: " + "[" * 1500, "nested too deeply"),
        ("a: " + "[" * 100 + "]" * 100, "levels deep"),
        ("a: &a [*a]", "levels deep"),
        ('a: "\\UFFFFFFFF"', "does not exist"),
        (
            "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]\n" for n in range(9)),
            "too many values",
        ),
    ],
)
def test_files_made_to_exhaust_the_reader_are_refused(text: str, said: str) -> None:
    assert said in mistakes(text)[0]


def test_anchors_that_are_used_as_plain_values_are_read() -> None:
    text = DESIGN_EXAMPLE.replace("timeout: 3s", "timeout: &t 3s", 1).replace("timeout: 3s", "timeout: *t")

    assert {p.timeout_s for p in parse_policy(text, NAME).policy.probes.values()} == {3}


@pytest.mark.parametrize("tagged", ["!!int many", "!!bool maybe", "!!float one"])
def test_a_value_that_is_not_what_its_tag_says_is_text(tagged: str) -> None:
    found = mistakes(DESIGN_EXAMPLE.replace("per_day: 3", f"per_day: {tagged}"))

    assert found == [f'config/x.yaml:40: rollback.per_day: "{tagged.split()[1]}" is not a whole number']


def test_words_that_yaml_reads_as_other_things_are_keys_and_texts_where_those_are_meant() -> None:
    text = DESIGN_EXAMPLE.replace("trial: 20%  ", "trial: off  ").replace(
        "{status: healthy}", "{on: 2025-11-23, n: null}"
    )

    policy = parse_policy(text, NAME).policy

    assert policy.rollback.trial is None
    assert policy.probes["health"].expect.json_subset == {"on": "2025-11-23", "n": None}


# --- files --------------------------------------------------------------------------------------------------------


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_policy(path)
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.yaml").startswith(f"{tmp_path}/none.yaml: cannot be read: No such file")
    assert "Is a directory" in refused(tmp_path)
    assert "null byte" in refused(Path("a\x00b"))


def test_a_file_that_is_not_utf8_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("version: 1\n# grün\n".encode("latin-1"))

    assert refused(path) == f"{path}:2: is not UTF-8 (byte 0xfc); save the file as UTF-8"


def test_a_file_too_large_for_a_policy_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(b"#" * (LARGEST_BYTES + 1))

    assert "is this the right file" in refused(path)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "windows.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + DESIGN_EXAMPLE.replace("\n", "\r\n").encode())

    assert load_policy(path).policy == parse_policy(DESIGN_EXAMPLE, path).policy


# --- whatever comes -----------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        *("&a ", "*a", "!!python/object:os.system ", "!!binary x", "\t", "<<: *a", "%", '"', "'", "\x00", ".nan"),
        *("1e400", "9" * 60, ": ", "- ", "[", "{", "}", "]", "\n", "---\n", '"\\ud800"', '"\\UFFFFFFFF"'),
        *("? [a]\n: b\n", "0o17", "1:30", "2025-13-45", "~", "off", "true", "100%", "< 1%", "> 5%", "!!set {a}"),
        *("!!int x", "!!float x", "0x_", "!<", "\x85", "\u2028", "\ufeff", "|\n  x", "> x", "@", "=", "\\"),
        *("!!bool x", "!!timestamp x", "-", "#", " "),
    ]
)


@st.composite
def mutilated(draw: st.DrawFn) -> str:
    text = DESIGN_EXAMPLE
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        text = text[:start] + draw(PIECES | st.just("") | st.text(max_size=3)) + text[end:]
    return text


@settings(max_examples=200)
@given(mutilated())
def test_any_text_gives_a_policy_or_mistakes_that_stand_in_the_file(text: str) -> None:
    found: tuple[str, ...] = ()
    try:
        policy = parse_policy(text, NAME).policy
    except ConfigError as error:
        found = tuple(error.problems)
    else:
        assert Policy.from_canonical(policy.canonical()) == policy
        return
    lines = re.split(r"\r\n|[\r\n\x85\u2028\u2029]", text)
    assert found
    for problem in found:
        placed = re.fullmatch(r"config/x\.yaml(?::(\d+))?: .+", problem)
        assert placed, problem
        assert 1 <= int(placed[1] or 1) <= len(lines)
        assert problem.encode("utf-8")
