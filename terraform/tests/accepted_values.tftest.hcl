# What lies just within the limits is accepted: a validation that refuses too much is as bad as one that refuses too little.

mock_provider "google" {
  source = "./tests/mocks"
}

mock_provider "time" {}

variables {
  project_id = "test-project"
}

run "at_the_lower_limits" {
  command = plan

  variables {
    project_id       = "abcde1"
    region           = "me-central2"
    scheduler_region = "northamerica-northeast1"
    name             = "r"
    labels           = { a = "" }
    schedule         = "* * * * *"
    time_zone        = "UTC"
    renew_before     = "1s"
    grace_period     = "0"
    destroy_after    = "0"
    timeout_seconds  = 120
    memory           = "256Mi"
    alerts           = { no_rotation_days = 1, expiry_days = 0 }
    secrets          = { x = { version_destroy_ttl = "1d", no_rotation_days = 1 } }
  }

  assert {
    condition     = google_secret_manager_secret.created["x"].version_destroy_ttl == "86400s"
    error_message = "A day is the shortest delay of destruction."
  }
}

run "at_the_upper_limits" {
  command = plan

  variables {
    project_id            = "a12345678901234567890123456789"
    region                = "australia-southeast1"
    labels                = { a23456789012345678901234567890123456789012345678901234567890123 = "123456789012345678901234567890123456789012345678901234567890123" }
    schedule              = "0-59/15,59 0,12,23 1-31/2 JAN-jun,12 0,7,Mon-FRI"
    time_zone             = "America/Argentina/ComodRivadavia"
    renew_before          = "99%,999999s"
    grace_period          = "999999d"
    destroy_after         = "999999d"
    timeout_seconds       = 1800
    memory                = "4Gi"
    cpu                   = 2
    ingress               = "ALLOW_INTERNAL_AND_GCLB"
    alerts                = { no_rotation_days = 400, expiry_days = 3650 }
    notification_channels = [for n in range(16) : "projects/p/notificationChannels/${n}"]
    secrets               = merge({ x = { version_destroy_ttl = "1000d", no_rotation_days = 400 } }, { for n in range(99) : "s${n}" => {} })
  }

  assert {
    condition     = google_secret_manager_secret.created["x"].version_destroy_ttl == "86400000s" && length(google_secret_manager_secret.created) == 100
    error_message = "A thousand days is the longest delay of destruction, and a hundred secrets are the most."
  }
}

run "durations_in_every_unit" {
  command = plan

  variables {
    renew_before  = "20160m"
    grace_period  = "129600s"
    destroy_after = "36h"
    alerts        = { expiry_days = 13 }
    time_zone     = "Etc/GMT+12"
    schedule      = "05 03 09 08 *"
    secrets = {
      hours   = { version_destroy_ttl = "24h" }
      minutes = { version_destroy_ttl = "1440m" }
      seconds = { version_destroy_ttl = "86400s" }
    }
  }

  assert {
    condition     = alltrue([for secret in values(google_secret_manager_secret.created) : secret.version_destroy_ttl == "86400s"])
    error_message = "A day is a day in every unit."
  }
}
