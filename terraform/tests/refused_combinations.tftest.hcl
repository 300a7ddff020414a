# Plans fail if settings contradict each other. The checks are preconditions, because in Terraform 1.5 a validation
# can't refer to other variables.

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

  expect_failures = [terraform_data.preconditions]
}

run "lifetime_without_a_management_key" {
  command = plan

  variables {
    management_key = null
    secrets        = { "momento-api-key" = { lifetime = "30d" } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "revoke_without_a_management_key" {
  command = plan

  variables {
    management_key = null
    rotation       = { revoke = true }
  }

  expect_failures = [terraform_data.preconditions]
}

run "revoke_without_verify" {
  command = plan

  variables {
    rotation = { revoke = true, verify = false }
  }

  expect_failures = [terraform_data.preconditions]
}

run "revoke_with_a_short_grace_period" {
  command = plan

  variables {
    rotation = { revoke = true, grace_period = "59m" }
  }

  expect_failures = [terraform_data.preconditions]
}

run "revoke_without_a_grace_period" {
  command = plan

  variables {
    rotation = { revoke = true, grace_period = "0" }
  }

  expect_failures = [terraform_data.preconditions]
}

run "destroyed_before_the_week_of_revoke" {
  command = plan

  variables {
    rotation = { revoke = true, destroy_after = "6d" }
  }

  expect_failures = [terraform_data.preconditions]
}

run "destroyed_in_the_grace_period" {
  command = plan

  variables {
    rotation = { grace_period = "2d", destroy_after = "47h" }
  }

  expect_failures = [terraform_data.preconditions]
}

run "destroyed_at_once_with_a_grace_period" {
  command = plan

  variables {
    rotation = { grace_period = "1s", destroy_after = "0" }
  }

  expect_failures = [terraform_data.preconditions]
}

run "one_secret_under_two_names" {
  command = plan

  variables {
    secrets = { key = { create = false }, "projects/test-project/secrets/key" = {} }
  }

  expect_failures = [terraform_data.preconditions]
}

run "names_over_32_KiB" {
  command = plan

  variables {
    secrets = { for n in range(500) : "a-rather-long-name-of-a-secret-for-a-tenant-${n}" => {} }
  }

  expect_failures = [terraform_data.preconditions]
}

run "due_as_soon_as_it_is_minted" {
  command = plan

  variables {
    rotation = { renew_before = "14d" }
    secrets  = { "momento-api-key" = { lifetime = "14d" } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "due_as_soon_as_it_is_minted_by_the_minimum" {
  command = plan

  variables {
    rotation = { renew_before = "50%,30d" }
    secrets  = { "momento-api-key" = { lifetime = "30d" } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "expired_before_the_next_day" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { lifetime = "2d" } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "expired_before_the_next_week" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { lifetime = "14d", schedule = "0 4 * * MON" } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "expired_before_the_next_month" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { lifetime = "62d", schedule = "0 4 1 * *" } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "expired_before_the_sixth_hour" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { lifetime = "12h", schedule = "17 */6 * * *" } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "expired_before_the_next_run_that_rotates" {
  command = plan

  variables {
    rotation = { renew_before = "always" }
    secrets  = { "momento-api-key" = { lifetime = "24h" } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "expired_in_the_grace_period" {
  command = plan

  variables {
    rotation = { revoke = true }
    secrets  = { "momento-api-key" = { lifetime = "13d" } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "names_of_one_job_over_16_KiB" {
  command = plan

  variables {
    secrets = { for n in range(100) : "${join("", [for i in range(18) : "0123456789"])}-${n}" => {} }
  }

  expect_failures = [google_cloud_scheduler_job.rotation]
}
