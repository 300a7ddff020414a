# Keys whose lifetime is known: what just works is accepted, and no alert expects more of a key than its lifetime allows.

mock_provider "google" {
  source = "./tests/mocks"
}

mock_provider "time" {}

variables {
  project_id     = "test-project"
  management_key = {}
}

run "just_long_enough" {
  command = plan

  variables {
    revoke = true
    secrets = {
      week    = { lifetime = "14d" }
      monthly = { lifetime = "1489h", schedule = "0 4 1 * *" }
      hidden  = { lifetime = "15d", schedule = "0 4,16 * * MON-FRI" }
      role    = { role = join("", [for n in range(100) : "_"]) }
    }
  }

  assert {
    condition     = length(jsondecode(google_cloudfunctions2_function.rotator.service_config[0].environment_variables["SECRETS"])) == 4
    error_message = "A lifetime that leaves time for a run and for the grace period is accepted."
  }
}

run "just_long_enough_without_revoke" {
  command = plan

  variables {
    secrets = {
      daily      = { lifetime = "2881m" }
      six_hourly = { lifetime = "1d", schedule = "17 */6 * * *" }
      hourly     = { lifetime = "121m", schedule = "17 * * * *" }
    }
  }

  assert {
    condition     = length(jsondecode(google_cloudfunctions2_function.rotator.service_config[0].environment_variables["SECRETS"])) == 3
    error_message = "A lifetime that leaves time for a run is accepted."
  }
}

run "the_alerts_follow_short_lifetimes" {
  command = plan

  variables {
    secrets = {
      day   = { lifetime = "1d", schedule = "17 */6 * * *" }
      days  = { lifetime = "5d" }
      month = { lifetime = "30d" }
      read  = {}
    }
  }

  # Half of the 12 hours and of the 2.5 days that are left when they are due, in tenths, rounded down.
  assert {
    condition = google_logging_metric.expiring[0].filter == join("", [
      google_logging_metric.runs.filter,
      " AND ((jsonPayload.daysLeft<7 AND NOT (jsonPayload.secret=\"projects/test-project/secrets/day\") AND NOT (jsonPayload.secret=\"projects/test-project/secrets/days\"))",
      " OR (jsonPayload.daysLeft<0.2 AND (jsonPayload.secret=\"projects/test-project/secrets/day\"))",
      " OR (jsonPayload.daysLeft<1.2 AND (jsonPayload.secret=\"projects/test-project/secrets/days\")))",
      " AND jsonPayload.overdueDays>0",
    ])
    error_message = "A key that lives a day raises no alarm at seven days."
  }

  assert {
    condition = endswith(google_logging_metric.late[0].filter, join("", [
      " AND ((jsonPayload.overdueDays>=3 AND NOT (jsonPayload.secret=\"projects/test-project/secrets/day\") AND NOT (jsonPayload.secret=\"projects/test-project/secrets/days\"))",
      " OR (jsonPayload.overdueDays>=1 AND (jsonPayload.secret=\"projects/test-project/secrets/day\"))",
      " OR (jsonPayload.overdueDays>=2 AND (jsonPayload.secret=\"projects/test-project/secrets/days\")))",
    ]))
    error_message = "A key that is late is noticed before it expires, as far as whole days allow."
  }

  assert {
    condition     = strcontains(google_monitoring_alert_policy.no_success[0].conditions[0].condition_prometheus_query_language[0].query, "[86400s]")
    error_message = "No success is noticed before the shortest-lived key expires, as far as whole days allow."
  }

  assert {
    condition     = strcontains(google_monitoring_alert_policy.expiry[0].conditions[0].display_name, "half of what is left")
    error_message = "The alert says that it has other days for some keys."
  }
}

run "where_every_run_rotates" {
  command = plan

  variables {
    renew_before = null
    secrets      = { day = { lifetime = "1d", schedule = "17 */6 * * *" }, unknown = { lifetime = "2d", schedule = "0 4,16 * * *" } }
  }

  # A good key has all of its lifetime left when its run ends.
  assert {
    condition = endswith(google_logging_metric.expiring[0].filter, join("", [
      " AND ((jsonPayload.daysLeft<7 AND NOT (jsonPayload.secret=\"projects/test-project/secrets/day\") AND NOT (jsonPayload.secret=\"projects/test-project/secrets/unknown\"))",
      " OR (jsonPayload.daysLeft<0.3 AND (jsonPayload.secret=\"projects/test-project/secrets/day\"))",
      " OR (jsonPayload.daysLeft<1 AND (jsonPayload.secret=\"projects/test-project/secrets/unknown\")))",
    ]))
    error_message = "A key that lives a day raises no alarm at seven days."
  }
}

run "where_renewal_begins_at_a_fixed_time" {
  command = plan

  variables {
    renew_before = "10d"
    secrets      = { quarter = { lifetime = "90d" } }
  }

  assert {
    condition     = strcontains(google_logging_metric.expiring[0].filter, "daysLeft<5 AND (jsonPayload.secret=\"projects/test-project/secrets/quarter\")")
    error_message = "Half of what is left when renewal begins is the most."
  }
}

run "days_of_its_own_and_alerts_that_are_off" {
  command = plan

  variables {
    alerts  = { no_rotation_days = 0, expiry_days = 0 }
    secrets = { day = { lifetime = "1d", schedule = "17 */6 * * *" }, own = { lifetime = "5d", no_rotation_days = 3 } }
  }

  assert {
    condition = (
      length(google_logging_metric.expiring) == 0 && length(google_logging_metric.late) == 0 &&
      length(google_monitoring_alert_policy.no_success) == 0 && length(google_monitoring_alert_policy.expiry) == 0
    )
    error_message = "What is off stays off, however short-lived a key is."
  }
}

run "days_of_its_own" {
  command = plan

  variables {
    secrets = { own = { lifetime = "5d", no_rotation_days = 4 } }
  }

  assert {
    condition     = strcontains(google_logging_metric.late[0].filter, "overdueDays>=4 AND (jsonPayload.secret=\"projects/test-project/secrets/own\")")
    error_message = "What is said of a secret counts."
  }
}

# ---- the minimum of renew_before ----

run "the_minimum_is_twice_the_time_between_runs" {
  command = plan

  variables {
    secrets = { hourly = { schedule = "17 * * * *" }, weekly = { schedule = "0 4 * * MON" } }
  }

  assert {
    condition     = google_cloudfunctions2_function.rotator.service_config[0].environment_variables["RENEW_BEFORE"] == "50%,336h"
    error_message = "The longest time between two runs counts, twice."
  }
}

run "the_minimum_of_an_hourly_schedule" {
  command = plan

  variables {
    schedule = "*/15 * * * *"
  }

  assert {
    condition     = google_cloudfunctions2_function.rotator.service_config[0].environment_variables["RENEW_BEFORE"] == "50%,2h"
    error_message = "Runs within every hour need a minimum of two hours."
  }
}

run "the_minimum_of_a_monthly_schedule" {
  command = plan

  variables {
    schedule = "0 4 1 * *"
    alerts   = { no_rotation_days = 40 }
  }

  assert {
    condition     = google_cloudfunctions2_function.rotator.service_config[0].environment_variables["RENEW_BEFORE"] == "50%,336h"
    error_message = "The minimum is two weeks at most."
  }
}

run "no_minimum_changes_a_known_lifetime" {
  command = plan

  variables {
    secrets = { day = { lifetime = "1d", schedule = "17 */6 * * *" }, read = {} }
  }

  assert {
    condition     = google_cloudfunctions2_function.rotator.service_config[0].environment_variables["RENEW_BEFORE"] == "50%,12h"
    error_message = "The minimum is at most the share of the shortest lifetime."
  }
}

run "no_minimum_where_every_lifetime_is_known" {
  command = plan

  variables {
    secrets = { month = { lifetime = "30d" } }
  }

  assert {
    condition     = google_cloudfunctions2_function.rotator.service_config[0].environment_variables["RENEW_BEFORE"] == "50%"
    error_message = "A known lifetime needs no minimum."
  }
}

run "a_minimum_of_its_own" {
  command = plan

  variables {
    renew_before = "50%,20d"
    secrets      = { month = { lifetime = "30d" }, read = {} }
  }

  assert {
    condition = (
      google_cloudfunctions2_function.rotator.service_config[0].environment_variables["RENEW_BEFORE"] == "50%,20d" &&
      local.left_when_due["month"] == 20 * 86400
    )
    error_message = "A configured minimum stays, and the larger part counts."
  }
}
