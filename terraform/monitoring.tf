locals {
  # The function's one line for each secret and run. A test compares this, and the fields below, with what it writes.
  rotation_filter = "resource.type=\"cloud_run_revision\" AND jsonPayload.event=\"rotation\""
  rotation_fields = {
    secret       = "jsonPayload.secret"
    outcome      = "jsonPayload.outcome"
    error_code   = "jsonPayload.error.code"
    days_left    = "jsonPayload.daysLeft"
    key_age_days = "jsonPayload.keyAgeDays"
    overdue_days = "jsonPayload.overdueDays"
    duration_ms  = "jsonPayload.durationMs"
  }

  failures = ["failed", "incomplete"]

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

  # How far each alert looks back, how long its condition has to hold, and how often it is looked at, in seconds. Google
  # lets an alert see the last 25 hours of a log-based metric, all three together; what is older the function has to tell.
  windows = {
    failed_run = { look_back = 3600, duration = 0, interval = 60 }
    failed_job = { look_back = local.longest_run_seconds, duration = 0, interval = 300 }
    # A little more than a day, so that an incident stays open from one daily run to the next.
    daily = { look_back = 24 * 3600 + 50 * 60, duration = 0, interval = 300 }
  }

  # Metrics of Google's own reach back further, but the further they do, the more rarely Google looks. By days; there is
  # room in each step for the duration and one interval. The hour leaves time to store the first credential of a new
  # deployment, and for the sample of a run that comes exactly when the one before it leaves the window.
  no_success_windows = {
    for days in range(1, 32) : days => {
      look_back = days * 86400
      duration  = 3600
      interval  = days <= 7 ? 300 : days <= 15 ? 3600 : 7200
    }
  }

  # What the alerts print. Of the commands the first, and how the others differ: there is no room for those of a hundred jobs.
  runbook     = "docs/runbook.md in the rotator's repository"
  rotate_now  = "`${values(local.run_commands)[0]}`${local.other_jobs}"
  look_at_job = "`gcloud scheduler jobs describe ${values(local.jobs)[0].name} ${local.job_options}`${local.other_jobs}"
  other_jobs  = length(local.jobs) == 1 ? "" : " (where a secret ID has a schedule of its own, its jobs are `${local.names.job}_ID` and `${local.names.job}-NOW_ID`)"

  # The metrics under their names in PromQL.
  promql = {
    for kind in ["runs_metric", "days_left_metric", "duration_metric", "expiring_metric", "late_metric", "failed_calls_metric"] :
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

  depends_on = [time_sleep.apis]

  lifecycle {
    replace_triggered_by = [terraform_data.name]
  }
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

  depends_on = [time_sleep.apis]

  lifecycle {
    replace_triggered_by = [terraform_data.name]
  }
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

  depends_on = [time_sleep.apis]

  lifecycle {
    replace_triggered_by = [terraform_data.name]
  }
}

# This comparison and that of the next metric are made here and not in the alert: a distribution would give it buckets, not
# days, and the average of a day in which a key was renewed says nothing about either key.
resource "google_logging_metric" "expiring" {
  count = var.alerts.expiry_days > 0 ? 1 : 0

  project     = var.project_id
  name        = local.names.expiring_metric
  description = "Runs that ended with less than ${local.expiry_days_text} of life in the newest key."
  filter = join(" AND ", concat(
    [local.deployment_filter, local.day_filters.expiring],
    # A key that is not due yet raises no alarm, however short-lived it is. What a share of its lifetime is, only the
    # function knows, where the lifetime is not configured.
    var.renew_before == null ? [] : ["${local.rotation_fields.overdue_days}>0"],
  ))

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

  depends_on = [time_sleep.apis]

  lifecycle {
    replace_triggered_by = [terraform_data.name]

    precondition {
      condition     = length(local.day_filters.expiring) <= 19000
      error_message = "The names of the secrets whose keys are too short-lived for alerts.expiry_days make the filter of a metric longer than the 20,000 characters that Google allows. Lower expiry_days (0: no such alert)."
    }
  }
}

resource "google_logging_metric" "late" {
  count = var.alerts.no_rotation_days > 0 ? 1 : 0

  project     = var.project_id
  name        = local.names.late_metric
  description = "Runs that left a key in place that ${local.late_since} days ago."
  filter      = "${local.deployment_filter} AND ${local.day_filters.late}"

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

  depends_on = [time_sleep.apis]

  lifecycle {
    replace_triggered_by = [terraform_data.name]

    precondition {
      condition     = length(local.day_filters.late) <= 19000
      error_message = "The names of the secrets with a no_rotation_days of their own make the filter of a metric longer than the 20,000 characters that Google allows. Leave it out for some of them."
    }
  }
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

  depends_on = [time_sleep.apis]

  lifecycle {
    replace_triggered_by = [terraform_data.name]
  }
}

# ---- alerts ----
#
# All in PromQL, for two reasons. A condition on the absence of a metric may look back a day at most. And Google refuses
# any other condition on a log-based metric for up to ten minutes after the metric was created, which would make the first
# apply fail; here that check can be turned off.
#
# In PromQL a counter of Cloud Monitoring's is not cumulative: each sample is the count of a minute. sum_over_time adds them
# up; increase() would take every lower one for a reset, and interpolate.

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
      query                     = "sum by (secret, outcome, error_code) (sum_over_time(${local.promql.runs_metric}{monitored_resource=\"cloud_run_revision\", outcome=~\"${join("|", local.failures)}\"}[${local.windows.failed_run.look_back}s])) > 0"
      duration                  = "${local.windows.failed_run.duration}s"
      evaluation_interval       = "${local.windows.failed_run.interval}s"
      disable_metric_validation = true
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = <<-EOT
      A run of the function `${local.names.function}` did not do what it should. The labels of this incident name the
      secret, the outcome and the error code; ${local.runbook} says what each code means and what to do.
      `CREDENTIAL_NOT_STORED` cannot wait: the new credential is only in the memory of one instance. Put right what the
      message says, with gcloud (a deployment would end that instance), and run the job: it stores the credential.

      Readers of the secret usually still get the key that it holds, which works until it expires; the runbook marks the
      exceptions. A secret that is still empty gets its first key once the runs succeed. Cloud Scheduler tries again
      ${local.retries.count} times; if one of them succeeds, this closes within the hour.

      Run the job: ${local.rotate_now}

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
      query                     = "sum by (job_id) (sum_over_time(${local.promql.failed_calls_metric}{monitored_resource=\"cloud_scheduler_job\"}[${local.windows.failed_job.look_back}s])) > ${local.retries.count}"
      duration                  = "${local.windows.failed_job.duration}s"
      evaluation_interval       = "${local.windows.failed_job.interval}s"
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

      Once the cause is put right, run the job that this incident names: `gcloud scheduler jobs run JOB ${local.job_options}`

      More on this: ${local.runbook}.
    EOT
  }

  depends_on = [google_logging_metric.failed_calls]
}

# Two alerts see to it that a rotation which does not happen is noticed. Where runs are made, each of them tells how late the
# key is that it leaves in place; and where none succeeds, or none is made, Cloud Run's own count of answers shows it.
resource "google_monitoring_alert_policy" "no_rotation" {
  count = var.alerts.enabled && var.alerts.no_rotation_days > 0 ? 1 : 0

  project               = var.project_id
  display_name          = "${var.name}: a secret has not been rotated"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = var.notification_channels
  user_labels           = var.labels

  conditions {
    display_name = "A run left a key in place that ${local.late_since} days ago"

    condition_prometheus_query_language {
      query                     = "sum by (secret) (sum_over_time(${local.promql.late_metric}{monitored_resource=\"cloud_run_revision\"}[${local.windows.daily.look_back}s])) > 0"
      duration                  = "${local.windows.daily.duration}s"
      evaluation_interval       = "${local.windows.daily.interval}s"
      disable_metric_validation = true
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = <<-EOT
      Runs for the secret that this incident names left a key in place that ${local.late_since} as many days ago as
      `no_rotation_days` says, or more. It expires some day, and everything that reads it stops. The runs tell why they
      did not renew it; ${local.runbook} says what to do.

      This closes a day after the last run that saw such a key.

      Logs: `${local.log_command}`
    EOT
  }

  depends_on = [google_logging_metric.late]
}

resource "google_monitoring_alert_policy" "no_success" {
  count = var.alerts.enabled && local.no_success_window != null ? 1 : 0

  project               = var.project_id
  display_name          = "${var.name}: no run has succeeded"
  combiner              = "OR"
  severity              = "CRITICAL"
  notification_channels = var.notification_channels
  user_labels           = var.labels

  conditions {
    display_name = "No call of the function was answered with success in ${local.no_success_days} days"

    condition_prometheus_query_language {
      # The zero stands in where there was no call at all: no data is the worst case here, not the absence of one.
      query                     = "(sum(sum_over_time(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\", service_name=\"${local.names.function}\", location=\"${var.region}\", response_code_class=\"2xx\"}[${local.no_success_window.look_back}s])) or vector(0)) < 1"
      duration                  = "${local.no_success_window.duration}s"
      evaluation_interval       = "${local.no_success_window.interval}s"
      disable_metric_validation = true
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = <<-EOT
      The function `${local.names.function}` has answered no call with success in ${local.no_success_days} days. The keys that it renews
      expire some day, and everything that reads them stops. Is the job paused or gone, or does every run fail?
      What to do is in ${local.runbook}.

      Look at the job: ${local.look_at_job}. `state` says whether it is paused, and NOT_FOUND that it is gone;
      `terraform apply` puts back what was changed by hand.

      On a new deployment this means: store the ${var.management_key == null ? "first credential" : "management key"}, then ${local.rotate_now}

      Logs: `${local.log_command}`
    EOT
  }

  depends_on = [time_sleep.apis]
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
    display_name = "A run ended with less than ${local.expiry_days_text} of life in the newest key"

    condition_prometheus_query_language {
      query                     = "sum by (secret) (sum_over_time(${local.promql.expiring_metric}{monitored_resource=\"cloud_run_revision\"}[${local.windows.daily.look_back}s])) > 0"
      duration                  = "${local.windows.daily.duration}s"
      evaluation_interval       = "${local.windows.daily.interval}s"
      disable_metric_validation = true
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = <<-EOT
      The newest key in the secret that this incident names has less than ${local.expiry_days_text} left. Find out why
      it is not renewed; ${local.runbook} says what to do. Once a key has expired, everything that reads it stops, and it
      can no longer be refreshed: only a management key, or a person in Momento's console, can make another one.

      This closes a day after the last run that saw such a key.

      Logs: `${local.log_command}`
    EOT
  }

  depends_on = [google_logging_metric.expiring]
}

locals {
  # With renew_before a good key may be old, so what counts is the time since its renewal was due.
  late_field = local.rotation_fields[var.renew_before == null ? "key_age_days" : "overdue_days"]
  late_since = var.renew_before == null ? "was stored" : "was due to be renewed"

  expiry_days_text = (
    alltrue([for days in values(local.expiry_days) : days == var.alerts.expiry_days])
    ? "${var.alerts.expiry_days} days"
    : "${var.alerts.expiry_days} days (short-lived keys: half of what is left when they are due)"
  )

  day_comparisons = {
    expiring = { comparison = "${local.rotation_fields.days_left}<", common = var.alerts.expiry_days, days = local.expiry_days }
    late     = { comparison = "${local.late_field}>=", common = var.alerts.no_rotation_days, days = local.no_rotation_days }
  }
  # Most secrets have the common number of days. Those with another one are named, by that number.
  own_days = {
    for kind, compared in local.day_comparisons : kind => {
      for id, days in compared.days : days => "${local.rotation_fields.secret}=\"${local.secret_names[id]}\""...
      if days != compared.common
    }
  }
  day_filters = {
    for kind, compared in local.day_comparisons : kind => "(${join(" OR ", concat(
      ["(${join(" AND NOT ", concat(
        ["${compared.comparison}${compared.common}"],
        [for names in values(local.own_days[kind]) : "(${join(" OR ", names)})"],
      ))})"],
      [for days, names in local.own_days[kind] : "(${compared.comparison}${days} AND (${join(" OR ", names)}))"],
    ))})"
  }

  # The calls of all jobs look alike to Cloud Run, so the most frequent one sets the time; what runs more rarely than once
  # a month cannot be watched this way.
  no_success_days   = var.alerts.no_rotation_days == 0 ? 0 : min(values(local.no_rotation_days)...)
  no_success_window = lookup(local.no_success_windows, local.no_success_days, null)
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
                  prometheusQuery = "sum by (outcome) (sum_over_time(${local.promql.runs_metric}{monitored_resource=\"cloud_run_revision\"}[1d]))"
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
            xyChart = merge({
              dataSets = [{
                plotType = "LINE"
                timeSeriesQuery = {
                  prometheusQuery = "sum by (secret) (sum_over_time(${local.promql.days_left_metric}_sum{monitored_resource=\"cloud_run_revision\"}[1d])) / sum by (secret) (sum_over_time(${local.promql.days_left_metric}_count{monitored_resource=\"cloud_run_revision\"}[1d]))"
                }
              }]
              yAxis = { scale = "LINEAR" }
              # Google leaves out an empty list, which every plan would then want to put back.
            }, { for key in ["thresholds"] : key => [{ label = "Alert", value = var.alerts.expiry_days }] if var.alerts.expiry_days > 0 })
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
                    prometheusQuery = "histogram_quantile(${quantile}, sum by (le) (sum_over_time(${local.promql.duration_metric}_bucket{monitored_resource=\"cloud_run_revision\"}[1d])))"
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
                  prometheusQuery = "sum by (job_id) (sum_over_time(${local.promql.failed_calls_metric}{monitored_resource=\"cloud_scheduler_job\"}[1h]))"
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

  depends_on = [time_sleep.apis]
}
