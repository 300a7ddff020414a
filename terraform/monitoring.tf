locals {
  # The function's one line for each secret and run. A test compares this, and the fields below, with what it writes.
  rotation_filter = "resource.type=\"cloud_run_revision\" AND jsonPayload.event=\"rotation\""
  rotation_fields = {
    secret      = "jsonPayload.secret"
    outcome     = "jsonPayload.outcome"
    error_code  = "jsonPayload.error.code"
    days_left   = "jsonPayload.daysLeft"
    duration_ms = "jsonPayload.durationMs"
  }

  # With renew_before, a run that finds nothing due has done its work as well; whether keys are renewed in time is then
  # what the alert on expiry is for.
  successes = concat(["rotated", "already_rotated", "superseded"], var.renew_before == null ? [] : ["not_due"])
  failures  = ["failed", "incomplete"]

  deployment_filter = "${local.rotation_filter} AND resource.labels.service_name=\"${local.names.function}\" AND resource.labels.location=\"${var.region}\""

  # Cloud Scheduler's own line for a call that failed. Nothing in it tells whether retries are left.
  failed_call_filter = join(" AND ", [
    "resource.type=\"cloud_scheduler_job\"",
    "log_id(\"cloudscheduler.googleapis.com/executions\")",
    "severity>=ERROR",
    "jsonPayload.\"@type\"=\"type.googleapis.com/google.cloud.scheduler.logging.AttemptFinished\"",
    "resource.labels.location=\"${coalesce(var.scheduler_region, var.region)}\"",
    "resource.labels.job_id=~\"^${local.names.job}(_.+)?$\"",
  ])

  # How long one scheduled run can take with all its retries.
  longest_run_seconds = (local.retries.count + 1) * local.attempt_deadline_seconds + local.retries.backoff_seconds

  # The metrics under their names in PromQL.
  promql = {
    for kind in ["runs_metric", "days_left_metric", "duration_metric", "expiring_metric", "failed_calls_metric"] :
    kind => "logging_googleapis_com:user_${replace(local.names[kind], "-", "_")}"
  }
}

# ---- metrics ----

resource "google_logging_metric" "runs" {
  project     = var.project_id
  name        = local.names.runs_metric
  description = "Runs of the rotator, one for each secret."
  filter      = local.deployment_filter

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"

    dynamic "labels" {
      for_each = ["secret", "outcome", "error_code"]

      content {
        key        = labels.value
        value_type = "STRING"
      }
    }
  }

  label_extractors = {
    for label in ["secret", "outcome", "error_code"] : label => "EXTRACT(${local.rotation_fields[label]})"
  }

  depends_on = [google_project_service.required]
}

resource "google_logging_metric" "days_left" {
  project         = var.project_id
  name            = local.names.days_left_metric
  description     = "Days until the newest key of a secret expires, as each run saw it."
  filter          = "${local.deployment_filter} AND ${local.rotation_fields.days_left}:*"
  value_extractor = "EXTRACT(${local.rotation_fields.days_left})"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"
    unit        = "d"

    labels {
      key        = "secret"
      value_type = "STRING"
    }
  }

  label_extractors = { secret = "EXTRACT(${local.rotation_fields.secret})" }

  bucket_options {
    explicit_buckets {
      bounds = [0, 1, 2, 3, 5, 7, 10, 14, 21, 30, 45, 60, 90, 180, 365]
    }
  }

  depends_on = [google_project_service.required]
}

resource "google_logging_metric" "duration" {
  project         = var.project_id
  name            = local.names.duration_metric
  description     = "How long the runs took."
  filter          = local.deployment_filter
  value_extractor = "EXTRACT(${local.rotation_fields.duration_ms})"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"
    unit        = "ms"

    labels {
      key        = "outcome"
      value_type = "STRING"
    }
  }

  label_extractors = { outcome = "EXTRACT(${local.rotation_fields.outcome})" }

  bucket_options {
    exponential_buckets {
      num_finite_buckets = 24
      growth_factor      = 1.6
      scale              = 50
    }
  }

  depends_on = [google_project_service.required]
}

# The comparison is made here and not in the alert: a distribution would give it buckets, not days, and the average of a
# day in which a key was renewed says nothing about either key.
resource "google_logging_metric" "expiring" {
  count = var.alerts.expiry_days > 0 ? 1 : 0

  project     = var.project_id
  name        = local.names.expiring_metric
  description = "Runs that ended with less than ${var.alerts.expiry_days} days of life in the newest key."
  filter      = "${local.deployment_filter} AND ${local.rotation_fields.days_left}<${var.alerts.expiry_days}"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"

    labels {
      key        = "secret"
      value_type = "STRING"
    }
  }

  label_extractors = { secret = "EXTRACT(${local.rotation_fields.secret})" }

  depends_on = [google_project_service.required]
}

resource "google_logging_metric" "failed_calls" {
  project     = var.project_id
  name        = local.names.failed_calls_metric
  description = "Calls of Cloud Scheduler to the rotator that failed, retries included."
  filter      = local.failed_call_filter

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"
  }

  depends_on = [google_project_service.required]
}

# ---- alerts ----
#
# All in PromQL, for two reasons. A condition on the absence of a metric may look back a day at most, while PromQL looks
# back as far as metrics are kept. And Google refuses any other condition on a log-based metric for up to ten minutes
# after the metric was created, which would make the first apply fail; here that check can be turned off.

resource "google_monitoring_alert_policy" "failed_run" {
  count = var.alerts.enabled && var.alerts.failed_run ? 1 : 0

  project               = var.project_id
  display_name          = "${var.name}: a rotation failed"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = var.notification_channels
  user_labels           = var.labels

  conditions {
    display_name = "A run ended with one of: ${join(", ", local.failures)}"

    condition_prometheus_query_language {
      query                     = "sum by (secret, outcome, error_code) (increase(${local.promql.runs_metric}{monitored_resource=\"cloud_run_revision\", outcome=~\"${join("|", local.failures)}\"}[1h])) > 0"
      duration                  = "0s"
      evaluation_interval       = "60s"
      disable_metric_validation = true
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = <<-EOT
      A run of the function `${local.names.function}` did not do what it should. The labels of this incident name the
      secret, the outcome and the error code; the README's runbook says what each code means and what to do.
      `CREDENTIAL_NOT_STORED` cannot wait: the new credential is only in the memory of one instance, and the next run
      has to store it before that instance goes away.

      Readers of the secret still get a key that works until it expires. Cloud Scheduler tries again
      ${local.retries.count} times; if one of them succeeds, this closes within the hour.

      Logs: `${local.log_command}`
    EOT
  }

  depends_on = [google_logging_metric.runs]
}

# Cloud Scheduler does not say that it has given up. But all calls of one run fall into a known time, and a run for good
# failed when as many of them failed as one run can make.
resource "google_monitoring_alert_policy" "failed_job" {
  count = var.alerts.enabled && var.alerts.failed_job ? 1 : 0

  project               = var.project_id
  display_name          = "${var.name}: a scheduled job failed for good"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = var.notification_channels
  user_labels           = var.labels

  conditions {
    display_name = "The call and all its ${local.retries.count} retries failed"

    condition_prometheus_query_language {
      # Half a call of tolerance, because increase() may interpolate.
      query                     = "sum by (job_id) (increase(${local.promql.failed_calls_metric}{monitored_resource=\"cloud_scheduler_job\"}[${local.longest_run_seconds}s])) > ${local.retries.count + 0.5}"
      duration                  = "0s"
      evaluation_interval       = "300s"
      disable_metric_validation = true
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = <<-EOT
      Cloud Scheduler called the function `${local.names.function}` and got no success, nor with any retry. Nothing
      will happen until the next scheduled run. If there is no log line of a failed rotation, the call did not reach the
      function: look at the job's own log for 403 (the scheduler's account may not invoke it, or the ingress setting
      keeps it out), 404 (function deleted) or 500 without a line (it does not start).

      Once the cause is put right, run the job that this incident names: `${local.run_command}`
    EOT
  }

  depends_on = [google_logging_metric.failed_calls]
}

resource "google_monitoring_alert_policy" "no_rotation" {
  for_each = var.alerts.enabled && var.alerts.no_rotation_days > 0 ? var.secrets : {}

  project               = var.project_id
  display_name          = "${var.name}: ${each.key} has not been rotated"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = var.notification_channels
  user_labels           = var.labels

  conditions {
    display_name = "No successful run in ${local.no_rotation_days[each.key]} days"

    condition_prometheus_query_language {
      # The zero stands in where there was no run at all: no data is the worst case here, not the absence of one.
      query = "(sum(increase(${local.promql.runs_metric}{monitored_resource=\"cloud_run_revision\", secret=\"${local.secret_names[each.key]}\", outcome=~\"${join("|", local.successes)}\"}[${local.no_rotation_days[each.key]}d])) or vector(0)) < 0.5"
      # Leaves an hour after the first apply to store the credential and to run the job by hand.
      duration                  = "3600s"
      evaluation_interval       = "300s"
      disable_metric_validation = true
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = <<-EOT
      No run for `${local.secret_names[each.key]}` succeeded in ${local.no_rotation_days[each.key]} days. The key in it
      expires some day, and everything that reads it stops. Is the job paused, or does every run fail?

      On a new deployment this means: store the first credential, then `${local.run_commands[local.job_of[each.key]]}`

      Logs: `${local.log_command}`
    EOT
  }

  depends_on = [google_logging_metric.runs]
}

resource "google_monitoring_alert_policy" "expiry" {
  count = var.alerts.enabled && var.alerts.expiry_days > 0 ? 1 : 0

  project               = var.project_id
  display_name          = "${var.name}: a key is about to expire"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = var.notification_channels
  user_labels           = var.labels

  conditions {
    display_name = "A run ended with less than ${var.alerts.expiry_days} days of life in the newest key"

    condition_prometheus_query_language {
      # A little more than a day, so that the incident stays open from one daily run to the next.
      query                     = "sum by (secret) (increase(${local.promql.expiring_metric}{monitored_resource=\"cloud_run_revision\"}[25h])) > 0"
      duration                  = "0s"
      evaluation_interval       = "300s"
      disable_metric_validation = true
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = <<-EOT
      The newest key in the secret that this incident names has less than ${var.alerts.expiry_days} days left. Once it
      has expired it can no longer be refreshed: a person has to make a new one in Momento's console and store it. Find
      out why it is not renewed, or store a new one now.

      This closes a day after the last run that saw such a key.

      Logs: `${local.log_command}`
    EOT
  }

  depends_on = [google_logging_metric.expiring]
}

locals {
  no_rotation_days = {
    for id, secret in var.secrets : id => coalesce(secret.no_rotation_days, var.alerts.no_rotation_days)
  }
}

# ---- dashboard ----

resource "google_monitoring_dashboard" "rotations" {
  count = var.dashboard ? 1 : 0

  project = var.project_id
  dashboard_json = jsonencode({
    displayName = var.name
    mosaicLayout = {
      columns = 48
      tiles = [
        {
          width  = 24
          height = 16
          widget = {
            title = "Runs by outcome, per day"
            xyChart = {
              dataSets = [{
                plotType = "STACKED_BAR"
                timeSeriesQuery = {
                  prometheusQuery = "sum by (outcome) (increase(${local.promql.runs_metric}{monitored_resource=\"cloud_run_revision\"}[1d]))"
                }
              }]
              yAxis = { scale = "LINEAR" }
            }
          }
        },
        {
          xPos   = 24
          width  = 24
          height = 16
          widget = {
            title = "Days left in the newest key, by secret"
            xyChart = {
              dataSets = [{
                plotType = "LINE"
                timeSeriesQuery = {
                  prometheusQuery = "sum by (secret) (increase(${local.promql.days_left_metric}_sum{monitored_resource=\"cloud_run_revision\"}[1d])) / sum by (secret) (increase(${local.promql.days_left_metric}_count{monitored_resource=\"cloud_run_revision\"}[1d]))"
                }
              }]
              thresholds = var.alerts.expiry_days > 0 ? [{ label = "Alert", value = var.alerts.expiry_days }] : []
              yAxis      = { scale = "LINEAR" }
            }
          }
        },
        {
          yPos   = 16
          width  = 24
          height = 16
          widget = {
            title = "Duration of a run in ms (median and 95th percentile)"
            xyChart = {
              dataSets = [
                for quantile in [0.5, 0.95] : {
                  plotType       = "LINE"
                  legendTemplate = "${quantile * 100} %"
                  timeSeriesQuery = {
                    prometheusQuery = "histogram_quantile(${quantile}, sum by (le) (increase(${local.promql.duration_metric}_bucket{monitored_resource=\"cloud_run_revision\"}[1d])))"
                  }
                }
              ]
              yAxis = { scale = "LINEAR" }
            }
          }
        },
        {
          xPos   = 24
          yPos   = 16
          width  = 24
          height = 16
          widget = {
            title = "Failed calls of Cloud Scheduler, by job"
            xyChart = {
              dataSets = [{
                plotType = "STACKED_BAR"
                timeSeriesQuery = {
                  prometheusQuery = "sum by (job_id) (increase(${local.promql.failed_calls_metric}{monitored_resource=\"cloud_scheduler_job\"}[1h]))"
                }
              }]
              yAxis = { scale = "LINEAR" }
            }
          }
        },
        {
          yPos   = 32
          width  = 48
          height = 20
          widget = {
            title     = "Log"
            logsPanel = { filter = local.deployment_filter, resourceNames = ["projects/${var.project_id}"] }
          }
        },
      ]
    }
  })

  depends_on = [google_project_service.required]
}
