variable "project" {
  description = "Project in which the watchdog runs, and whose services it watches."
  type        = string
}

variable "region" {
  description = "Region of the watchdog itself. It may watch services in any region of the project."
  type        = string
}

variable "image" {
  description = "Image of the watchdog, best with its digest: REGION-docker.pkg.dev/PROJECT/tools/deploy-watchdog@sha256:…"
  type        = string
}

variable "form" {
  description = "worker_pool: no URL, nothing to attack. service: can be called by pipelines, Slack, Pub/Sub, Prometheus."
  type        = string
  default     = "worker_pool"

  validation {
    condition     = contains(["worker_pool", "service"], var.form)
    error_message = "form is worker_pool or service."
  }
}

variable "services" {
  description = <<-EOT
    The Cloud Run services to watch, by a short name. Each needs a service account of its own: the right to act as the
    default compute account would be a way to the whole project. Several services may share an account or a repository.
  EOT
  type = map(object({
    name                    = string
    region                  = string
    runtime_service_account = string                # e-mail address of the account that the service runs as
    repository              = string                # Artifact Registry repository of its images
    repository_location     = string                # e.g. us-central1, or us
    policy_secret           = string                # Secret Manager secret that holds its policy file
    private                 = optional(bool, false) # calling it needs roles/run.invoker
    database_rollback_job   = optional(string)      # the policy's database_rollback.job, in the service's region
  }))

  validation {
    condition     = length(var.services) > 0
    error_message = "Name at least one service to watch."
  }

  validation {
    condition     = alltrue([for service in var.services : can(regex("^[a-z][a-z0-9-]{0,62}$", service.policy_secret))])
    error_message = "policy_secret also names a volume: lower-case letters, digits and hyphens."
  }
}

variable "env" {
  description = "Plain environment variables, e.g. WATCHDOG_SLACK__CHANNEL. The repository's README lists them."
  type        = map(string)
  default     = {}
}

variable "secret_env" {
  description = <<-EOT
    Environment variables from Secret Manager, with the version pinned: WATCHDOG_DATABASE_URL and the tokens. The database
    URL has to be here: the file system of Cloud Run does not outlive an instance, so SQLite would forget open watches.
  EOT
  type        = map(object({ secret = string, version = string }))

  validation {
    condition     = contains(keys(var.secret_env), "WATCHDOG_DATABASE_URL")
    error_message = "secret_env needs WATCHDOG_DATABASE_URL (postgresql://…): Cloud Run keeps no files."
  }
}

variable "cloud_sql_instance" {
  description = "Connection name PROJECT:REGION:INSTANCE of the database, mounted at /cloudsql; null reaches it otherwise."
  type        = string
  default     = null
}

variable "two_identities" {
  description = <<-EOT
    true: a second account, deploy-watchdog-writer, moves traffic, and the watchdog's own can only read and take the
    other's token. Set rollback.impersonate in each policy to the output `writer`.
  EOT
  type        = bool
  default     = false
}

variable "ingress" {
  description = "Who may reach the service form: INGRESS_TRAFFIC_ALL for Slack and PagerDuty hooks."
  type        = string
  default     = "INGRESS_TRAFFIC_INTERNAL_ONLY"
}
