# Every variable refuses what it cannot use, at plan time.
#
# Every round gives many variables a bad value at once, and each of them has to be refused: the same proof as with one
# value at a time, in a tenth of the time.

mock_provider "google" {
  source = "./tests/mocks"
}

mock_provider "time" {}

variables {
  project_id = "test-project"
}

run "round_1" {
  command = plan

  variables {
    project_id            = "123456789012"         # a number
    region                = "us-central1-a"        # a zone
    scheduler_region      = "us-central1-a"        # a zone
    name                  = "Rotator"              # upper case
    labels                = { Team = "platform" }  # key upper case
    schedule              = "every day 03:00"      # in words
    time_zone             = "+01:00"               # an offset
    renew_before          = "14"                   # without unit
    grace_period          = "36"                   # without unit
    timeout_seconds       = 119                    # too short
    memory                = "256"                  # without unit
    cpu                   = 0.5                    # below 1
    ingress               = "internal"             # in words
    vpc_connector         = "connector"            # a short name
    build_worker_pool     = "pool"                 # a short name
    notification_channels = ["oncall@example.com"] # an address
  }

  expect_failures = [
    var.project_id,
    var.region,
    var.scheduler_region,
    var.name,
    var.labels,
    var.schedule,
    var.time_zone,
    var.renew_before,
    var.grace_period,
    var.timeout_seconds,
    var.memory,
    var.cpu,
    var.ingress,
    var.vpc_connector,
    var.build_worker_pool,
    var.notification_channels,
  ]
}

run "round_2" {
  command = plan

  variables {
    project_id            = "My Project"             # a display name
    region                = "eu"                     # a multi region
    scheduler_region      = ""                       # empty
    name                  = "key_rotator"            # with underscore
    labels                = { "1team" = "platform" } # key starts with a digit
    schedule              = "@daily"                 # macro
    time_zone             = "CET"                    # an abbreviation
    renew_before          = "14 days"                # in words
    grace_period          = "36 hours"               # in words
    timeout_seconds       = 1801                     # beyond cloud scheduler
    memory                = "512M"                   # megabytes
    cpu                   = 4                        # 4
    ingress               = "INGRESS_TRAFFIC_ALL"    # of cloud run
    notification_channels = ["1234567890"]           # an id
  }

  expect_failures = [
    var.project_id,
    var.region,
    var.scheduler_region,
    var.name,
    var.labels,
    var.schedule,
    var.time_zone,
    var.renew_before,
    var.grace_period,
    var.timeout_seconds,
    var.memory,
    var.cpu,
    var.ingress,
    var.notification_channels,
  ]
}

run "round_3" {
  command = plan

  variables {
    project_id            = "projects/test-project"                            # a path
    region                = "US-CENTRAL1"                                      # upper case
    name                  = "1rotator"                                         # starts with a digit
    labels                = { team = "the platform" }                          # value with a space
    schedule              = "17 3 * *"                                         # four fields
    time_zone             = "europe/berlin"                                    # lower case
    renew_before          = "2w"                                               # weeks
    grace_period          = "1.5h"                                             # a fraction
    timeout_seconds       = 540.5                                              # a fraction
    memory                = "512MB"                                            # MB
    cpu                   = 0                                                  # 0
    notification_channels = ["projects/test-project/alertPolicies/1234567890"] # of another kind
  }

  expect_failures = [
    var.project_id,
    var.region,
    var.name,
    var.labels,
    var.schedule,
    var.time_zone,
    var.renew_before,
    var.grace_period,
    var.timeout_seconds,
    var.memory,
    var.cpu,
    var.notification_channels,
  ]
}

run "round_4" {
  command = plan

  variables {
    project_id            = "abcde"                                                                       # too short
    region                = "us central1"                                                                 # with a space
    name                  = "rotator-"                                                                    # ends with a hyphen
    labels                = { team = "a123456789012345678901234567890123456789012345678901234567890123" } # value too long
    schedule              = "0 17 3 * * *"                                                                # six fields
    time_zone             = "America/New York"                                                            # with a space
    renew_before          = "P14D"                                                                        # iso
    grace_period          = "-1h"                                                                         # negative
    memory                = "128Mi"                                                                       # too small
    notification_channels = ["projects/p/notificationChannels/1", "projects/p/notificationChannels/1"]    # twice
  }

  expect_failures = [
    var.project_id,
    var.region,
    var.name,
    var.labels,
    var.schedule,
    var.time_zone,
    var.renew_before,
    var.grace_period,
    var.memory,
    var.notification_channels,
  ]
}

run "round_5" {
  command = plan

  variables {
    project_id            = "a123456789012345678901234567890"                             # too long
    region                = "global"                                                      # global
    name                  = ""                                                            # empty
    labels                = { for n in range(33) : "label-${n}" => "x" }                  # too many
    schedule              = "60 3 * * *"                                                  # minute 60
    time_zone             = ""                                                            # empty
    renew_before          = "0"                                                           # zero
    grace_period          = "10%"                                                         # a share
    memory                = "8Gi"                                                         # too big
    notification_channels = [for n in range(17) : "projects/p/notificationChannels/${n}"] # too many
  }

  expect_failures = [
    var.project_id,
    var.region,
    var.name,
    var.labels,
    var.schedule,
    var.time_zone,
    var.renew_before,
    var.grace_period,
    var.memory,
    var.notification_channels,
  ]
}

run "round_6" {
  command = plan

  variables {
    project_id   = "test-project-"     # ends with hyphen
    name         = "my-google-rotator" # with google
    schedule     = "17 24 * * *"       # hour 24
    renew_before = "0d"                # zero days
    grace_period = ""                  # empty
    memory       = "0.5Gi"             # a fraction
  }

  expect_failures = [
    var.project_id,
    var.name,
    var.schedule,
    var.renew_before,
    var.grace_period,
    var.memory,
  ]
}

run "round_7" {
  command = plan

  variables {
    project_id   = ""                                                                                                      # empty
    name         = "a1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890" # over 100 characters
    schedule     = "17 3 0 * *"                                                                                            # day 0
    renew_before = "-14d"                                                                                                  # negative
    memory       = "512 Mi"                                                                                                # with a space
  }

  expect_failures = [
    var.project_id,
    var.name,
    var.schedule,
    var.renew_before,
    var.memory,
  ]
}

run "round_8" {
  command = plan

  variables {
    schedule     = "17 3 * 13 *" # month 13
    renew_before = "0%"          # 0 percent
  }

  expect_failures = [
    var.schedule,
    var.renew_before,
  ]
}

run "round_9" {
  command = plan

  variables {
    schedule     = "17 3 * * 8" # weekday 8
    renew_before = "100%"       # 100 percent
  }

  expect_failures = [
    var.schedule,
    var.renew_before,
  ]
}

run "round_10" {
  command = plan

  variables {
    schedule     = "*/0 * * * *" # step 0
    renew_before = "33.3%"       # a fraction
  }

  expect_failures = [
    var.schedule,
    var.renew_before,
  ]
}

run "round_11" {
  command = plan

  variables {
    schedule     = ""         # empty
    renew_before = "1000000s" # seven digits
  }

  expect_failures = [
    var.schedule,
    var.renew_before,
  ]
}

run "round_12" {
  command = plan

  variables {
    renew_before = "" # empty
  }

  expect_failures = [
    var.renew_before,
  ]
}

run "round_13" {
  command = plan

  variables {
    renew_before = "50%,0h" # no time at all
  }

  expect_failures = [
    var.renew_before,
  ]
}

run "round_14" {
  command = plan

  variables {
    renew_before = "50%," # half a list
  }

  expect_failures = [
    var.renew_before,
  ]
}

run "round_15" {
  command = plan

  variables {
    renew_before = "50%,40%" # two shares
  }

  expect_failures = [
    var.renew_before,
  ]
}

run "round_16" {
  command = plan

  variables {
    renew_before = "48h,50%" # the other order
  }

  expect_failures = [
    var.renew_before,
  ]
}

run "round_17" {
  command = plan

  variables {
    renew_before = "14d,48h" # two durations
  }

  expect_failures = [
    var.renew_before,
  ]
}

# These are compared with other variables, so Terraform looks at them only where those are good.

run "dependent_round_1" {
  command = plan

  variables {
    destroy_after = "30"                      # without unit
    vpc_egress    = "all"                     # in words
    alerts        = { no_rotation_days = -1 } # negative days
  }

  expect_failures = [
    var.destroy_after,
    var.vpc_egress,
    var.alerts,
  ]
}

run "dependent_round_2" {
  command = plan

  variables {
    destroy_after = "4w"                       # weeks
    vpc_egress    = "ALL_TRAFFIC"              # without connector
    alerts        = { no_rotation_days = 1.5 } # a fraction of a day
  }

  expect_failures = [
    var.destroy_after,
    var.vpc_egress,
    var.alerts,
  ]
}

run "dependent_round_3" {
  command = plan

  variables {
    destroy_after = "never"                    # never
    alerts        = { no_rotation_days = 401 } # too many days
  }

  expect_failures = [
    var.destroy_after,
    var.alerts,
  ]
}

run "dependent_round_4" {
  command = plan

  variables {
    alerts = { expiry_days = -1 } # negative expiry
  }

  expect_failures = [
    var.alerts,
  ]
}

run "dependent_round_5" {
  command = plan

  variables {
    alerts = { expiry_days = 3651 } # expiry in ten years
  }

  expect_failures = [
    var.alerts,
  ]
}

run "destroy_after_shorter_than_grace_period" {
  command = plan

  variables {
    grace_period  = "2d"
    destroy_after = "47h"
  }

  expect_failures = [var.destroy_after]
}

run "destroy_after_at_once_with_grace_period" {
  command = plan

  variables {
    grace_period  = "1s"
    destroy_after = "0"
  }

  expect_failures = [var.destroy_after]
}

run "alerts_expiry_before_renewal" {
  command = plan

  variables {
    renew_before = "7d"
    alerts       = { expiry_days = 7 }
  }

  expect_failures = [var.alerts]
}
