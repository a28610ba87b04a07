# The account the watchdog runs as, exactly the rights it needs, and the watchdog itself. What each right is for stands in
# ../README.md, "Rights"; nothing here lets it read a secret of a service or touch a database. It deploys an image only
# where a policy says redeploy_image: the same one again that served before.

locals {
  runtime_accounts = toset([for service in var.services : service.runtime_service_account])
  repositories = {
    for service in var.services :
    "${service.repository_location}/${service.repository}" => service...
  }
  jobs = {
    for key, service in var.services : key => { name = service.database_rollback_job, region = service.region }
    if service.database_rollback_job != null
  }
  policy_secrets = toset([for service in var.services : service.policy_secret])
  secrets        = setunion(local.policy_secrets, [for variable in var.secret_env : variable.secret])
  member         = "serviceAccount:${google_service_account.watchdog.email}"
  writer         = var.two_identities ? "serviceAccount:${google_service_account.writer[0].email}" : local.member

  env = merge(var.env, {
    WATCHDOG_CONFIG = join(",", [for secret in sort(tolist(local.policy_secrets)) : "/etc/watchdog/${secret}/policy.yaml"])
    WATCHDOG_LISTEN = var.form == "service" ? "0.0.0.0:8080" : "127.0.0.1:8080"
  })
}

resource "google_service_account" "watchdog" {
  account_id   = "deploy-watchdog"
  display_name = "Deploy watchdog"
}

# With two identities this one writes and is used by nobody else: the watchdog takes its token when traffic has to move,
# and the process that answers the web can only read. Policies name it in rollback.impersonate.
resource "google_service_account" "writer" {
  count        = var.two_identities ? 1 : 0
  account_id   = "deploy-watchdog-writer"
  display_name = "Deploy watchdog: moves traffic"
}

resource "google_project_iam_custom_role" "lend" {
  count       = var.two_identities ? 1 : 0
  role_id     = "deployWatchdogLend"
  title       = "Deploy watchdog: write as the other account"
  description = "Takes tokens of the account that writes; bound on that account only."
  permissions = ["iam.serviceAccounts.getAccessToken"]
}

resource "google_service_account_iam_member" "lend" {
  count              = var.two_identities ? 1 : 0
  service_account_id = google_service_account.writer[0].name
  role               = google_project_iam_custom_role.lend[0].id
  member             = local.member
}

# ── Rights in the project: to see ─────────────────────────────────────────────────────────────────────────────────────

resource "google_project_iam_custom_role" "observe" {
  role_id     = "deployWatchdogObserve"
  title       = "Deploy watchdog: observe"
  description = "Lists services and reads revisions, to notice deploys and to choose a target."
  permissions = [
    "run.services.get",
    "run.services.list",
    "run.revisions.get",
    "run.revisions.list",
  ]
}

resource "google_project_iam_member" "observe" {
  project = var.project
  role    = google_project_iam_custom_role.observe.id
  member  = local.member
}

resource "google_project_iam_member" "metrics" {
  project = var.project
  role    = "roles/monitoring.viewer"
  member  = local.member
}

resource "google_project_iam_member" "request_log" {
  project = var.project
  role    = "roles/logging.viewer"
  member  = local.member
}

resource "google_project_iam_member" "database" {
  count   = var.cloud_sql_instance == null ? 0 : 1
  project = var.project
  role    = "roles/cloudsql.client"
  member  = local.member
}

# ── Rights on each watched service: to move its traffic ───────────────────────────────────────────────────────────────

resource "google_project_iam_custom_role" "rollback" {
  role_id     = "deployWatchdogRollback"
  title       = "Deploy watchdog: roll back"
  description = "Writes the traffic of a service; bound on single services only."
  permissions = [
    "run.services.get",
    "run.services.update",
  ]
}

resource "google_cloud_run_v2_service_iam_member" "rollback" {
  for_each = var.services
  project  = var.project
  location = each.value.region
  name     = each.value.name
  role     = google_project_iam_custom_role.rollback.id
  member   = local.writer
}

resource "google_project_iam_custom_role" "run_job" {
  count       = length(local.jobs) > 0 ? 1 : 0
  role_id     = "deployWatchdogRunJob"
  title       = "Deploy watchdog: undo a migration"
  description = "Runs a job and reads its executions; bound on single jobs only."
  permissions = [
    "run.jobs.run",
    "run.executions.list",
  ]
}

resource "google_cloud_run_v2_job_iam_member" "run" {
  for_each = local.jobs
  project  = var.project
  location = each.value.region
  name     = each.value.name
  role     = google_project_iam_custom_role.run_job[0].id
  member   = local.writer
}

resource "google_cloud_run_v2_service_iam_member" "probe" {
  for_each = { for key, service in var.services : key => service if service.private }
  project  = var.project
  location = each.value.region
  name     = each.value.name
  role     = "roles/run.invoker"
  member   = local.member
}

# Cloud Run checks both on every write, even on one that changes only traffic.
resource "google_service_account_iam_member" "act_as" {
  for_each           = local.runtime_accounts
  service_account_id = "projects/${var.project}/serviceAccounts/${each.value}"
  role               = "roles/iam.serviceAccountUser"
  member             = local.writer
}

resource "google_artifact_registry_repository_iam_member" "images" {
  for_each   = local.repositories
  project    = var.project
  location   = each.value[0].repository_location
  repository = each.value[0].repository
  role       = "roles/artifactregistry.reader"
  member     = local.writer
}

resource "google_secret_manager_secret_iam_member" "secrets" {
  for_each  = local.secrets
  project   = var.project
  secret_id = each.value
  role      = "roles/secretmanager.secretAccessor"
  member    = local.member
}

# ── The watchdog ──────────────────────────────────────────────────────────────────────────────────────────────────────

resource "google_cloud_run_v2_worker_pool" "watchdog" {
  count               = var.form == "worker_pool" ? 1 : 0
  name                = "deploy-watchdog"
  location            = var.region
  description         = "Watches every deploy for 24 hours and rolls a bad one back"
  deletion_protection = false

  scaling {
    scaling_mode          = "MANUAL"
    manual_instance_count = 1
  }

  template {
    service_account = google_service_account.watchdog.email

    containers {
      name  = "watchdog"
      image = var.image
      args  = ["run"]

      dynamic "env" {
        for_each = local.env
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = var.secret_env
        content {
          name = env.key
          value_source {
            secret_key_ref {
              secret  = env.value.secret
              version = env.value.version
            }
          }
        }
      }

      resources {
        limits = { cpu = "1", memory = "512Mi" }
      }

      dynamic "volume_mounts" {
        for_each = local.policy_secrets
        content {
          name       = volume_mounts.value
          mount_path = "/etc/watchdog/${volume_mounts.value}"
        }
      }

      dynamic "volume_mounts" {
        for_each = var.cloud_sql_instance == null ? [] : [var.cloud_sql_instance]
        content {
          name       = "cloudsql"
          mount_path = "/cloudsql"
        }
      }
    }

    dynamic "volumes" {
      for_each = local.policy_secrets
      content {
        name = volumes.value
        secret {
          secret = volumes.value
          items {
            path    = "policy.yaml"
            version = "latest"
          }
        }
      }
    }

    dynamic "volumes" {
      for_each = var.cloud_sql_instance == null ? [] : [var.cloud_sql_instance]
      content {
        name = "cloudsql"
        cloud_sql_instance {
          instances = [volumes.value]
        }
      }
    }
  }

  depends_on = [google_secret_manager_secret_iam_member.secrets]
}

resource "google_cloud_run_v2_service" "watchdog" {
  count               = var.form == "service" ? 1 : 0
  name                = "deploy-watchdog"
  location            = var.region
  description         = "Watches every deploy for 24 hours and rolls a bad one back"
  ingress             = var.ingress
  deletion_protection = false

  template {
    service_account = google_service_account.watchdog.email
    timeout         = "3600s" # GET /api/v1/watches/{id}/stream stays open

    scaling {
      min_instance_count = 1
      max_instance_count = 1
    }

    containers {
      name  = "watchdog"
      image = var.image
      args  = ["run"]

      ports {
        container_port = 8080
      }

      dynamic "env" {
        for_each = local.env
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = var.secret_env
        content {
          name = env.key
          value_source {
            secret_key_ref {
              secret  = env.value.secret
              version = env.value.version
            }
          }
        }
      }

      resources {
        limits = { cpu = "1", memory = "512Mi" }
        # Otherwise the CPU is taken away between requests, and with it the probes and the rollback.
        cpu_idle = false
      }

      startup_probe {
        period_seconds    = 1
        failure_threshold = 30
        http_get {
          path = "/livez"
        }
      }

      liveness_probe {
        period_seconds    = 10
        failure_threshold = 3
        http_get {
          path = "/livez"
        }
      }

      dynamic "volume_mounts" {
        for_each = local.policy_secrets
        content {
          name       = volume_mounts.value
          mount_path = "/etc/watchdog/${volume_mounts.value}"
        }
      }

      dynamic "volume_mounts" {
        for_each = var.cloud_sql_instance == null ? [] : [var.cloud_sql_instance]
        content {
          name       = "cloudsql"
          mount_path = "/cloudsql"
        }
      }
    }

    dynamic "volumes" {
      for_each = local.policy_secrets
      content {
        name = volumes.value
        secret {
          secret = volumes.value
          items {
            path    = "policy.yaml"
            version = "latest"
          }
        }
      }
    }

    dynamic "volumes" {
      for_each = var.cloud_sql_instance == null ? [] : [var.cloud_sql_instance]
      content {
        name = "cloudsql"
        cloud_sql_instance {
          instances = [volumes.value]
        }
      }
    }
  }

  depends_on = [google_secret_manager_secret_iam_member.secrets]
}
