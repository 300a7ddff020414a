# Each validation of secrets and management_key refuses its values when planning.

mock_provider "google" {
  source = "./tests/mocks"
}

mock_provider "time" {}

variables {
  project_id = "test-project"
}

run "no_secrets" {
  command = plan

  variables {
    secrets = {}
  }

  expect_failures = [var.secrets]
}

run "over_500_secrets" {
  command = plan

  variables {
    secrets = { for n in range(501) : "secret-${n}" => {} }
  }

  expect_failures = [var.secrets]
}

run "id_with_a_dot" {
  command = plan

  variables {
    secrets = { "momento.api.key" = {} }
  }

  expect_failures = [var.secrets]
}

run "id_with_a_space" {
  command = plan

  variables {
    secrets = { "momento api key" = {} }
  }

  expect_failures = [var.secrets]
}

run "id_over_255_characters" {
  command = plan

  variables {
    secrets = { (join("", [for n in range(256) : "x"])) = {} }
  }

  expect_failures = [var.secrets]
}

run "full_name_with_a_project_number" {
  command = plan

  variables {
    secrets = { "projects/123456789012/secrets/key" = {} }
  }

  expect_failures = [var.secrets]
}

run "full_name_with_a_version" {
  command = plan

  variables {
    secrets = { "projects/other-project/secrets/key/versions/1" = {} }
  }

  expect_failures = [var.secrets]
}

run "full_name_to_be_created" {
  command = plan

  variables {
    secrets = { "projects/other-project/secrets/key" = { create = true } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "full_name_with_a_location" {
  command = plan

  variables {
    secrets = { "projects/other-project/secrets/key" = { location = "europe-west1" } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "full_name_with_two_locations" {
  command = plan

  variables {
    secrets = { "projects/other-project/locations/europe-west1/secrets/key" = { location = "europe-west1" } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "management_key_that_is_also_rotated" {
  command = plan

  variables {
    management_key = { secret = "mint" }
    secrets        = { "projects/test-project/secrets/mint" = {} }
  }

  expect_failures = [terraform_data.preconditions]
}

run "labels_of_a_full_name" {
  command = plan

  variables {
    secrets = { "projects/other-project/secrets/key" = { labels = { a = "b" } } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "labels_of_an_existing_secret" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { create = false, labels = { team = "platform" } } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "kms_key_of_an_existing_secret" {
  command = plan

  variables {
    secrets = {
      "momento-api-key" = { create = false, kms_key = "projects/p/locations/global/keyRings/r/cryptoKeys/k" }
    }
  }

  expect_failures = [terraform_data.preconditions]
}

run "replicas_of_an_existing_secret" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { create = false, replicas = { "europe-west1" = {} } } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "destroy_ttl_of_an_existing_secret" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { create = false, version_destroy_ttl = "7d" } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "topics_of_an_existing_secret" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { create = false, topics = { keys = "projects/test-project/topics/keys" } } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "rotation_period_of_an_existing_secret" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { create = false, rotation_period = "30d" } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "replicas_of_a_regional_secret" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { location = "europe-west1", replicas = { "europe-west1" = {} } } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "replicas_and_a_common_kms_key" {
  command = plan

  variables {
    secrets = {
      "momento-api-key" = {
        replicas = { "europe-west1" = {} }, kms_key = "projects/p/locations/global/keyRings/r/cryptoKeys/k"
      }
    }
  }

  expect_failures = [terraform_data.preconditions]
}

run "topic_without_its_project" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { topics = { keys = "keys" } } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "two_topics_with_one_key" {
  command = plan

  variables {
    secrets = {
      a = { topics = { keys = "projects/test-project/topics/a" } }
      b = { topics = { keys = "projects/test-project/topics/b" } }
    }
  }

  expect_failures = [terraform_data.preconditions]
}

run "one_topic_with_two_keys" {
  command = plan

  variables {
    secrets = {
      a = { topics = { keys = "projects/test-project/topics/a" } }
      b = { topics = { more = "projects/test-project/topics/a" } }
    }
  }

  expect_failures = [terraform_data.preconditions]
}

run "two_secrets_whose_jobs_have_one_name" {
  command = plan

  variables {
    secrets = {
      "projects/shop-project/secrets/momento" = { schedule = "1 1 * * *" }
      "shop-project_secrets_momento"          = { schedule = "2 2 * * *" }
    }
  }

  expect_failures = [terraform_data.preconditions]
}

run "another_topic_with_the_key_of_the_requests" {
  command = plan

  variables {
    secrets = { a = { topics = { requests = "projects/test-project/topics/a" } } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "destroy_ttl_without_a_unit" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { version_destroy_ttl = "86400" } }
  }

  expect_failures = [var.secrets]
}

run "rotation_period_without_a_unit" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { rotation_period = "86400" } }
  }

  expect_failures = [var.secrets]
}

run "lifetime_without_a_unit" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { lifetime = "30" } }
  }

  expect_failures = [var.secrets]
}

run "lifetime_of_zero" {
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

run "payload_without_a_role" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { payload = "key" } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "payload_of_another_format" {
  command = plan

  variables {
    management_key = {}
    secrets        = { "momento-api-key" = { role = "r-abcdefg", payload = "bare" } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "role_with_a_space" {
  command = plan

  variables {
    management_key = {}
    secrets        = { "momento-api-key" = { role = "r abcdefg" } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "role_over_100_characters" {
  command = plan

  variables {
    management_key = {}
    secrets        = { "momento-api-key" = { role = join("", [for n in range(101) : "r"]) } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "no_rotation_days_of_zero" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { no_rotation_days = 0 } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "no_rotation_days_with_a_fraction" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { no_rotation_days = 2.5 } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "no_rotation_days_over_400" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { no_rotation_days = 401 } }
  }

  expect_failures = [terraform_data.preconditions]
}

run "management_key_with_a_project_number" {
  command = plan

  variables {
    management_key = { secret = "projects/123456789012/secrets/mint" }
  }

  expect_failures = [var.management_key]
}

run "management_key_with_a_version" {
  command = plan

  variables {
    management_key = { secret = "projects/test-project/secrets/mint/versions/latest" }
  }

  expect_failures = [var.management_key]
}

run "management_key_instead_of_its_secret" {
  command = plan

  variables {
    management_key = { secret = "eyJhbGciOiJIUzI1NiJ9.eyJ0IjoiZyJ9.c2ln" }
  }

  expect_failures = [var.management_key]
}

run "management_key_to_be_created_in_another_project" {
  command = plan

  variables {
    management_key = { secret = "projects/security-team/secrets/mint", create = true }
  }

  expect_failures = [var.management_key]
}
