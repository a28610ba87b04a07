"""The environment: where the daemon finds its policies, its store, its channels and its secrets.

Everything an operator sets is a variable with the prefix `WATCHDOG_` (`__` for nesting); secrets may also be files in
`WATCHDOG_SECRETS_DIR`, named like the variable, which is how Kubernetes and Cloud Run mount them. A variable wins over
a file. Policies are not settings: they belong to the service and live in `WATCHDOG_CONFIG`.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parseaddr
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from watchdog.errors import ConfigError

_PREFIX = "WATCHDOG_"
_SECRETS_DIR = "WATCHDOG_SECRETS_DIR"
_SECRET_FILE_BYTES = 64 * 1024
_LEVELS = (2, 3, 4)
"""Escalation levels that may have a routing key of their own; level 1 is `WATCHDOG_PAGERDUTY__ROUTING_KEY`."""

_KUBERNETES = re.compile(r"WATCHDOG_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP)(_\w+)?)?)")
"""Variables that Kubernetes adds to every pod beside a Service called `watchdog`: nobody's mistake."""


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port. Port 0 asks the system for a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `host:port` or `[ipv6]:port`. Raises ValueError with a sentence that says what to write."""
        try:
            parts = urlsplit(f"//{text.strip()}")
            port = parts.port
        except ValueError:
            raise ValueError(f"{text!r} is not host:port with a port from 0 to 65535") from None
        if "://" in text or parts.path or parts.query or parts.fragment or parts.username is not None:
            raise ValueError(f"{text!r} is not host:port; leave out the scheme and the path")
        if port is None:
            raise ValueError(f"{text!r} has no port; write host:port, with an IPv6 address in brackets: [::1]:8080")
        host = parts.hostname or ""
        if not host:
            raise ValueError(f"{text!r} has no host; write 0.0.0.0:{port} for every interface")
        if host.count(":") and not parts.netloc.startswith("["):
            raise ValueError(f"{text!r} is ambiguous; put the IPv6 address in brackets: [::1]:8080")
        return cls(host, port)

    def __str__(self) -> str:
        """As it stands in a URL: IPv6 addresses in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


# --- reading single values ----------------------------------------------------------------------------------------


def _words(value: Any) -> Any:
    return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value


def _address(value: Any) -> Any:
    return Address.parse(value) if isinstance(value, str) else value


def _web_url(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        parts = urlsplit(value.strip())
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:  # the value may be a webhook URL, which is a secret, so it is not repeated
        raise ValueError("not an http:// or https:// URL")
    return value.strip()


def _mail_url(value: Any) -> Any:
    if isinstance(value, str) and not re.match(r"(smtps?|smtp\+starttls)://[^/\s]", value.strip()):
        raise ValueError("not a mail server; write smtp://user:password@host:587 or smtps://host:465")
    return value.strip() if isinstance(value, str) else value


def _mailbox(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"[^@\s,;<>]+@[^@\s,;<>]+", parseaddr(value)[1]):
        raise ValueError(f"{value!r} is not an address; write dog@example.com, or Watchdog <dog@example.com>")
    return value


def _mailboxes(value: Any) -> Any:
    return tuple(_mailbox(one) for one in _words(value)) if isinstance(value, str) else value


def _database_url(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    scheme = value.strip().partition("://")[0]
    if scheme.partition("+")[0] not in ("sqlite", "postgresql") or "://" not in value:
        raise ValueError(
            "not a database we know; write sqlite:///./watchdog.db or postgresql://user:password@host/name"
        )
    return value.strip()


def _duration_s(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m)?\s*", value)
    if not match:
        raise ValueError(f"{value!r} is not a duration; write seconds (15), 15s or 1m")
    return float(match[1]) * (60 if match[2] == "m" else 1)


def _secret(value: Any) -> Any:
    if isinstance(value, str):
        value = value.strip()
        if any(char.isspace() for char in value):
            raise ValueError("a secret has no spaces or line breaks inside; it was probably pasted with something else")
    return value


_Words = Annotated[tuple[str, ...], BeforeValidator(_words)]
_WebUrl = Annotated[str, BeforeValidator(_web_url)]
_Secret = Annotated[SecretStr, BeforeValidator(_secret)]
_SecretWebUrl = Annotated[SecretStr, BeforeValidator(_web_url)]
_AddressField = Annotated[Address, BeforeValidator(_address)]

# --- groups --------------------------------------------------------------------------------------------------------


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, populate_by_name=True)


class OidcSettings(_Group):
    """Google identities that may use unsafe verbs and push hooks."""

    audience: str | None = None
    emails: _Words = ()


class SlackSettings(_Group):
    """A bot token with its channel, or else an incoming webhook."""

    token: _Secret | None = None
    channel: str | None = None
    signing_secret: _Secret | None = None
    webhook_url: _SecretWebUrl | None = None
    api_url: _WebUrl = "https://slack.com/api/"
    """What `chat.postMessage` is appended to."""


class PagerDutySettings(_Group):
    """Routing keys by escalation level. `routing_key` is level 1."""

    routing_key: _Secret | None = None
    routing_keys: Mapping[int, _Secret] = Field(default_factory=dict)
    webhook_secret: _Secret | None = None
    events_url: _WebUrl = "https://events.pagerduty.com"
    """What `/v2/enqueue` is appended to."""


class SmtpSettings(_Group):
    """Email. The URL may hold a password."""

    url: Annotated[SecretStr, BeforeValidator(_mail_url)] | None = None
    sender: Annotated[str, BeforeValidator(_mailbox)] | None = Field(default=None, alias="from")
    to: Annotated[tuple[str, ...], BeforeValidator(_mailboxes)] = ()


class WebhookSettings(_Group):
    """Any HTTP endpoint; the secret signs what is sent there."""

    url: _SecretWebUrl | None = None
    secret: _Secret | None = None


class GoogleChatSettings(_Group):
    """An incoming webhook of a space."""

    webhook_url: _SecretWebUrl | None = None


class TeamsSettings(_Group):
    """A Workflows webhook ("When a Teams webhook request is received")."""

    webhook_url: _SecretWebUrl | None = None


class HeartbeatSettings(_Group):
    """A dead man's switch: an address that is asked every minute while all is well."""

    url: _SecretWebUrl | None = None


class Settings(BaseSettings):
    """Everything that the environment says. Build it with `load_settings`; tests may name fields directly."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        enable_decoding=False,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
        validate_default=False,
    )

    config: Annotated[tuple[Path, ...], BeforeValidator(_words)] = ()
    """Policy files, one a service."""
    database_url: Annotated[SecretStr, BeforeValidator(_database_url)] = SecretStr("sqlite:///./watchdog.db")
    listen: _AddressField = Address("127.0.0.1", 8080)
    url: _WebUrl = "http://127.0.0.1:8080"
    """Where the client verbs find the daemon."""
    api_token: _Secret | None = None
    """Bearer token for unsafe verbs; None refuses them."""
    oidc: OidcSettings = OidcSettings()
    slack: SlackSettings = SlackSettings()
    pagerduty: PagerDutySettings = PagerDutySettings()
    smtp: SmtpSettings = SmtpSettings()
    webhook: WebhookSettings = WebhookSettings()
    google_chat: GoogleChatSettings = GoogleChatSettings()
    teams: TeamsSettings = TeamsSettings()
    heartbeat: HeartbeatSettings = HeartbeatSettings()
    journey: Mapping[str, SecretStr] = Field(default_factory=dict)
    """What journeys call `${secret.NAME}`: `WATCHDOG_JOURNEY__NAME`, for accounts that exist only to be tested with."""
    probe: Mapping[str, SecretStr] = Field(default_factory=dict)
    """What probes' headers call `${NAME}`: `WATCHDOG_PROBE__NAME`."""
    hosts_file: Path | None = None
    """Names that probes and journeys look up there first, as in /etc/hosts: for what only an internal DNS knows."""
    ca_file: Path | None = None
    """PEM: certificate authorities that probes and journeys trust beside the system's, for internal services."""
    lease_ttl_s: Annotated[float, BeforeValidator(_duration_s), Field(ge=1, le=3600)] = Field(
        default=15.0, validation_alias="WATCHDOG_LEASE_TTL"
    )
    """Seconds until another process may take over a silent one's watches; leases are renewed every third of it."""
    cloud_run_emulator_host: _AddressField | None = Field(default=None, validation_alias="CLOUD_RUN_EMULATOR_HOST")
    cloud_monitoring_emulator_host: _AddressField | None = Field(
        default=None, validation_alias="CLOUD_MONITORING_EMULATOR_HOST"
    )
    cloud_logging_emulator_host: _AddressField | None = Field(
        default=None, validation_alias="CLOUD_LOGGING_EMULATOR_HOST"
    )

    _warnings: tuple[str, ...] = PrivateAttr(default=())

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about variables that nobody reads, with what they probably should be called."""
        return self._warnings

    @property
    def probe_secrets(self) -> Mapping[str, str]:
        """What `${NAME}` stands for in the headers of probes."""
        return {name.upper(): value.get_secret_value() for name, value in self.probe.items()}

    def secrets(self) -> tuple[str, ...]:
        """Every secret value that is set, and passwords inside URLs: what logs have to hide wherever it stands."""
        found = set(_secret_values(self))
        return tuple(sorted(found | {password for value in found if (password := _password(value))}))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the hook's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing behind the caller's back: `load_settings` hands the environment over."""
        return (init_settings,)


class _Given(EnvSettingsSource):
    """The library's reader of nested variables, over a mapping instead of the process's environment."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = {name.lower(): value for name, value in given.items()}
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._given


# --- loading ------------------------------------------------------------------------------------------------------


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read and check the environment (and the secrets folder it names).

    Raises ConfigError with every mistake, each naming its variable and what to do; no value of a secret is repeated.
    """
    problems: list[str] = []
    files = _secret_files(environ.get(_SECRETS_DIR, "").strip(), problems)
    given = {name.upper(): value for name, value in environ.items() if value.strip()}
    given = {name: value for name, value in given.items() if name.startswith(_PREFIX) or name in _known_variables()}
    origins = {name: f" (from the file {path})" for name, (path, _) in files.items() if name not in given}
    given = {name: value for name, (_, value) in files.items()} | given

    known = _known_variables()
    warnings = tuple(
        _unknown(name, known) for name in sorted(given) if not _is_known(name, known) and not _ignorable(name)
    )
    given = {name: value for name, value in given.items() if _is_known(name, known) and name != _SECRETS_DIR}
    problems.extend(_contradictions(given))
    try:
        settings = Settings(**_Given(given)())
    except ValidationError as error:
        problems.extend(_mistakes(error, origins))
    if problems:
        raise ConfigError(*problems)
    settings._warnings = warnings  # noqa: SLF001 - our own class; a public field could be set by a variable
    return settings


def _secret_files(folder: str, problems: list[str]) -> dict[str, tuple[Path, str]]:
    if not folder:
        return {}
    try:
        paths = sorted(path for path in Path(folder).iterdir() if path.name.upper().startswith(_PREFIX))
    except OSError as error:
        problems.append(f"{_SECRETS_DIR}: cannot read the folder {folder} ({error.strerror}); mount it or unset it")
        return {}
    found: dict[str, tuple[Path, str]] = {}
    for path in paths:
        try:
            if path.is_dir():
                continue
            if path.stat().st_size > _SECRET_FILE_BYTES:
                problems.append(f"{_SECRETS_DIR}: {path} is larger than 64 KiB, so it is not a secret; remove it")
                continue
            text = path.read_text(encoding="utf-8").strip()
        except OSError as error:
            problems.append(f"{_SECRETS_DIR}: cannot read {path} ({error.strerror}); let the watchdog's user read it")
        except UnicodeDecodeError:
            problems.append(f"{_SECRETS_DIR}: {path} is not UTF-8 text; store the secret as text")
        else:
            if text:
                found[path.name.upper()] = (path, text)
    return found


def _known_variables() -> frozenset[str]:
    return frozenset((_SECRETS_DIR, *_variables(Settings, _PREFIX)))


def _variables(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        own = f"{prefix}{(field.alias or name).upper()}"
        if isinstance(field.validation_alias, str) and model is Settings:
            yield field.validation_alias
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _variables(field.annotation, f"{own}__")
        elif name in {"journey", "probe"}:
            continue
        elif name == "routing_keys":
            yield from (f"{own}__{level}" for level in _LEVELS)
        else:
            yield own


def _is_known(name: str, known: frozenset[str]) -> bool:
    """Whether somebody reads it; the names of journeys' and probes' secrets are their authors' own."""
    return name in known or re.fullmatch(r"WATCHDOG_(JOURNEY|PROBE)__[A-Z][A-Z0-9_]{0,62}", name) is not None


def _ignorable(name: str) -> bool:
    return not name.startswith(_PREFIX) or bool(_KUBERNETES.fullmatch(name))


def _secret_values(model: BaseModel) -> Iterator[str]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        values = value.values() if isinstance(value, Mapping) else [value]
        for item in values:
            if isinstance(item, BaseModel):
                yield from _secret_values(item)
            elif isinstance(item, SecretStr) and (name != "database_url" or _password(item.get_secret_value())):
                yield item.get_secret_value()  # a database without a password has nothing to hide


def _password(text: str) -> str:
    try:
        return urlsplit(text).password or ""
    except ValueError:
        return ""


def _unknown(name: str, known: frozenset[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    hint = f"did you mean {close[0]}?" if close else "remove it, or see the environment table in the README"
    return f"{name} is not a variable of ours and is ignored; {hint}"


def _contradictions(given: Mapping[str, str]) -> Iterator[str]:
    """Variables that only make sense together. Looked at by name alone, so that no other mistake hides them."""
    pairs = [
        ("WATCHDOG_SLACK__TOKEN", "WATCHDOG_SLACK__CHANNEL", "name the channel to post to"),
        ("WATCHDOG_SMTP__URL", "WATCHDOG_SMTP__FROM", "name the sender's address"),
        ("WATCHDOG_SMTP__URL", "WATCHDOG_SMTP__TO", "name the recipients, comma-separated"),
        ("WATCHDOG_SMTP__FROM", "WATCHDOG_SMTP__URL", "name the mail server"),
        ("WATCHDOG_SMTP__TO", "WATCHDOG_SMTP__URL", "name the mail server"),
        ("WATCHDOG_OIDC__AUDIENCE", "WATCHDOG_OIDC__EMAILS", "name the service accounts that may call"),
        ("WATCHDOG_OIDC__EMAILS", "WATCHDOG_OIDC__AUDIENCE", "name the audience their tokens are made for"),
    ]
    if "WATCHDOG_SLACK__WEBHOOK_URL" not in given:
        pairs.append(("WATCHDOG_SLACK__CHANNEL", "WATCHDOG_SLACK__TOKEN", "give the bot token (xoxb-…)"))
    for level in _LEVELS:
        own = f"WATCHDOG_PAGERDUTY__ROUTING_KEYS__{level}"
        pairs.append((own, "WATCHDOG_PAGERDUTY__ROUTING_KEY", "give the key of level 1"))
    for present, needed, todo in pairs:
        if present in given and needed not in given:
            yield f"{needed} is missing: {present} is set, so {todo}, or unset {present}"


def _mistakes(error: ValidationError, origins: Mapping[str, str]) -> Iterator[str]:
    for mistake in error.errors(include_url=False, include_input=False):
        place = [str(part) for part in mistake["loc"]]
        upper = "__".join(place).upper()
        name = upper if upper in _known_variables() else f"{_PREFIX}{upper}"
        cause = mistake.get("ctx", {}).get("error")
        sentence = str(cause) if cause is not None else mistake["msg"]
        yield f"{name}: {sentence}{origins.get(name, '')}"
