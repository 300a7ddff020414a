# The provider refuses to delete a protected secret, but it comes last: when it refuses, the function has lost its grants on
# that secret, or is gone. So each secret that is created here has a guard that goes first, because it depends on all that
# there is, and that refuses before anything was touched. Its key and its trigger are what makes a secret another one.
#
# A destroy-time provisioner, because nothing else will do: prevent_destroy cannot be a variable, and no precondition is
# looked at when something is destroyed. It is told what the last apply said of the secret, as the provider is.
resource "terraform_data" "deletion_protection" {
  for_each = { for id, secret in local.created_secrets : local.created_names[id] => secret }

  input            = { secret = each.key, protected = each.value.deletion_protection }
  triggers_replace = sort(keys(each.value.replicas))

  provisioner "local-exec" {
    when    = destroy
    command = self.output.protected ? "echo 'REFUSED, nothing was touched: ${self.output.secret} has deletion_protection. See Removal in terraform/README.md.' && exit 1" : "exit 0"
  }

  depends_on = [
    google_cloud_scheduler_job.now,
    google_cloud_scheduler_job.rotation,
    google_logging_metric.days_left,
    google_logging_metric.duration,
    google_logging_metric.expiring,
    google_logging_metric.failed_calls,
    google_logging_metric.late,
    google_logging_metric.runs,
    google_monitoring_alert_policy.expiry,
    google_monitoring_alert_policy.failed_job,
    google_monitoring_alert_policy.failed_run,
    google_monitoring_alert_policy.no_rotation,
    google_monitoring_alert_policy.no_success,
    google_monitoring_dashboard.rotations,
    google_secret_manager_secret_version.initial,
  ]
}
