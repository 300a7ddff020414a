# Metrics and alerts. The runs plan the submodule itself, because tests can't read a child module.

mock_provider "google" {
  source = "./tests/mocks"
}

variables {
  project_id    = "test-project"
  region        = "europe-west1"
  name          = "rotator"
  labels        = { team = "platform" }
  function_name = "rotator"
  every_run     = false
  secrets       = { key = { name = "projects/p/secrets/key", expiry_days = 7, no_rotation_days = 3 } }
  scheduler     = { region = "europe-west3", calls = 6, longest_run_seconds = 5280 }
  commands      = { rotate = "ROTATE", watch = "WATCH", describe_jobs = "LIST", store = "the first credential" }
  settings = {
    dashboard             = true
    notification_channels = ["projects/p/notificationChannels/1"]
    auto_close            = "86400s"
    no_rotation_days      = 3
    expiry_days           = 7
    alerts                = {}
  }
}

run "the_metrics_read_the_functions_lines" {
  command = plan

  module {
    source = "./modules/monitoring"
  }

  assert {
    condition = {
      for kind, metric in google_logging_metric.created :
      kind => trimprefix(metric.filter, google_logging_metric.created["runs"].filter)
      if !endswith(kind, "-calls")
      } == {
      runs          = ""
      days-left     = " AND jsonPayload.daysLeft:*"
      duration      = ""
      expiring      = " AND ((jsonPayload.daysLeft<7)) AND jsonPayload.overdueDays>0"
      late          = " AND ((jsonPayload.overdueDays>=3))"
      not-contained = " AND jsonPayload.contained=false"
    }
    error_message = "Each metric must count only its lines."
  }

  assert {
    condition = google_logging_metric.created["runs"].filter == join(" AND ", [
      "resource.type=\"cloud_run_revision\"", "jsonPayload.event=\"rotation\"",
      "resource.labels.service_name=\"rotator\"", "resource.labels.location=\"europe-west1\"",
    ])
    error_message = "The metrics must not count runs of other functions."
  }

  assert {
    condition = alltrue([
      for kind, severity in { failed-calls = ">=", good-calls = "<" } :
      google_logging_metric.created[kind].filter == join(" AND ", [
        "resource.type=\"cloud_scheduler_job\"", "log_id(\"cloudscheduler.googleapis.com/executions\")",
        "jsonPayload.\"@type\"=\"type.googleapis.com/google.cloud.scheduler.logging.AttemptFinished\"",
        "resource.labels.location=\"europe-west3\"",
        "resource.labels.job_id=~\"^rotator(-PART[0-9]+)?(_.+)?$\"", "severity${severity}ERROR",
      ])
    ])
    error_message = "The metrics must not count calls of other jobs."
  }

  assert {
    condition = google_logging_metric.created["runs"].label_extractors == tomap({
      secret     = "EXTRACT(jsonPayload.secret)"
      outcome    = "EXTRACT(jsonPayload.outcome)"
      error_code = "EXTRACT(jsonPayload.error.code)"
      help       = "EXTRACT(jsonPayload.error.help)"
      trigger    = "EXTRACT(jsonPayload.trigger)"
    })
    error_message = "The metric runs must have the labels secret, outcome, error_code, help and trigger."
  }

  assert {
    condition = alltrue([
      for kind, metric in google_logging_metric.created : metric.name == "rotator-${kind}" &&
      metric.metric_descriptor[0].metric_kind == "DELTA" &&
      (metric.metric_descriptor[0].value_type == "DISTRIBUTION") == contains(["days-left", "duration"], kind) &&
      sort(metric.metric_descriptor[0].labels[*].key) == tolist(sort(keys(metric.label_extractors)))
    ])
    error_message = "Each metric must have its name and kind, and an extractor for every label."
  }

  assert {
    condition = (
      google_logging_metric.created["days-left"].value_extractor == "EXTRACT(jsonPayload.daysLeft)" &&
      google_logging_metric.created["duration"].value_extractor == "EXTRACT(jsonPayload.durationMs)" &&
      google_logging_metric.created["duration"].bucket_options[0].exponential_buckets[0].num_finite_buckets == 24 &&
      length(google_logging_metric.created["days-left"].bucket_options[0].explicit_buckets[0].bounds) == 15
    )
    error_message = "Each distribution must read its field and have its buckets."
  }

  assert {
    condition     = terraform_data.name.input == "rotator"
    error_message = "A new name must replace the metrics."
  }
}

run "the_alerts" {
  command = plan

  module {
    source = "./modules/monitoring"
  }

  assert {
    condition = {
      for kind, alert in google_monitoring_alert_policy.created :
      kind => alert.conditions[0].condition_prometheus_query_language[0].query
      } == {
      failed_run = join("", [
        "sum by (secret, outcome, error_code, help) (sum_over_time(logging_googleapis_com:user_rotator_runs{",
        "monitored_resource=\"cloud_run_revision\", outcome=~\"failed|incomplete\"}[3600s])) > 0",
      ])
      # Two runs that succeed after retries can have six failed calls too, but they also have a success.
      failed_job = join("", [
        "(sum by (job_id) (sum_over_time(logging_googleapis_com:user_rotator_failed_calls{",
        "monitored_resource=\"cloud_scheduler_job\"}[5280s])) >= 6) unless ",
        "(sum by (job_id) (sum_over_time(logging_googleapis_com:user_rotator_good_calls{",
        "monitored_resource=\"cloud_scheduler_job\"}[5280s])) > 0)",
      ])
      no_rotation = join("", [
        "sum by (secret) (sum_over_time(logging_googleapis_com:user_rotator_late{",
        "monitored_resource=\"cloud_run_revision\"}[89400s])) > 0",
      ])
      no_success = join("", [
        "(sum(sum_over_time(run_googleapis_com:request_count{monitored_resource=\"cloud_run_revision\", ",
        "service_name=\"rotator\", location=\"europe-west1\", ",
        "response_code_class=\"2xx\"}[259200s])) or vector(0)) < 1",
      ])
      expiry = join("", [
        "sum by (secret) (sum_over_time(logging_googleapis_com:user_rotator_expiring{",
        "monitored_resource=\"cloud_run_revision\"}[89400s])) > 0",
      ])
      not_contained = join("", [
        "sum by (secret) (sum_over_time(logging_googleapis_com:user_rotator_not_contained{",
        "monitored_resource=\"cloud_run_revision\"}[89400s])) > 0",
      ])
    }
    error_message = "Each alert must have its query."
  }

  assert {
    condition = alltrue([
      for kind, alert in google_monitoring_alert_policy.created :
      alert.notification_channels == tolist(["projects/p/notificationChannels/1"]) &&
      alert.user_labels == tomap({ team = "platform" }) && startswith(alert.display_name, "rotator: ") &&
      alert.severity == (kind == "failed_run" ? "ERROR" : "CRITICAL") &&
      alert.alert_strategy[0].auto_close == "86400s" && length(alert.documentation[0].links) == 0 &&
      alert.conditions[0].condition_prometheus_query_language[0].disable_metric_validation &&
      strcontains(alert.documentation[0].content, "docs/operate/runbook.md in the rotator's repository") &&
      (strcontains(alert.documentation[0].content, "`WATCH`") || kind == "failed_job") &&
      length(alert.documentation[0].content) > 100 && length(alert.documentation[0].content) < 8192
    ])
    error_message = "Each alert must have its channels, labels and texts, and must not need an existing metric."
  }
}

run "alerts_with_their_own_settings" {
  command = plan

  module {
    source = "./modules/monitoring"
  }

  variables {
    settings = {
      dashboard             = false
      notification_channels = ["projects/p/notificationChannels/1"]
      auto_close            = "3600s"
      repository_url        = "https://example.com/rotator/"
      no_rotation_days      = 3
      expiry_days           = 7
      alerts = {
        failed_job = { enabled = false }
        expiry     = { enabled = true, notification_channels = ["projects/p/notificationChannels/2"] }
        failed_run = { enabled = true, notification_channels = [] }
      }
    }
  }

  assert {
    condition = {
      for kind, alert in google_monitoring_alert_policy.created : kind => join(" ", alert.notification_channels)
      } == {
      failed_run    = ""
      expiry        = "projects/p/notificationChannels/2"
      no_rotation   = "projects/p/notificationChannels/1"
      no_success    = "projects/p/notificationChannels/1"
      not_contained = "projects/p/notificationChannels/1"
    }
    error_message = "A disabled alert must not exist, and each alert must notify its own channels."
  }

  assert {
    condition = (
      {
        for link in google_monitoring_alert_policy.created["failed_run"].documentation[0].links :
        link.display_name => link.url
        } == {
        "Runbook"    = "https://example.com/rotator/docs/operate/runbook.md#alerts"
        "Error code" = "https://example.com/rotator/$${metric.label.help}"
      } &&
      google_monitoring_alert_policy.created["expiry"].documentation[0].links[*].url ==
      tolist(["https://example.com/rotator/docs/operate/runbook.md#alerts"]) &&
      strcontains(
        google_monitoring_alert_policy.created["failed_run"].documentation[0].content,
        "https://example.com/rotator/docs/operate/error-codes.md"
      )
    )
    error_message = "Alerts must link to the runbook, and failed_run to the entry of the error code."
  }

  assert {
    condition     = length(google_monitoring_dashboard.rotations) == 0 && output.dashboard == null
    error_message = "A disabled dashboard must not exist."
  }
}

run "days_by_secret_where_every_run_rotates" {
  command = plan

  module {
    source = "./modules/monitoring"
  }

  variables {
    every_run = true
    secrets = {
      a = { name = "projects/p/secrets/a", expiry_days = 7, no_rotation_days = 3 }
      b = { name = "projects/p/secrets/b", expiry_days = 0.2, no_rotation_days = 3 }
      c = { name = "projects/p/secrets/c", expiry_days = 7, no_rotation_days = 15 }
      d = { name = "projects/p/secrets/d", expiry_days = 7, no_rotation_days = 15 }
    }
  }

  assert {
    condition = endswith(google_logging_metric.created["late"].filter, join("", [
      " AND ((jsonPayload.keyAgeDays>=3 AND NOT (jsonPayload.secret=\"projects/p/secrets/c\" OR ",
      "jsonPayload.secret=\"projects/p/secrets/d\")) OR (jsonPayload.keyAgeDays>=15 AND ",
      "(jsonPayload.secret=\"projects/p/secrets/c\" OR jsonPayload.secret=\"projects/p/secrets/d\")))",
    ]))
    error_message = "The filter must use the days of each secret."
  }

  assert {
    condition = endswith(google_logging_metric.created["expiring"].filter, join("", [
      " AND ((jsonPayload.daysLeft<7 AND NOT (jsonPayload.secret=\"projects/p/secrets/b\"))",
      " OR (jsonPayload.daysLeft<0.2 AND (jsonPayload.secret=\"projects/p/secrets/b\")))",
    ]))
    error_message = "The filter must use the days of short-lived keys, and must not require that a key is due."
  }

  assert {
    condition = strcontains(
      google_monitoring_alert_policy.created["expiry"].conditions[0].display_name, "half of what remains"
    )
    error_message = "The alert must mention the days of short-lived keys."
  }
}

# Google accepts 25 hours of a log-based metric, and for other metrics an interval that grows with the look-back.
run "the_limits_of_a_look_back" {
  command = plan

  module {
    source = "./modules/monitoring"
  }

  variables {
    scheduler = { region = "europe-west3", calls = 6, longest_run_seconds = 5460 }
    secrets   = { a = { name = "projects/p/secrets/a", expiry_days = 7, no_rotation_days = 31 } }
  }

  assert {
    condition = alltrue([
      for kind, alert in google_monitoring_alert_policy.created : alltrue([
        for condition in alert.conditions[0].condition_prometheus_query_language : (
          tonumber(regex("\\[([0-9]+)s\\]", condition.query)[0]) +
          tonumber(trimsuffix(condition.duration, "s")) + tonumber(trimsuffix(condition.evaluation_interval, "s"))
        ) <= (kind == "no_success" ? 32 * 86400 : 25 * 3600)
      ])
    ])
    error_message = "No alert must look back further than Google allows."
  }

  assert {
    condition = one([
      for alert in [google_monitoring_alert_policy.created["no_success"]] :
      alert.conditions[0].condition_prometheus_query_language[0].evaluation_interval
    ]) == "7200s"
    error_message = "A long look-back must have a long interval."
  }
}

run "longer_than_google_looks_back" {
  command = plan

  module {
    source = "./modules/monitoring"
  }

  variables {
    secrets = { a = { name = "projects/p/secrets/a", expiry_days = 7, no_rotation_days = 32 } }
  }

  assert {
    condition     = !contains(keys(google_monitoring_alert_policy.created), "no_success")
    error_message = "There must be no alert on more than 31 days, because Google would refuse it."
  }
}

run "a_filter_over_20000_characters" {
  command = plan

  module {
    source = "./modules/monitoring"
  }

  variables {
    secrets = {
      for n in range(300) : n => {
        name             = "projects/p/secrets/${join("", [for i in range(6) : "0123456789"])}-${n}"
        expiry_days      = 7
        no_rotation_days = 15
      }
    }
  }

  expect_failures = [google_logging_metric.created]
}

run "the_dashboard" {
  command = plan

  module {
    source = "./modules/monitoring"
  }

  assert {
    condition = [
      for tile in jsondecode(google_monitoring_dashboard.rotations[0].dashboard_json).mosaicLayout.tiles :
      "${try(tile.xPos, 0)} ${try(tile.yPos, 0)} ${tile.widget.title}"
      ] == [
      "0 0 Runs by outcome, per day",
      "24 0 Rotations by trigger, per day",
      "0 16 Days left in the newest key, by secret",
      "24 16 Duration of a run in ms (median and 95th percentile)",
      "0 32 Failed calls of Cloud Scheduler, by job",
      "0 48 Log",
    ]
    error_message = "The dashboard must show these tiles, without overlaps."
  }

  assert {
    condition = [
      for tile in jsondecode(google_monitoring_dashboard.rotations[0].dashboard_json).mosaicLayout.tiles :
      tile.widget.xyChart.dataSets[0].timeSeriesQuery.prometheusQuery if tile.widget.title ==
      "Rotations by trigger, per day"
      ] == [join("", [
        "sum by (trigger) (sum_over_time(logging_googleapis_com:user_rotator_runs{",
        "monitored_resource=\"cloud_run_revision\", outcome=\"rotated\"}[1d]))",
    ])]
    error_message = "The dashboard must show rotations by trigger."
  }
}
