project = "barq-fleet"
region  = "us-central1"
image   = "us-central1-docker.pkg.dev/barq-fleet/tools/deploy-watchdog:0.1.0"

services = {
  api = {
    name                    = "barq-fleet-api"
    region                  = "us-central1"
    runtime_service_account = "barq-fleet-api@barq-fleet.iam.gserviceaccount.com"
    repository              = "api"
    repository_location     = "us-central1"
    policy_secret           = "watchdog-policy-barq-fleet"
  }
}

env = {
  WATCHDOG_SLACK__CHANNEL = "#barq-alerts"
}

secret_env = {
  WATCHDOG_DATABASE_URL           = { secret = "watchdog-database-url", version = "1" }
  WATCHDOG_SLACK__TOKEN           = { secret = "watchdog-slack-token", version = "1" }
  WATCHDOG_PAGERDUTY__ROUTING_KEY = { secret = "watchdog-pagerduty-key", version = "1" }
}

cloud_sql_instance = "barq-fleet:us-central1:watchdog-db"

# A second account moves traffic; then rollback.impersonate in the policies names the output `writer`.
two_identities = true
