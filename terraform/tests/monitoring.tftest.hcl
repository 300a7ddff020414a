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
      for metric in [google_logging_metric.runs, google_logging_metric.days_left, google_logging_metric.duration, google_logging_metric.expiring[0], google_logging_metric.failed_calls] :
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
      google_logging_metric.expiring[0].filter == "${google_logging_metric.runs.filter} AND jsonPayload.daysLeft<7"
    )
    error_message = "Days left and duration are taken from the line."
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
    condition     = google_monitoring_alert_policy.failed_run[0].conditions[0].condition_prometheus_query_language[0].query == "sum by (secret, outcome, error_code) (increase(logging_googleapis_com:user_momento_key_rotator_runs{monitored_resource=\"cloud_run_revision\", outcome=~\"failed|incomplete\"}[1h])) > 0"
    error_message = "A run that failed or was left incomplete raises an alert that names secret and error code."
  }

  # Six calls of at most 570 s, and 31 minutes between them.
  assert {
    condition     = google_monitoring_alert_policy.failed_job[0].conditions[0].condition_prometheus_query_language[0].query == "sum by (job_id) (increase(logging_googleapis_com:user_momento_key_rotator_failed_calls{monitored_resource=\"cloud_scheduler_job\"}[5280s])) > 5.5"
    error_message = "A job has failed for good when the call and its five retries failed within the time that they can take."
  }

  assert {
    condition     = google_monitoring_alert_policy.no_rotation["momento-api-key"].conditions[0].condition_prometheus_query_language[0].query == "(sum(increase(logging_googleapis_com:user_momento_key_rotator_runs{monitored_resource=\"cloud_run_revision\", secret=\"projects/test-project/secrets/momento-api-key\", outcome=~\"rotated|already_rotated|superseded\"}[3d])) or vector(0)) < 0.5"
    error_message = "No success in three days raises an alert, also when there was no run at all."
  }

  assert {
    condition     = google_monitoring_alert_policy.expiry[0].conditions[0].condition_prometheus_query_language[0].query == "sum by (secret) (increase(logging_googleapis_com:user_momento_key_rotator_expiring{monitored_resource=\"cloud_run_revision\"}[25h])) > 0"
    error_message = "A run that ends with little life in the newest key raises an alert."
  }

  assert {
    condition = alltrue([
      for policy in concat(google_monitoring_alert_policy.failed_run, google_monitoring_alert_policy.failed_job, values(google_monitoring_alert_policy.no_rotation), google_monitoring_alert_policy.expiry) :
      policy.notification_channels == tolist(["projects/test-project/notificationChannels/1234567890", "projects/ops/notificationChannels/42"]) &&
      policy.user_labels == tomap({ team = "platform" }) && startswith(policy.display_name, "momento-key-rotator: ") &&
      length(policy.documentation[0].content) > 100 && length(policy.documentation[0].content) < 8192
    ])
    error_message = "Every alert goes to all channels, with the labels and with what to do."
  }

  # Otherwise Google refuses a condition on a metric that is only minutes old, and the first apply fails.
  assert {
    condition = alltrue([
      for policy in concat(google_monitoring_alert_policy.failed_run, google_monitoring_alert_policy.failed_job, values(google_monitoring_alert_policy.no_rotation), google_monitoring_alert_policy.expiry) :
      policy.conditions[0].condition_prometheus_query_language[0].disable_metric_validation
    ])
    error_message = "The alerts can be created in the same apply as their metrics."
  }
}

run "nothing_due_is_a_success_with_a_renewal_time" {
  command = plan

  variables {
    renew_before = "14d"
  }

  assert {
    condition     = strcontains(google_monitoring_alert_policy.no_rotation["momento-api-key"].conditions[0].condition_prometheus_query_language[0].query, "outcome=~\"rotated|already_rotated|superseded|not_due\"")
    error_message = "With renew_before, most runs find nothing due, and have done their work."
  }
}

run "days_by_secret" {
  command = plan

  variables {
    alerts = { no_rotation_days = 2, expiry_days = 10 }
    secrets = {
      daily  = {}
      weekly = { schedule = "0 4 * * 1", no_rotation_days = 15, location = "europe-west3" }
    }
  }

  assert {
    condition = (
      strcontains(google_monitoring_alert_policy.no_rotation["daily"].conditions[0].condition_prometheus_query_language[0].query, "secret=\"projects/test-project/secrets/daily\", outcome=~\"rotated|already_rotated|superseded\"}[2d])") &&
      strcontains(google_monitoring_alert_policy.no_rotation["weekly"].conditions[0].condition_prometheus_query_language[0].query, "secret=\"projects/test-project/locations/europe-west3/secrets/weekly\", outcome=~\"rotated|already_rotated|superseded\"}[15d])")
    )
    error_message = "A secret that is rotated more rarely has its own number of days."
  }

  assert {
    condition     = endswith(google_logging_metric.expiring[0].filter, " AND jsonPayload.daysLeft<10")
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
      length(google_monitoring_alert_policy.no_rotation) == 0 && length(google_monitoring_alert_policy.expiry) == 0 &&
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
      length(google_monitoring_alert_policy.no_rotation) == 0 && length(google_monitoring_alert_policy.expiry) == 0
    )
    error_message = "alerts.enabled = false leaves no alert."
  }

  assert {
    condition     = google_logging_metric.runs.name == "momento-key-rotator-runs" && length(google_logging_metric.expiring) == 1
    error_message = "The metrics are there for alerts of one's own."
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
