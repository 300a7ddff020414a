# Keys whose lifetime is known. Terraform accepts lifetimes that are just long enough, and the days of the alerts follow
# the lifetimes.

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
    rotation = { revoke = true }
    secrets = {
      week    = { lifetime = "14d" }
      monthly = { lifetime = "1489h", schedule = "0 4 1 * *" }
      hidden  = { lifetime = "15d", schedule = "0 4,16 * * MON-FRI" }
      role    = { role = join("", [for n in range(100) : "_"]) }
    }
  }

  assert {
    condition = (
      length(jsondecode(google_cloudfunctions2_function.rotator.service_config[0].environment_variables["SECRETS"])) ==
      4
    )
    error_message = "Terraform must accept a lifetime that leaves time for a run and for the grace period."
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
    condition = (
      length(jsondecode(google_cloudfunctions2_function.rotator.service_config[0].environment_variables["SECRETS"])) ==
      3
    )
    error_message = "Terraform must accept a lifetime that leaves time for a run."
  }
}

# ---- the minimum of renew_before ----

run "the_minimum_is_twice_the_time_between_runs" {
  command = plan

  variables {
    secrets = { hourly = { schedule = "17 * * * *" }, weekly = { schedule = "0 4 * * MON" } }
  }

  assert {
    condition = (
      google_cloudfunctions2_function.rotator.service_config[0].environment_variables["RENEW_BEFORE"] == "50%,336h"
    )
    error_message = "The minimum must be twice the longest time between two runs."
  }
}

run "the_minimum_of_an_hourly_schedule" {
  command = plan

  variables {
    schedule = { cron = "*/15 * * * *" }
  }

  assert {
    condition = (
      google_cloudfunctions2_function.rotator.service_config[0].environment_variables["RENEW_BEFORE"] == "50%,2h"
    )
    error_message = "With runs in every hour, the minimum must be two hours."
  }
}

run "the_minimum_of_a_monthly_schedule" {
  command = plan

  variables {
    schedule   = { cron = "0 4 1 * *" }
    monitoring = { no_rotation_days = 40 }
  }

  assert {
    condition = (
      google_cloudfunctions2_function.rotator.service_config[0].environment_variables["RENEW_BEFORE"] == "50%,336h"
    )
    error_message = "The minimum must be at most two weeks."
  }
}

run "no_minimum_changes_a_known_lifetime" {
  command = plan

  variables {
    secrets = { day = { lifetime = "1d", schedule = "17 */6 * * *" }, read = {} }
  }

  assert {
    condition = (
      google_cloudfunctions2_function.rotator.service_config[0].environment_variables["RENEW_BEFORE"] == "50%,12h"
    )
    error_message = "The minimum must be at most the share of the shortest lifetime."
  }
}

run "no_minimum_where_every_lifetime_is_known" {
  command = plan

  variables {
    secrets = { month = { lifetime = "30d" } }
  }

  assert {
    condition = (
      google_cloudfunctions2_function.rotator.service_config[0].environment_variables["RENEW_BEFORE"] == "50%"
    )
    error_message = "If every lifetime is known, there must be no minimum."
  }
}

run "a_minimum_of_its_own" {
  command = plan

  variables {
    rotation = { renew_before = "50%,20d" }
    secrets  = { month = { lifetime = "30d" }, read = {} }
  }

  assert {
    condition = (
      google_cloudfunctions2_function.rotator.service_config[0].environment_variables["RENEW_BEFORE"] == "50%,20d" &&
      local.left_when_due["month"] == 20 * 86400
    )
    error_message = "A configured minimum must stay, and the larger of share and minimum must apply."
  }
}

run "the_alerts_follow_short_lifetimes" {
  command = plan

  variables {
    secrets = {
      day   = { lifetime = "1d", schedule = "17 */6 * * *" }
      days  = { lifetime = "5d" }
      month = { lifetime = "30d" }
      own   = { lifetime = "5d", no_rotation_days = 4 }
      read  = {}
    }
  }

  # 12 hours and 2.5 days remain when the keys are due. Half of that time, in tenths of a day, is rounded down.
  assert {
    condition = (
      local.expiry_days == { day = 0.2, days = 1.2, month = 7, own = 1.2, read = 7 } &&
      local.no_rotation_days == { day = 1, days = 2, month = 3, own = 4, read = 3 }
    )
    error_message = "An alert must open before a key expires, and after its renewal is due."
  }
}

run "the_alerts_where_every_run_rotates" {
  command = plan

  variables {
    rotation = { renew_before = "always" }
    secrets = {
      day = { lifetime = "1d", schedule = "17 */6 * * *" }
      two = { lifetime = "2d", schedule = "0 4,16 * * *" }
    }
  }

  # A good key has all of its lifetime left when its run ends.
  assert {
    condition     = local.expiry_days == { day = 0.3, two = 1 }
    error_message = "A key that lives a day must not raise an alert at seven days."
  }
}

run "the_alerts_with_a_fixed_renewal_time" {
  command = plan

  variables {
    rotation = { renew_before = "10d" }
    secrets  = { quarter = { lifetime = "90d" } }
  }

  assert {
    condition     = local.expiry_days == { quarter = 5 }
    error_message = "The alert must open when half of the remaining time is over."
  }
}
