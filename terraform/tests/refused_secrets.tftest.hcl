# The map of secrets refuses what Secret Manager would, and what cannot be meant, at plan time.

mock_provider "google" {
  source = "./tests/mocks"
}

mock_provider "time" {}

variables {
  project_id = "test-project"
}

run "no_secret" {
  command = plan

  variables {
    secrets = {}
  }

  expect_failures = [var.secrets]
}

run "too_many" {
  command = plan

  variables {
    secrets = { for n in range(101) : "secret-${n}" => {} }
  }

  expect_failures = [var.secrets]
}

run "id_a_full_name" {
  command = plan

  variables {
    secrets = { "projects/test-project/secrets/momento-api-key" = {} }
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

run "id_empty" {
  command = plan

  variables {
    secrets = { "" = {} }
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

run "location_a_zone" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { location = "europe-west1-b" } }
  }

  expect_failures = [var.secrets]
}

run "location_global" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { location = "global" } }
  }

  expect_failures = [var.secrets]
}

run "location_empty" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { location = "" } }
  }

  expect_failures = [var.secrets]
}

run "replicas_in_a_multi_region" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { replicas = { eu = {} } } }
  }

  expect_failures = [var.secrets]
}

run "replicas_of_a_regional_secret" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { location = "europe-west1", replicas = { "europe-west1" = {} } } }
  }

  expect_failures = [var.secrets]
}

run "replicas_and_one_key" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { replicas = { "europe-west1" = {} }, kms_key = "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k" } }
  }

  expect_failures = [var.secrets]
}

run "kms_key_a_short_name" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { kms_key = "key" } }
  }

  expect_failures = [var.secrets]
}

run "kms_key_with_a_version" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { kms_key = "projects/p/locations/global/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1" } }
  }

  expect_failures = [var.secrets]
}

run "replica_key_a_short_name" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { replicas = { "europe-west1" = { kms_key = "key" } } } }
  }

  expect_failures = [var.secrets]
}

run "kms_key_not_global" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { kms_key = "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k" } }
  }

  expect_failures = [var.secrets]
}

run "kms_key_of_another_region" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { location = "europe-west1", kms_key = "projects/p/locations/europe-west4/keyRings/r/cryptoKeys/k" } }
  }

  expect_failures = [var.secrets]
}

run "replica_key_of_another_region" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { replicas = { "europe-west1" = { kms_key = "projects/p/locations/global/keyRings/r/cryptoKeys/k" } } } }
  }

  expect_failures = [var.secrets]
}

run "label_key_upper_case" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { labels = { Team = "platform" } } }
  }

  expect_failures = [var.secrets]
}

run "label_value_upper_case" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { labels = { team = "Platform" } } }
  }

  expect_failures = [var.secrets]
}

run "destroy_ttl_without_unit" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { version_destroy_ttl = "86400" } }
  }

  expect_failures = [var.secrets]
}

run "destroy_ttl_too_short" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { version_destroy_ttl = "23h" } }
  }

  expect_failures = [var.secrets]
}

run "destroy_ttl_too_long" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { version_destroy_ttl = "1001d" } }
  }

  expect_failures = [var.secrets]
}

run "destroy_ttl_a_second_too_long" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { version_destroy_ttl = "86400001s" } }
  }

  expect_failures = [var.secrets]
}

run "schedule_in_words" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { schedule = "every monday 03:00" } }
  }

  expect_failures = [var.secrets]
}

run "schedule_empty" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { schedule = "" } }
  }

  expect_failures = [var.secrets]
}

run "no_rotation_days_zero" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { no_rotation_days = 0 } }
  }

  expect_failures = [var.secrets]
}

run "no_rotation_days_a_fraction" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { no_rotation_days = 2.5 } }
  }

  expect_failures = [var.secrets]
}

run "no_rotation_days_too_many" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { no_rotation_days = 401 } }
  }

  expect_failures = [var.secrets]
}

run "labels_of_somebody_elses_secret" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { create = false, labels = { team = "platform" } } }
  }

  expect_failures = [var.secrets]
}

run "key_of_somebody_elses_secret" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { create = false, kms_key = "projects/p/locations/global/keyRings/r/cryptoKeys/k" } }
  }

  expect_failures = [var.secrets]
}

run "replicas_of_somebody_elses_secret" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { create = false, replicas = { "europe-west1" = {} } } }
  }

  expect_failures = [var.secrets]
}

run "destroy_ttl_of_somebody_elses_secret" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { create = false, version_destroy_ttl = "7d" } }
  }

  expect_failures = [var.secrets]
}
