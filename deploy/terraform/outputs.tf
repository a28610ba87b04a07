output "service_account" {
  description = "What the watchdog runs as; add it to the invokers of anything else that it should probe."
  value       = google_service_account.watchdog.email
}

output "url" {
  description = "Where pipelines, Slack and Prometheus find the watchdog; null for a worker pool, which has no URL."
  value       = one(google_cloud_run_v2_service.watchdog[*].uri)
}

output "writer" {
  description = "For rollback.impersonate in the policies; null where the watchdog writes as itself."
  value       = var.two_identities ? google_service_account.writer[0].email : null
}
