# What does not go together is refused at plan time, and where it is said why.

mock_provider "google" {
  source = "./tests/mocks"
}

mock_provider "time" {}

variables {
  project_id     = "test-project"
  management_key = {}
}

run "role_without_a_management_key" {
  command = plan

  variables {
    management_key = null
    secrets        = { "momento-api-key" = { role = "r-abcdefg" } }
  }

  expect_failures = [var.secrets]
}

run "lifetime_without_a_management_key" {
  command = plan

  variables {
    management_key = null
    secrets        = { "momento-api-key" = { lifetime = "30d" } }
  }

  expect_failures = [var.secrets]
}

run "payload_without_a_role" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { payload = "key" } }
  }

  expect_failures = [var.secrets]
}

run "payload_of_another_form" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { role = "r-abcdefg", payload = "bare" } }
  }

  expect_failures = [var.secrets]
}

run "role_with_a_space" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { role = "r abcdefg" } }
  }

  expect_failures = [var.secrets]
}

run "role_empty" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { role = "" } }
  }

  expect_failures = [var.secrets]
}

run "role_with_a_line_break" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { role = "r-abcdefg\n" } }
  }

  expect_failures = [var.secrets]
}

run "role_over_100_characters" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { role = join("", [for n in range(101) : "r"]) } }
  }

  expect_failures = [var.secrets]
}

run "lifetime_without_unit" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { lifetime = "30" } }
  }

  expect_failures = [var.secrets]
}

run "lifetime_of_nothing" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { lifetime = "0d" } }
  }

  expect_failures = [var.secrets]
}

run "lifetime_of_seven_digits" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { lifetime = "1000000s" } }
  }

  expect_failures = [var.secrets]
}

run "lifetime_for_ever" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { lifetime = "never" } }
  }

  expect_failures = [var.secrets]
}

run "revoke_without_a_management_key" {
  command = plan

  variables {
    management_key = null
    revoke         = true
  }

  expect_failures = [var.revoke]
}

run "revoke_without_proof" {
  command = plan

  variables {
    revoke = true
    verify = false
  }

  expect_failures = [var.revoke]
}

run "revoke_with_too_short_a_grace_period" {
  command = plan

  variables {
    revoke       = true
    grace_period = "59m"
  }

  expect_failures = [var.grace_period]
}

run "revoke_without_a_grace_period" {
  command = plan

  variables {
    revoke       = true
    grace_period = "0"
  }

  expect_failures = [var.grace_period]
}

run "destroyed_before_the_week_that_revoke_gives" {
  command = plan

  variables {
    revoke        = true
    destroy_after = "6d"
  }

  expect_failures = [var.destroy_after]
}

run "management_key_by_a_number" {
  command = plan

  variables {
    management_key = { secret = "projects/123456789012/secrets/mint" }
  }

  expect_failures = [var.management_key]
}

run "management_key_by_its_version" {
  command = plan

  variables {
    management_key = { secret = "projects/test-project/secrets/mint/versions/latest" }
  }

  expect_failures = [var.management_key]
}

run "management_key_itself" {
  command = plan

  variables {
    management_key = { secret = "eyJhbGciOiJIUzI1NiJ9.eyJ0IjoiZyJ9.c2ln" }
  }

  expect_failures = [var.management_key]
}

run "management_key_to_be_created_elsewhere" {
  command = plan

  variables {
    management_key = { secret = "projects/security-team/secrets/mint", create = true }
  }

  expect_failures = [var.management_key]
}

run "endpoint_and_path" {
  command = plan

  variables {
    momento_endpoint     = "https://cell-4-us-west-2-1.prod.a.momentohq.com"
    momento_refresh_path = "api-keys/refresh"
  }

  expect_failures = [var.momento_endpoint, var.momento_refresh_path]
}

run "endpoint_with_the_prefix_cache" {
  command = plan

  variables {
    momento_endpoint = "cache.cell-4-us-west-2-1.prod.a.momentohq.com"
  }

  expect_failures = [var.momento_endpoint]
}

run "endpoint_with_the_prefix_control" {
  command = plan

  variables {
    momento_endpoint = "control.cell-4-us-west-2-1.prod.a.momentohq.com"
  }

  expect_failures = [var.momento_endpoint]
}

run "endpoint_with_the_prefix_token" {
  command = plan

  variables {
    momento_endpoint = "TOKEN.cell-4-us-west-2-1.prod.a.momentohq.com"
  }

  expect_failures = [var.momento_endpoint]
}

run "endpoint_with_a_port_and_path_with_a_query" {
  command = plan

  variables {
    momento_endpoint     = "cell-4-us-west-2-1.prod.a.momentohq.com:443"
    momento_refresh_path = "/api-keys/refresh?a=b"
  }

  expect_failures = [var.momento_endpoint, var.momento_refresh_path]
}

run "endpoint_of_one_label_and_path_of_another_host" {
  command = plan

  variables {
    momento_endpoint     = "localhost"
    momento_refresh_path = "//example.com"
  }

  expect_failures = [var.momento_endpoint, var.momento_refresh_path]
}

run "first_credential_in_a_form_that_would_stay" {
  command = plan

  variables {
    secrets                = { "momento-api-key" = { role = "r-abcdefg", payload = "key" } }
    initial_credential_for = ["momento-api-key"]
    initial_credentials    = { "momento-api-key" = "{\"api_key\":\"k\"}" }
  }

  expect_failures = [var.initial_credential_for]
}

run "management_key_of_somebody_else_stored" {
  command = plan

  variables {
    management_key         = { secret = "theirs", create = false }
    initial_credential_for = ["theirs"]
    initial_credentials    = { theirs = "eyJhbGciOiJIUzI1NiJ9.eyJ0IjoiZyJ9.c2ln" }
  }

  expect_failures = [var.initial_credential_for]
}

run "management_key_that_is_no_key" {
  command = plan

  variables {
    initial_credential_for = ["momento-management-key"]
    initial_credentials    = { "momento-management-key" = "{\"apiKey\":\"\"}" }
  }

  expect_failures = [var.initial_credentials]
}

# ---- lifetimes ----

run "due_as_soon_as_it_is_made" {
  command = plan

  variables {
    renew_before = "14d"
    secrets      = { "momento-api-key" = { lifetime = "14d" } }
  }

  expect_failures = [google_cloudfunctions2_function.rotator]
}

run "due_as_soon_as_it_is_made_by_the_minimum" {
  command = plan

  variables {
    renew_before = "50%,30d"
    secrets      = { "momento-api-key" = { lifetime = "30d" } }
  }

  expect_failures = [google_cloudfunctions2_function.rotator]
}

run "expired_before_the_next_day" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { lifetime = "2d" } }
  }

  expect_failures = [google_cloudfunctions2_function.rotator]
}

run "expired_before_the_next_week" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { lifetime = "14d", schedule = "0 4 * * MON", no_rotation_days = 8 } }
  }

  expect_failures = [google_cloudfunctions2_function.rotator]
}

run "expired_before_the_next_month" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { lifetime = "62d", schedule = "0 4 1 * *", no_rotation_days = 40 } }
  }

  expect_failures = [google_cloudfunctions2_function.rotator]
}

run "expired_before_the_sixth_hour" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { lifetime = "12h", schedule = "17 */6 * * *" } }
  }

  expect_failures = [google_cloudfunctions2_function.rotator]
}

run "expired_before_the_next_run_that_rotates" {
  command = plan

  variables {
    renew_before = null
    secrets      = { "momento-api-key" = { lifetime = "24h" } }
  }

  expect_failures = [google_cloudfunctions2_function.rotator]
}

run "expired_before_its_grace_period_is_over" {
  command = plan

  variables {
    revoke  = true
    secrets = { "momento-api-key" = { lifetime = "13d" } }
  }

  expect_failures = [google_cloudfunctions2_function.rotator]
}
