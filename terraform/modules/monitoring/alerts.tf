# All alerts are in PromQL. Google refuses other conditions on a log-based metric for up to ten minutes after the metric
# was created, so the first apply would fail. With PromQL this check can be disabled.
#
# In PromQL each sample of a log-based counter is the count of one minute. sum_over_time adds them up. increase() would
# treat every lower sample as a reset.

locals {
  failures = ["failed", "incomplete"]

  # Seconds: how far an alert looks back, and how often Google evaluates it. Google lets an alert see the last 25 hours
  # of a log-based metric. A little more than a day keeps an incident open from one daily run to the next.
  windows = {
    hour  = { look_back = 3600, interval = 60 }
    run   = { look_back = var.scheduler.longest_run_seconds, interval = 300 }
    daily = { look_back = 24 * 3600 + 50 * 60, interval = 300 }
  }

  # Google's own metrics reach back 31 days, but a longer look-back needs a longer interval.
  no_success_days     = min([for secret in values(var.secrets) : secret.no_rotation_days]...)
  no_success_interval = local.no_success_days <= 7 ? 300 : local.no_success_days <= 15 ? 3600 : 7200

  sums = {
    for kind, sum in {
      failed_run    = { metric = "runs", by = "secret, outcome, error_code, help", window = "hour" }
      failed_calls  = { metric = "failed-calls", by = "job_id", window = "run" }
      good_calls    = { metric = "good-calls", by = "job_id", window = "run" }
      no_rotation   = { metric = "late", by = "secret", window = "daily" }
      expiry        = { metric = "expiring", by = "secret", window = "daily" }
      not_contained = { metric = "not-contained", by = "secret", window = "daily" }
      } : kind => join("", [
        "sum by (${sum.by}) (sum_over_time(${local.promql[sum.metric]}{",
        "monitored_resource=\"${endswith(kind, "_calls") ? "cloud_scheduler_job" : "cloud_run_revision"}\"",
        kind == "failed_run" ? ", outcome=~\"${join("|", local.failures)}\"" : "",
        "}[${local.windows[sum.window].look_back}s]))",
    ])
  }
  successes = join("", [
    "sum(sum_over_time(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\", ",
    "service_name=\"${var.function_name}\", location=\"${var.region}\", response_code_class=\"2xx\"}",
    "[${local.no_success_days * 86400}s]))",
  ])

  alerts = {
    failed_run = {
      title     = "a rotation failed"
      severity  = "ERROR"
      condition = "A run ended with one of: ${join(", ", local.failures)}"
      query     = "${local.sums.failed_run} > 0"
      interval  = local.windows.hour.interval
    }
    # Two runs that succeed after retries can have as many failed calls as one run that fails for good. So a success
    # within the time of a run prevents the alert.
    failed_job = {
      title     = "a scheduled job failed for good"
      severity  = "CRITICAL"
      condition = "The call and all its retries failed"
      query     = "(${local.sums.failed_calls} >= ${var.scheduler.calls}) unless (${local.sums.good_calls} > 0)"
      interval  = local.windows.run.interval
    }
    no_rotation = {
      title     = "a secret has not been rotated"
      severity  = "CRITICAL"
      condition = "A run left a key in place that ${local.late_since} days ago"
      query     = "${local.sums.no_rotation} > 0"
      interval  = local.windows.daily.interval
    }
    # Without any calls, the metric has no data, and vector(0) is the result. The hour leaves time to store the first
    # credential.
    no_success = {
      title     = "no run has succeeded"
      severity  = "CRITICAL"
      condition = "The function answered no call with success in ${local.no_success_days} days"
      query     = "(${local.successes} or vector(0)) < 1"
      interval  = local.no_success_interval
      duration  = 3600
    }
    expiry = {
      title     = "a key is about to expire"
      severity  = "CRITICAL"
      condition = "After a run the newest key expires within ${local.expiry_days_text}"
      query     = "${local.sums.expiry} > 0"
      interval  = local.windows.daily.interval
    }
    not_contained = {
      title     = "a leaked key still works"
      severity  = "CRITICAL"
      condition = "A compromise response ended with contained: false"
      query     = "${local.sums.not_contained} > 0"
      interval  = local.windows.daily.interval
    }
  }

  expiry_days_text = (
    alltrue([for secret in values(var.secrets) : secret.expiry_days == var.settings.expiry_days])
    ? "${var.settings.expiry_days} days"
    : "${var.settings.expiry_days} days (short-lived keys: half of what remains when they are due)"
  )

  runbook = (
    var.settings.repository_url == null
    ? "docs/operate/runbook.md in the rotator's repository"
    : "${local.repository_url}/docs/operate/runbook.md"
  )
  repository_url = trimsuffix(coalesce(var.settings.repository_url, "-"), "/")

  text_values = {
    function   = var.function_name
    commands   = var.commands
    runbook    = local.runbook
    codes      = replace(local.runbook, "runbook.md", "error-codes.md")
    late_since = local.late_since
    days       = local.no_success_days
    expiry     = local.expiry_days_text
    job_run    = "gcloud scheduler jobs run JOB --project=${var.project_id} --location=${var.scheduler.region}"
  }

  # Google's metrics can't be watched for longer than 31 days.
  disabled_alerts = concat(
    [for kind, alert in var.settings.alerts : kind if !alert.enabled],
    local.no_success_days > 31 ? ["no_success"] : [],
  )
  enabled_alerts = { for kind, alert in local.alerts : kind => alert if !contains(local.disabled_alerts, kind) }
}

resource "google_monitoring_alert_policy" "created" {
  for_each = local.enabled_alerts

  project      = var.project_id
  display_name = "${var.name}: ${each.value.title}"
  combiner     = "OR"
  severity     = each.value.severity
  user_labels  = var.labels
  notification_channels = coalesce(
    try(var.settings.alerts[each.key].notification_channels, null), var.settings.notification_channels
  )

  alert_strategy {
    auto_close = var.settings.auto_close
  }

  conditions {
    display_name = each.value.condition

    condition_prometheus_query_language {
      query                     = each.value.query
      duration                  = "${try(each.value.duration, 0)}s"
      evaluation_interval       = "${each.value.interval}s"
      disable_metric_validation = true
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = templatefile("${path.module}/alerts/${each.key}.md.tftpl", local.text_values)

    dynamic "links" {
      # Google fills in the label of the incident. `help` is the path of the error code's entry.
      for_each = var.settings.repository_url == null ? {} : merge(
        { "Runbook" = "${local.runbook}#alerts" },
        each.key == "failed_run" ? { "Error code" = "${local.repository_url}/$${metric.label.help}" } : {},
      )

      content {
        display_name = links.key
        url          = links.value
      }
    }
  }

  depends_on = [google_logging_metric.created]
}
