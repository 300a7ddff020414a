# Secret Manager's notifications: passed on to topics, by its service agent.

mock_provider "google" {
  source = "./tests/mocks"

  override_data {
    target = data.google_project.this
    values = { number = "123456789012" }
  }
}

mock_provider "time" {}

variables {
  project_id = "test-project"
}

run "none_by_default" {
  command = plan

  assert {
    condition     = length(google_pubsub_topic_iam_member.secret_manager) == 0 && length(data.google_project.this) == 0 && length(time_sleep.topic_grants) == 0
    error_message = "Without topics nothing is granted and nothing waited for."
  }
}

run "passed_on" {
  variables {
    initial_credentials = {}
    secrets = {
      one      = { deletion_protection = false, topics = ["projects/test-project/topics/keys", "projects/deployments/topics/new.keys"] }
      regional = { deletion_protection = false, location = "europe-west3", topics = ["projects/test-project/topics/keys"] }
      quiet    = { deletion_protection = false }
    }
  }

  assert {
    condition = (
      google_secret_manager_secret.created["one"].topics[*].name == tolist(["projects/test-project/topics/keys", "projects/deployments/topics/new.keys"]) &&
      google_secret_manager_regional_secret.created["regional"].topics[*].name == tolist(["projects/test-project/topics/keys"]) &&
      length(google_secret_manager_secret.created["quiet"].topics) == 0
    )
    error_message = "A secret has its topics, and no other's."
  }

  assert {
    condition = toset([for grant in values(google_pubsub_topic_iam_member.secret_manager) : "${grant.project} ${grant.topic} ${grant.role} ${grant.member}"]) == toset([
      "test-project keys roles/pubsub.publisher serviceAccount:service-123456789012@gcp-sa-secretmanager.iam.gserviceaccount.com",
      "deployments new.keys roles/pubsub.publisher serviceAccount:service-123456789012@gcp-sa-secretmanager.iam.gserviceaccount.com",
    ])
    error_message = "Secret Manager's service agent may publish to each topic, granted once."
  }

  # depends_on leaves nothing to look at in a state.
  assert {
    condition = (
      time_sleep.topic_grants[0].create_duration == "180s" && toset(keys(time_sleep.topic_grants[0].triggers)) == toset(keys(google_pubsub_topic_iam_member.secret_manager)) &&
      length(regexall("depends_on = \\[time_sleep.apis, time_sleep.topic_grants\\]", file("${path.module}/secrets.tf"))) == 2
    )
    error_message = "A secret gets its topics only when Secret Manager may publish to them."
  }
}

run "a_short_name" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { topics = ["keys"] } }
  }

  expect_failures = [var.secrets]
}

run "twice" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { topics = ["projects/test-project/topics/keys", "projects/test-project/topics/keys"] } }
  }

  expect_failures = [var.secrets]
}

run "too_many" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { topics = [for n in range(11) : "projects/test-project/topics/keys-${n}"] } }
  }

  expect_failures = [var.secrets]
}

run "of_somebody_elses_secret" {
  command = plan

  variables {
    secrets = { "momento-api-key" = { create = false, topics = ["projects/test-project/topics/keys"] } }
  }

  expect_failures = [var.secrets]
}
