# The first credential: stored once, never in the state, and never fought over afterwards.

mock_provider "google" {
  source = "./tests/mocks"
}

mock_provider "time" {}

variables {
  project_id = "test-project"
  # Not protected: what a test applies it also destroys.
  secrets                = { "momento-api-key" = { deletion_protection = false }, "other-key" = { deletion_protection = false } }
  initial_credential_for = ["momento-api-key"]
  initial_credentials = {
    "momento-api-key" = "{\"apiKey\":\"CANARY-API-KEY\",\"refreshToken\":\"CANARY-REFRESH-TOKEN\",\"validUntil\":1798761600}"
  }
}

run "stored_without_a_trace" {
  assert {
    condition     = keys(google_secret_manager_secret_version.initial) == ["momento-api-key"]
    error_message = "A version is made for exactly the named secrets."
  }

  assert {
    condition = alltrue([
      for version in values(google_secret_manager_secret_version.initial) :
      version.secret_data_wo == null && version.secret_data == null
    ])
    error_message = "The credential is not among the attributes of the version."
  }

  # Everything that could hold it, by way of a mistake in an expression.
  assert {
    condition = !strcontains(jsonencode([
      google_secret_manager_secret_version.initial,
      google_secret_manager_secret.created,
      google_cloudfunctions2_function.rotator,
      google_cloud_scheduler_job.rotation,
      google_storage_bucket_object.source.name,
      google_monitoring_alert_policy.failed_run,
      google_monitoring_dashboard.rotations,
      output.store_credential_commands,
    ]), "CANARY")
    error_message = "The credential shows up in the state."
  }

  assert {
    condition = alltrue([
      for version in values(google_secret_manager_secret_version.initial) :
      version.deletion_policy == "ABANDON" && version.enabled == null && tostring(version.secret_data_wo_version) == "1"
    ])
    error_message = "The version is abandoned, not destroyed, when it leaves the configuration, and its state is not managed."
  }
}

# A write-only argument and ignore_changes leave nothing to look at, not even in a test: so this looks at the source.
run "written_as_it_has_to_be" {
  command = plan

  assert {
    condition     = can(regex("secret_data_wo += var\\.initial_credentials\\[each\\.key\\]\n", file("${path.module}/secrets.tf")))
    error_message = "The credential that is stored is the one that was given."
  }

  assert {
    condition     = can(regex("(?s)\"google_secret_manager_secret_version\" \"initial\" \\{.*ignore_changes = \\[enabled\\]", file("${path.module}/secrets.tf")))
    error_message = "A version that the function disabled must not be enabled again."
  }
}

run "gone_from_the_configuration_with_the_next_apply" {
  variables {
    initial_credential_for = []
    initial_credentials    = {}
  }

  assert {
    condition     = length(google_secret_manager_secret_version.initial) == 0
    error_message = "Without the two variables nothing of the first credential is left to manage."
  }
}

run "a_credential_without_its_name" {
  command = plan

  variables {
    initial_credential_for = []
  }

  expect_failures = [var.initial_credentials]
}

run "a_name_without_its_credential" {
  command = plan

  variables {
    initial_credential_for = ["momento-api-key", "other-key"]
  }

  expect_failures = [var.initial_credentials]
}

run "not_json" {
  command = plan

  variables {
    initial_credentials = { "momento-api-key" = "eyJlbmRwb2ludCI6ImNlbGwifQ==" }
  }

  expect_failures = [var.initial_credentials]
}

run "without_a_refresh_token" {
  command = plan

  variables {
    initial_credentials = { "momento-api-key" = "{\"apiKey\":\"k\",\"validUntil\":1798761600}" }
  }

  expect_failures = [var.initial_credentials]
}

run "without_a_key" {
  command = plan

  variables {
    initial_credentials = { "momento-api-key" = "{\"refreshToken\":\"t\",\"validUntil\":1798761600}" }
  }

  expect_failures = [var.initial_credentials]
}

run "the_older_names_of_the_key_are_fine" {
  command = plan

  variables {
    initial_credential_for = ["momento-api-key", "other-key"]
    initial_credentials = {
      "momento-api-key" = "{\"authToken\":\"k\",\"refreshToken\":\"t\",\"validUntil\":\"1798761600\"}"
      "other-key"       = "{\"apiToken\":\"k\",\"refreshToken\":\"t\"}"
    }
  }

  assert {
    condition     = length(google_secret_manager_secret_version.initial) == 2
    error_message = "authToken and apiToken are known names of the key."
  }
}

run "over_64_KiB" {
  command = plan

  variables {
    initial_credentials = {
      "momento-api-key" = "{\"apiKey\":\"k\",\"refreshToken\":\"${join("", [for n in range(1024) : "0123456789012345678901234567890123456789012345678901234567890123"])}\"}"
    }
  }

  expect_failures = [var.initial_credentials]
}

run "for_a_secret_that_is_not_there" {
  command = plan

  variables {
    initial_credential_for = ["missing"]
    initial_credentials    = { missing = "{\"apiKey\":\"k\",\"refreshToken\":\"t\"}" }
  }

  expect_failures = [var.initial_credential_for]
}

run "for_somebody_elses_secret" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { create = false } }
  }

  expect_failures = [var.initial_credential_for]
}

run "for_a_regional_secret" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { location = "europe-west1" } }
  }

  expect_failures = [var.initial_credential_for]
}

run "what_the_api_prints" {
  command = plan

  variables {
    initial_credentials = { "momento-api-key" = "{\"api_key\":\"k\",\"refresh_token\":\"t\",\"key_info\":{\"key_id\":\"i\"}}" }
  }

  assert {
    condition     = length(google_secret_manager_secret_version.initial) == 1
    error_message = "The JSON of Momento's API is a credential, too."
  }
}

run "what_the_api_prints_without_a_refresh_token" {
  command = plan

  variables {
    initial_credentials = { "momento-api-key" = "{\"api_key\":\"k\",\"key_info\":{\"key_id\":\"i\"}}" }
  }

  expect_failures = [var.initial_credentials]
}

run "in_every_form_with_a_management_key" {
  command = plan

  variables {
    management_key         = {}
    initial_credential_for = ["momento-api-key", "momento-management-key", "other-key"]
    initial_credentials = {
      "momento-api-key"        = "{\"apiKey\":\"k\"}"
      "momento-management-key" = "eyJhbGciOiJIUzI1NiJ9.eyJ0IjoiZyJ9.c2lnbmF0dXJl-_\n"
      "other-key"              = "{\"api_key\":\"k\"}"
    }
  }

  assert {
    condition     = length(google_secret_manager_secret_version.initial) == 3
    error_message = "A management key can renew what has no refresh token, in any form."
  }
}

run "a_bare_key_over_64_KiB" {
  command = plan

  variables {
    management_key      = {}
    initial_credentials = { "momento-api-key" = join("", [for n in range(1024) : "x0123456789012345678901234567890123456789012345678901234567890123"]) }
  }

  expect_failures = [var.initial_credentials]
}
