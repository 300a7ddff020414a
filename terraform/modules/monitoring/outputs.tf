output "dashboard" {
  description = "Id of the dashboard. null without one."
  value       = one(google_monitoring_dashboard.rotations[*].id)
}

output "metrics" {
  description = "Types of the log-based metrics, for alerts of your own."
  value = {
    for kind, metric in google_logging_metric.created : kind => "logging.googleapis.com/user/${metric.name}"
  }
}
