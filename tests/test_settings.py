"""The environment is read as the README's table says, and every mistake in it is told at once."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from watchdog.errors import ConfigError
from watchdog.settings import Address, load_settings


def problems(environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_settings(environ)
    return list(caught.value.problems)


class TestDefaults:
    def test_an_empty_environment_is_a_good_one(self) -> None:
        settings = load_settings({})

        assert settings.config == ()
        assert settings.database_url.get_secret_value() == "sqlite:///./watchdog.db"
        assert settings.listen == Address("127.0.0.1", 8080)
        assert settings.url == "http://127.0.0.1:8080"
        assert settings.lease_ttl_s == 15.0
        assert settings.slack.api_url == "https://slack.com/api/"
        assert settings.pagerduty.events_url == "https://events.pagerduty.com"
        assert settings.cloud_run_emulator_host is None
        assert settings.warnings == ()

    def test_the_process_environment_is_not_read_behind_the_callers_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WATCHDOG_URL", "http://elsewhere:1")

        assert load_settings({}).url == "http://127.0.0.1:8080"

    def test_blank_variables_count_as_unset(self) -> None:
        assert load_settings({"WATCHDOG_SLACK__TOKEN": "  ", "WATCHDOG_LISTEN": ""}).slack.token is None


class TestEveryVariable:
    def test_all_of_them_are_read(self) -> None:
        settings = load_settings(
            {
                "WATCHDOG_CONFIG": "config/a.yaml, config/b.yaml",
                "WATCHDOG_DATABASE_URL": "postgresql://u:p@db/watchdog",
                "WATCHDOG_LISTEN": "0.0.0.0:9000",
                "WATCHDOG_URL": "https://watchdog.example.com",
                "WATCHDOG_API_TOKEN": "t0ken",
                "WATCHDOG_OIDC__AUDIENCE": "https://watchdog.example.com",
                "WATCHDOG_OIDC__EMAILS": "a@example.com,b@example.com",
                "WATCHDOG_SLACK__TOKEN": "xoxb-1",
                "WATCHDOG_SLACK__CHANNEL": "#deploys",
                "WATCHDOG_SLACK__SIGNING_SECRET": "sign",
                "WATCHDOG_SLACK__WEBHOOK_URL": "https://hooks.slack.com/services/T/B/x",
                "WATCHDOG_SLACK__API_URL": "http://127.0.0.1:1/api",
                "WATCHDOG_PAGERDUTY__ROUTING_KEY": "k1",
                "WATCHDOG_PAGERDUTY__ROUTING_KEYS__2": "k2",
                "WATCHDOG_PAGERDUTY__ROUTING_KEYS__4": "k4",
                "WATCHDOG_PAGERDUTY__WEBHOOK_SECRET": "hook",
                "WATCHDOG_PAGERDUTY__EVENTS_URL": "https://events.eu.pagerduty.com",
                "WATCHDOG_SMTP__URL": "smtp://u:p@mail:587",
                "WATCHDOG_SMTP__FROM": "watchdog@example.com",
                "WATCHDOG_SMTP__TO": "ops@example.com, lead@example.com",
                "WATCHDOG_LEASE_TTL": "30s",
                "CLOUD_RUN_EMULATOR_HOST": "127.0.0.1:1",
                "CLOUD_MONITORING_EMULATOR_HOST": "127.0.0.1:2",
                "CLOUD_LOGGING_EMULATOR_HOST": "[::1]:3",
            }
        )

        assert settings.config == (Path("config/a.yaml"), Path("config/b.yaml"))
        assert settings.database_url.get_secret_value() == "postgresql://u:p@db/watchdog"
        assert settings.listen == Address("0.0.0.0", 9000)
        assert settings.api_token == SecretStr("t0ken")
        assert settings.oidc.emails == ("a@example.com", "b@example.com")
        assert settings.slack.token == SecretStr("xoxb-1")
        assert settings.slack.channel == "#deploys"
        assert settings.pagerduty.routing_keys == {2: SecretStr("k2"), 4: SecretStr("k4")}
        assert settings.smtp.sender == "watchdog@example.com"
        assert settings.smtp.to == ("ops@example.com", "lead@example.com")
        assert settings.lease_ttl_s == 30.0
        assert settings.cloud_run_emulator_host == Address("127.0.0.1", 1)
        assert str(settings.cloud_logging_emulator_host) == "[::1]:3"
        assert settings.warnings == ()

    def test_no_secret_shows_when_settings_are_printed(self) -> None:
        settings = load_settings(
            {
                "WATCHDOG_DATABASE_URL": "postgresql://u:S3CRET-a@db/watchdog",
                "WATCHDOG_API_TOKEN": "S3CRET-b",
                "WATCHDOG_SLACK__TOKEN": "S3CRET-c",
                "WATCHDOG_SLACK__CHANNEL": "c",
                "WATCHDOG_SLACK__SIGNING_SECRET": "S3CRET-d",
                "WATCHDOG_SLACK__WEBHOOK_URL": "https://hooks.slack.com/S3CRET-e",
                "WATCHDOG_PAGERDUTY__ROUTING_KEY": "S3CRET-f",
                "WATCHDOG_PAGERDUTY__ROUTING_KEYS__2": "S3CRET-g",
                "WATCHDOG_PAGERDUTY__WEBHOOK_SECRET": "S3CRET-h",
                "WATCHDOG_SMTP__URL": "smtp://u:S3CRET-i@mail",
                "WATCHDOG_SMTP__FROM": "a@b",
                "WATCHDOG_SMTP__TO": "a@b",
            }
        )

        assert "S3CRET" not in repr(settings)
        assert "S3CRET" not in settings.model_dump_json()
        assert {f"S3CRET-{letter}" for letter in "abcdfghi"} <= set(settings.secrets())
        assert "https://hooks.slack.com/S3CRET-e" in settings.secrets()
        assert load_settings({}).secrets() == ()


class TestMistakes:
    def test_all_are_told_at_once_each_with_its_variable(self) -> None:
        found = problems(
            {
                "WATCHDOG_LISTEN": "8080",
                "WATCHDOG_URL": "watchdog.example.com",
                "WATCHDOG_DATABASE_URL": "mysql://x",
                "WATCHDOG_LEASE_TTL": "soon",
                "WATCHDOG_SLACK__API_URL": "slack.com/api",
                "WATCHDOG_SLACK__TOKEN": "xoxb-1",
                "WATCHDOG_PAGERDUTY__ROUTING_KEYS__2": "k2",
                "WATCHDOG_SMTP__URL": "mail:587",
                "CLOUD_RUN_EMULATOR_HOST": "http://127.0.0.1:8080",
            }
        )

        told = "\n".join(found)
        for name in (
            "WATCHDOG_LISTEN: '8080' has no port",
            "WATCHDOG_URL: not an http",
            "WATCHDOG_DATABASE_URL: not a database",
            "WATCHDOG_LEASE_TTL: 'soon' is not a duration",
            "WATCHDOG_SLACK__API_URL: not an http",
            "WATCHDOG_SLACK__CHANNEL is missing",
            "WATCHDOG_PAGERDUTY__ROUTING_KEY is missing",
            "WATCHDOG_SMTP__URL: not a mail server",
            "WATCHDOG_SMTP__FROM is missing",
            "CLOUD_RUN_EMULATOR_HOST: 'http://127.0.0.1:8080' is not host:port; leave out the scheme",
        ):
            assert name in told
        assert len(found) == 11

    @pytest.mark.parametrize("ttl", ["0", "-3", "2h", "0.5s", "100m"])
    def test_a_lease_must_last_between_a_second_and_an_hour(self, ttl: str) -> None:
        [problem] = problems({"WATCHDOG_LEASE_TTL": ttl})

        assert problem.startswith("WATCHDOG_LEASE_TTL: ")

    def test_a_wrong_secret_is_never_repeated(self) -> None:
        told = "\n".join(
            problems(
                {
                    "WATCHDOG_API_TOKEN": "S3CRET one two",
                    "WATCHDOG_SLACK__WEBHOOK_URL": "hooks.slack.com/services/S3CRET",
                    "WATCHDOG_DATABASE_URL": "mysql://u:S3CRET@db",
                    "WATCHDOG_SMTP__URL": "u:S3CRET@mail",
                    "WATCHDOG_SMTP__FROM": "a@b",
                    "WATCHDOG_SMTP__TO": "a@b",
                }
            )
        )

        assert "WATCHDOG_API_TOKEN" in told
        assert "S3CRET" not in told

    def test_unknown_variables_are_warned_about_with_a_suggestion(self) -> None:
        settings = load_settings(
            {"WATCHDOG_SLACK__TOKN": "x", "WATCHDOG_COLOUR": "red", "WATCHDOG_SLACK": "{}", "PATH": "/bin"}
        )

        told = "\n".join(settings.warnings)
        assert (
            "WATCHDOG_SLACK__TOKN is not a variable of ours and is ignored; did you mean WATCHDOG_SLACK__TOKEN?" in told
        )
        assert "WATCHDOG_COLOUR is not a variable of ours" in told
        assert "WATCHDOG_SLACK is not" in told
        assert len(settings.warnings) == 3

    def test_what_kubernetes_adds_beside_a_service_named_watchdog_is_no_mistake(self) -> None:
        settings = load_settings(
            {
                "WATCHDOG_SERVICE_HOST": "10.0.0.1",
                "WATCHDOG_SERVICE_PORT_HTTP": "80",
                "WATCHDOG_PORT": "tcp://10.0.0.1:80",
                "WATCHDOG_PORT_80_TCP_ADDR": "10.0.0.1",
            }
        )

        assert settings.warnings == ()


class TestSecretFiles:
    def test_a_file_named_like_the_variable_is_its_value(self, tmp_path: Path) -> None:
        (tmp_path / "WATCHDOG_SLACK__TOKEN").write_text("xoxb-file\n")
        (tmp_path / "watchdog_pagerduty__routing_key").write_text("key-from-file\n")
        (tmp_path / "unrelated").write_text("x")
        (tmp_path / "..data").mkdir()

        settings = load_settings({"WATCHDOG_SECRETS_DIR": str(tmp_path), "WATCHDOG_SLACK__CHANNEL": "c"})

        assert settings.slack.token == SecretStr("xoxb-file")
        assert settings.pagerduty.routing_key == SecretStr("key-from-file")
        assert settings.warnings == ()

    def test_a_variable_wins_over_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "WATCHDOG_API_TOKEN").write_text("file")

        settings = load_settings({"WATCHDOG_SECRETS_DIR": str(tmp_path), "WATCHDOG_API_TOKEN": "variable"})

        assert settings.api_token == SecretStr("variable")

    def test_a_mistake_in_a_file_names_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "WATCHDOG_API_TOKEN").write_text("two words")

        [problem] = problems({"WATCHDOG_SECRETS_DIR": str(tmp_path)})

        assert problem.startswith("WATCHDOG_API_TOKEN: ")
        assert str(tmp_path / "WATCHDOG_API_TOKEN") in problem

    def test_an_unusable_folder_or_file_is_a_problem_not_a_traceback(self, tmp_path: Path) -> None:
        (tmp_path / "WATCHDOG_API_TOKEN").write_bytes(b"\xff\xfe")
        (tmp_path / "WATCHDOG_SLACK__TOKEN").write_bytes(b"x" * 70_000)

        found = problems({"WATCHDOG_SECRETS_DIR": str(tmp_path)})
        missing = problems({"WATCHDOG_SECRETS_DIR": str(tmp_path / "nowhere")})

        assert ["not UTF-8" in found[0], "64 KiB" in found[1]] == [True, True]
        assert "cannot read the folder" in missing[0]


class TestAddress:
    @pytest.mark.parametrize(
        "text,expected",
        [
            ("127.0.0.1:0", Address("127.0.0.1", 0)),
            ("[::1]:8080", Address("::1", 8080)),
            ("[::]:65535", Address("::", 65535)),
            (" localhost:80 ", Address("localhost", 80)),
        ],
    )
    def test_host_and_port_are_read(self, text: str, expected: Address) -> None:
        assert Address.parse(text) == expected
        assert Address.parse(str(expected)) == expected

    @pytest.mark.parametrize(
        "text",
        ["", "localhost", ":8080", "::1:8080", "h:65536", "h:-1", "h:http", "http://h:1", "h:1/x", "[::1", "u@h:1"],
    )
    def test_anything_else_is_told_what_to_write(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"host|port|IPv6"):
            Address.parse(text)


@pytest.mark.parametrize(
    "variable, value", [("WATCHDOG_SMTP__FROM", "dog"), ("WATCHDOG_SMTP__TO", "a@b.example, everybody")]
)
def test_an_address_that_is_none_is_found_at_the_start_and_not_at_night(variable: str, value: str) -> None:
    good = {
        "WATCHDOG_SMTP__URL": "smtp://mail",
        "WATCHDOG_SMTP__FROM": "D <dog@x.example>",
        "WATCHDOG_SMTP__TO": "a@b.c",
    }
    assert load_settings(good).smtp.sender == "D <dog@x.example>"
    with pytest.raises(ConfigError, match="is not an address"):
        load_settings({**good, variable: value})


def test_secrets_of_probes_headers_are_variables_or_files_and_are_hidden(tmp_path: Path) -> None:
    (tmp_path / "WATCHDOG_PROBE__FROM_FILE").write_text("filed-away\n")
    settings = load_settings({"WATCHDOG_PROBE__API_KEY": "hush-hush", "WATCHDOG_SECRETS_DIR": str(tmp_path)})

    assert settings.probe_secrets == {"API_KEY": "hush-hush", "FROM_FILE": "filed-away"}
    assert {"hush-hush", "filed-away"} <= set(settings.secrets())
    assert settings.warnings == ()
    assert "hush" not in repr(settings)
