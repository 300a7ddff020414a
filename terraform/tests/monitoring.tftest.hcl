# What is measured, and who is told what.

mock_provider "google" {
  source = "./tests/mocks"
}

mock_provider "time" {}

variables {
  project_id = "test-project"
  region     = "europe-west1"
}

run "the_metrics_read_the_one_log_line" {
  command = plan

  assert {
    condition     = google_logging_metric.runs.filter == "resource.type=\"cloud_run_revision\" AND jsonPayload.event=\"rotation\" AND resource.labels.service_name=\"momento-key-rotator\" AND resource.labels.location=\"europe-west1\""
    error_message = "Runs are counted from the lines of this function alone."
  }

  assert {
    condition = google_logging_metric.runs.label_extractors == tomap({
      secret     = "EXTRACT(jsonPayload.secret)"
      outcome    = "EXTRACT(jsonPayload.outcome)"
      error_code = "EXTRACT(jsonPayload.error.code)"
    })
    error_message = "Runs are told apart by secret, outcome and error code."
  }

  assert {
    condition = alltrue([
      for metric in [google_logging_metric.runs, google_logging_metric.days_left, google_logging_metric.duration, google_logging_metric.expiring[0], google_logging_metric.late[0], google_logging_metric.failed_calls] :
      metric.metric_descriptor[0].metric_kind == "DELTA" &&
      join(" ", sort([for label in metric.metric_descriptor[0].labels : label.key])) == join(" ", sort(keys(coalesce(metric.label_extractors, tomap({})))))
    ])
    error_message = "Every label of a metric is filled from the line."
  }

  assert {
    condition = (
      google_logging_metric.days_left.value_extractor == "EXTRACT(jsonPayload.daysLeft)" &&
      google_logging_metric.days_left.filter == "${google_logging_metric.runs.filter} AND jsonPayload.daysLeft:*" &&
      google_logging_metric.duration.value_extractor == "EXTRACT(jsonPayload.durationMs)" &&
      google_logging_metric.expiring[0].filter == "${google_logging_metric.runs.filter} AND ((jsonPayload.daysLeft<7)) AND jsonPayload.overdueDays>0"
    )
    error_message = "Days left and duration are taken from the line, and a key that is not due raises no alarm."
  }

  assert {
    condition     = google_logging_metric.late[0].filter == "${google_logging_metric.runs.filter} AND ((jsonPayload.overdueDays>=3))"
    error_message = "A run tells that the key which it leaves in place has been due for days."
  }

  assert {
    condition     = google_logging_metric.failed_calls.filter == "resource.type=\"cloud_scheduler_job\" AND log_id(\"cloudscheduler.googleapis.com/executions\") AND severity>=ERROR AND jsonPayload.\"@type\"=\"type.googleapis.com/google.cloud.scheduler.logging.AttemptFinished\" AND resource.labels.location=\"europe-west1\" AND resource.labels.job_id=~\"^momento-key-rotator(_.+)?$\""
    error_message = "Failed calls are counted from Cloud Scheduler's own lines for the jobs of this deployment."
  }
}

run "the_alerts" {
  command = plan

  variables {
    notification_channels = ["projects/test-project/notificationChannels/1234567890", "projects/ops/notificationChannels/42"]
    labels                = { team = "platform" }
  }

  assert {
    condition     = google_monitoring_alert_policy.failed_run[0].conditions[0].condition_prometheus_query_language[0].query == "sum by (secret, outcome, error_code) (sum_over_time(logging_googleapis_com:user_momento_key_rotator_runs{monitored_resource=\"cloud_run_revision\", outcome=~\"failed|incomplete\"}[3600s])) > 0"
    error_message = "A run that failed or was left incomplete raises an alert that names secret and error code."
  }

  # Six calls of at most 570 s, and 31 minutes between them.
  assert {
    condition     = google_monitoring_alert_policy.failed_job[0].conditions[0].condition_prometheus_query_language[0].query == "sum by (job_id) (sum_over_time(logging_googleapis_com:user_momento_key_rotator_failed_calls{monitored_resource=\"cloud_scheduler_job\"}[5280s])) > 5"
    error_message = "A job has failed for good when the call and its five retries failed within the time that they can take."
  }

  assert {
    condition     = google_monitoring_alert_policy.no_rotation[0].conditions[0].condition_prometheus_query_language[0].query == "sum by (secret) (sum_over_time(logging_googleapis_com:user_momento_key_rotator_late{monitored_resource=\"cloud_run_revision\"}[89400s])) > 0"
    error_message = "A run that leaves a key in place which was due days ago raises an alert that names the secret."
  }

  assert {
    condition     = google_monitoring_alert_policy.no_success[0].conditions[0].condition_prometheus_query_language[0].query == "(sum(sum_over_time(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\", service_name=\"momento-key-rotator\", location=\"europe-west1\", response_code_class=\"2xx\"}[259200s])) or vector(0)) < 1"
    error_message = "No success in three days raises an alert, also when there was no call at all."
  }

  assert {
    condition     = google_monitoring_alert_policy.expiry[0].conditions[0].condition_prometheus_query_language[0].query == "sum by (secret) (sum_over_time(logging_googleapis_com:user_momento_key_rotator_expiring{monitored_resource=\"cloud_run_revision\"}[89400s])) > 0"
    error_message = "A run that ends with little life in the newest key raises an alert."
  }

  assert {
    condition = alltrue([
      for policy in concat(google_monitoring_alert_policy.failed_run, google_monitoring_alert_policy.failed_job, google_monitoring_alert_policy.no_rotation, google_monitoring_alert_policy.no_success, google_monitoring_alert_policy.expiry) :
      policy.notification_channels == tolist(["projects/test-project/notificationChannels/1234567890", "projects/ops/notificationChannels/42"]) &&
      policy.user_labels == tomap({ team = "platform" }) && startswith(policy.display_name, "momento-key-rotator: ") &&
      length(policy.documentation[0].content) > 100 && length(policy.documentation[0].content) < 8192
    ])
    error_message = "Every alert goes to all channels, with the labels and with what to do."
  }

  assert {
    condition = alltrue([
      for policy in concat(google_monitoring_alert_policy.failed_run, google_monitoring_alert_policy.failed_job, google_monitoring_alert_policy.no_rotation, google_monitoring_alert_policy.no_success, google_monitoring_alert_policy.expiry) :
      strcontains(replace(policy.documentation[0].content, "\n", " "), "docs/runbook.md in the rotator's repository") &&
      (strcontains(policy.documentation[0].content, "\nLogs: `${output.log_command}`\n") || policy.display_name == "momento-key-rotator: a scheduled job failed for good")
    ])
    error_message = "Every alert says where the runbook is, and what shows the runs, if there are any."
  }

  assert {
    condition = (
      strcontains(google_monitoring_alert_policy.failed_run[0].documentation[0].content, "`${output.run_commands.common}`\n") &&
      strcontains(google_monitoring_alert_policy.failed_job[0].documentation[0].content, "`gcloud scheduler jobs run JOB --project=test-project --location=europe-west1`\n") &&
      strcontains(google_monitoring_alert_policy.no_success[0].documentation[0].content, "`${output.run_commands.common}`\n") &&
      strcontains(google_monitoring_alert_policy.no_success[0].documentation[0].content, "`gcloud scheduler jobs describe momento-key-rotator --project=test-project --location=europe-west1`.")
    )
    error_message = "What has to be run is printed."
  }

  # Otherwise Google refuses a condition on a metric that is only minutes old, and the first apply fails.
  assert {
    condition = alltrue([
      for policy in concat(google_monitoring_alert_policy.failed_run, google_monitoring_alert_policy.failed_job, google_monitoring_alert_policy.no_rotation, google_monitoring_alert_policy.no_success, google_monitoring_alert_policy.expiry) :
      policy.conditions[0].condition_prometheus_query_language[0].disable_metric_validation
    ])
    error_message = "The alerts can be created in the same apply as their metrics."
  }
}

run "every_run_rotates" {
  command = plan

  variables {
    renew_before = null
  }

  assert {
    condition = (
      google_logging_metric.late[0].filter == "${google_logging_metric.runs.filter} AND ((jsonPayload.keyAgeDays>=3))" &&
      google_logging_metric.expiring[0].filter == "${google_logging_metric.runs.filter} AND ((jsonPayload.daysLeft<7))"
    )
    error_message = "When every run rotates, the age of the key is what counts, and no key is ever too young to expire."
  }
}

run "days_by_secret" {
  command = plan

  variables {
    renew_before = null
    alerts       = { no_rotation_days = 2, expiry_days = 10 }
    secrets = {
      daily   = {}
      weekly  = { schedule = "0 4 * * 1", no_rotation_days = 15, location = "europe-west3" }
      weekly2 = { schedule = "0 5 * * 1", no_rotation_days = 15 }
      monthly = { schedule = "0 5 1 * *", no_rotation_days = 62 }
    }
  }

  assert {
    condition = google_logging_metric.late[0].filter == join("", [
      google_logging_metric.runs.filter,
      " AND ((jsonPayload.keyAgeDays>=2 AND NOT (jsonPayload.secret=\"projects/test-project/locations/europe-west3/secrets/weekly\" OR jsonPayload.secret=\"projects/test-project/secrets/weekly2\")",
      " AND NOT (jsonPayload.secret=\"projects/test-project/secrets/monthly\"))",
      " OR (jsonPayload.keyAgeDays>=15 AND (jsonPayload.secret=\"projects/test-project/locations/europe-west3/secrets/weekly\" OR jsonPayload.secret=\"projects/test-project/secrets/weekly2\"))",
      " OR (jsonPayload.keyAgeDays>=62 AND (jsonPayload.secret=\"projects/test-project/secrets/monthly\")))",
    ])
    error_message = "A secret that is rotated more rarely has its own number of days."
  }

  assert {
    condition = alltrue([
      for policy in [google_monitoring_alert_policy.failed_run[0], google_monitoring_alert_policy.no_success[0]] :
      strcontains(policy.documentation[0].content, "`${output.run_commands.common}` (where a secret ID has a schedule of its own, its jobs are `momento-key-rotator_ID` and `momento-key-rotator-NOW_ID`)")
    ])
    error_message = "Of several jobs, an alert names one and how the others are called."
  }

  assert {
    condition     = strcontains(google_monitoring_alert_policy.no_success[0].conditions[0].condition_prometheus_query_language[0].query, "[172800s]")
    error_message = "The secret that is rotated most often says when the function should have succeeded."
  }

  assert {
    condition     = endswith(google_logging_metric.expiring[0].filter, " AND ((jsonPayload.daysLeft<10))")
    error_message = "The days of the alert on expiry are in the metric's filter."
  }
}

run "each_alert_can_be_left_out" {
  command = plan

  variables {
    alerts    = { failed_run = false, failed_job = false, no_rotation_days = 0, expiry_days = 0 }
    dashboard = false
  }

  assert {
    condition = (
      length(google_monitoring_alert_policy.failed_run) == 0 && length(google_monitoring_alert_policy.failed_job) == 0 &&
      length(google_monitoring_alert_policy.no_rotation) == 0 && length(google_monitoring_alert_policy.no_success) == 0 && length(google_monitoring_alert_policy.expiry) == 0 &&
      length(google_monitoring_dashboard.rotations) == 0
    )
    error_message = "What is turned off is not there."
  }
}

run "all_alerts_can_be_left_out_and_the_metrics_stay" {
  command = plan

  variables {
    alerts = { enabled = false }
  }

  assert {
    condition = (
      length(google_monitoring_alert_policy.failed_run) == 0 && length(google_monitoring_alert_policy.failed_job) == 0 &&
      length(google_monitoring_alert_policy.no_rotation) == 0 && length(google_monitoring_alert_policy.no_success) == 0 && length(google_monitoring_alert_policy.expiry) == 0
    )
    error_message = "alerts.enabled = false leaves no alert."
  }

  assert {
    condition     = google_logging_metric.runs.name == "momento-key-rotator-runs" && length(google_logging_metric.expiring) == 1 && length(google_logging_metric.late) == 1
    error_message = "The metrics are there for alerts of one's own."
  }
}

# What Google accepts: 25 hours of a log-based metric, all in all; and for others, an interval that grows with the look-back.
run "the_limits_of_every_look_back" {
  command = plan

  assert {
    condition = alltrue(concat([for days, window in local.no_success_windows : (
      window.look_back == days * 86400 && window.interval % 30 == 0 && window.interval >= one([
        for step in [[0, 25 * 3600, 30], [25 * 3600, 8 * 86400, 300], [8 * 86400, 16 * 86400, 3600], [16 * 86400, 32 * 86400, 7200]] :
        step[2] if window.look_back + window.duration + window.interval > step[0] && window.look_back + window.duration + window.interval <= step[1]
      ])
    )], [length(local.no_success_windows) == 31]))
    error_message = "There is a number of days for which Google would refuse the look-back or the interval."
  }
}

run "at_the_lower_limits" {
  command = plan

  variables {
    timeout_seconds = 120
    alerts          = { no_rotation_days = 1, expiry_days = 1 }
  }

  assert {
    condition = alltrue([
      for policy in concat(google_monitoring_alert_policy.failed_run, google_monitoring_alert_policy.failed_job, google_monitoring_alert_policy.no_rotation, google_monitoring_alert_policy.expiry) : alltrue([
        for condition in policy.conditions[0].condition_prometheus_query_language :
        tonumber(regex("\\[([0-9]+)s\\]", condition.query)[0]) + tonumber(trimsuffix(condition.duration, "s")) + tonumber(trimsuffix(condition.evaluation_interval, "s")) <= 25 * 3600
      ])
    ])
    error_message = "An alert on a log-based metric looks back more than 25 hours."
  }

  assert {
    condition     = one(google_monitoring_alert_policy.no_success[*].conditions[0].condition_prometheus_query_language[0].evaluation_interval) == "300s"
    error_message = "The look-back on Cloud Run's metric follows the days."
  }
}

run "at_the_upper_limits" {
  command = plan

  variables {
    timeout_seconds = 1800
    alerts          = { no_rotation_days = 31, expiry_days = 3650 }
  }

  assert {
    condition = alltrue([
      for policy in concat(google_monitoring_alert_policy.failed_run, google_monitoring_alert_policy.failed_job, google_monitoring_alert_policy.no_rotation, google_monitoring_alert_policy.expiry) : alltrue([
        for condition in policy.conditions[0].condition_prometheus_query_language :
        tonumber(regex("\\[([0-9]+)s\\]", condition.query)[0]) + tonumber(trimsuffix(condition.duration, "s")) + tonumber(trimsuffix(condition.evaluation_interval, "s")) <= 25 * 3600
      ])
    ])
    error_message = "An alert on a log-based metric looks back more than 25 hours."
  }

  assert {
    condition     = one(google_monitoring_alert_policy.no_success[*].conditions[0].condition_prometheus_query_language[0].evaluation_interval) == "7200s"
    error_message = "The look-back on Cloud Run's metric follows the days."
  }
}

run "beyond_what_can_be_looked_back" {
  command = plan

  variables {
    renew_before = null
    alerts       = { no_rotation_days = 400 }
  }

  assert {
    condition = alltrue([
      for policy in concat(google_monitoring_alert_policy.failed_run, google_monitoring_alert_policy.failed_job, google_monitoring_alert_policy.no_rotation, google_monitoring_alert_policy.expiry) : alltrue([
        for condition in policy.conditions[0].condition_prometheus_query_language :
        tonumber(regex("\\[([0-9]+)s\\]", condition.query)[0]) + tonumber(trimsuffix(condition.duration, "s")) + tonumber(trimsuffix(condition.evaluation_interval, "s")) <= 25 * 3600
      ])
    ])
    error_message = "An alert on a log-based metric looks back more than 25 hours."
  }

  assert {
    condition     = length(google_monitoring_alert_policy.no_success) == 0 && endswith(google_logging_metric.late[0].filter, "((jsonPayload.keyAgeDays>=400))")
    error_message = "The look-back on Cloud Run's metric follows the days."
  }
}

run "a_filter_that_is_too_long" {
  command = plan

  variables {
    secrets = { for n in range(100) : "${join("", [for i in range(10) : "0123456789"])}-${n}" => { no_rotation_days = 15, schedule = "0 4 * * 1" } }
  }

  expect_failures = [google_logging_metric.late]
}

# What Cloud Monitoring samples are counts of a minute: increase() takes a lower one for a reset, and interpolates.
run "counts_are_counted" {
  command = plan

  assert {
    condition     = !strcontains(replace(file("${path.module}/monitoring.tf"), "increase() would", ""), "increase(")
    error_message = "A query does not count."
  }
}

run "the_dashboard" {
  command = plan

  assert {
    condition = alltrue([
      for title in ["Runs by outcome, per day", "Days left in the newest key, by secret", "Duration of a run in ms (median and 95th percentile)", "Failed calls of Cloud Scheduler, by job", "Log"] :
      contains([for tile in jsondecode(google_monitoring_dashboard.rotations[0].dashboard_json).mosaicLayout.tiles : tile.widget.title], title)
    ])
    error_message = "The dashboard shows outcomes, days left, duration, failed calls and the log."
  }

  # A tile beyond the last column, or over another one, is refused by the API.
  assert {
    condition = alltrue([
      for tile in jsondecode(google_monitoring_dashboard.rotations[0].dashboard_json).mosaicLayout.tiles :
      try(tile.xPos, 0) + tile.width <= 48
    ])
    error_message = "The tiles fit into the columns."
  }

  assert {
    condition = length(distinct([
      for tile in jsondecode(google_monitoring_dashboard.rotations[0].dashboard_json).mosaicLayout.tiles :
      "${try(tile.xPos, 0)} ${try(tile.yPos, 0)}"
    ])) == 5
    error_message = "No tile lies on another one."
  }
}

# An empty list would be missing from what Google answers, and be put back by every plan.
run "a_dashboard_without_a_threshold" {
  command = plan

  variables {
    alerts = { expiry_days = 0 }
  }

  assert {
    condition     = !strcontains(google_monitoring_dashboard.rotations[0].dashboard_json, "thresholds")
    error_message = "What there is none of is left out."
  }
}

run "a_dashboard_with_a_threshold" {
  command = plan

  assert {
    condition     = [for tile in jsondecode(google_monitoring_dashboard.rotations[0].dashboard_json).mosaicLayout.tiles : tile.widget.xyChart.thresholds if can(tile.widget.xyChart.thresholds)] == [[{ label = "Alert", value = 7 }]]
    error_message = "The days left have the alert's threshold."
  }
}
