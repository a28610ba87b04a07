"""Where an emulator listens, and the environment that makes the watchdog use it."""

from watchdog.emulator.world import Json

SLACK_TOKEN = "xoxb-emulator"  # noqa: S105 -- opens nothing but the emulator
JOURNEY_PASSWORD = "emulated-password"  # noqa: S105 -- any other one lets in as well
ROUTING_KEY = "e" * 32
CHANNEL = "#barq-alerts"


def list_endpoints(
    *, cloud_run: str, control_url: str, service_url: str | None, monitoring: str, logging: str, smtp: str
) -> Json:
    """The JSON document that is printed at the start. Addresses are `host:port`, the rest are URLs."""
    slack, webhook = f"{control_url}/slack/api/", f"{control_url}/slack/webhook/T0/B0/emulator"
    pagerduty, mail = f"{control_url}/pagerduty", f"smtp://{smtp}"
    return {
        "cloud_run": cloud_run,
        "control": control_url,
        "service_url": service_url,
        "monitoring": monitoring,
        "logging": logging,
        "slack": slack,
        "slack_webhook": webhook,
        "pagerduty": pagerduty,
        "smtp": mail,
        "env": {
            "CLOUD_RUN_EMULATOR_HOST": cloud_run,
            "CLOUD_MONITORING_EMULATOR_HOST": monitoring,
            "CLOUD_LOGGING_EMULATOR_HOST": logging,
            "WATCHDOG_SLACK__API_URL": slack,
            "WATCHDOG_SLACK__TOKEN": SLACK_TOKEN,
            "WATCHDOG_SLACK__CHANNEL": CHANNEL,
            "WATCHDOG_PAGERDUTY__EVENTS_URL": pagerduty,
            "WATCHDOG_PAGERDUTY__ROUTING_KEY": ROUTING_KEY,
            "WATCHDOG_SMTP__URL": mail,
            "WATCHDOG_SMTP__FROM": "watchdog@barqfleet.com",
            "WATCHDOG_SMTP__TO": "alerts@barq.com",
            "WATCHDOG_JOURNEY__EMAIL": "watchdog@barqfleet.com",
            "WATCHDOG_JOURNEY__PASSWORD": JOURNEY_PASSWORD,
        },
    }
