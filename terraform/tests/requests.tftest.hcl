# Operator requests and Secret Manager's events: the topic, its subscription, who can publish, and the commands.

mock_provider "google" {
  source          = "./tests/mocks"
  override_during = plan
}

mock_provider "time" {}

variables {
  project_id = "test-project"
}

run "a_topic_and_a_push_subscription" {
  command = plan

  assert {
    condition = (
      google_pubsub_topic.requests.name == "momento-key-rotator-requests" &&
      google_pubsub_topic.requests.project == "test-project" &&
      google_pubsub_subscription.requests.name == "momento-key-rotator-requests" &&
      google_pubsub_subscription.requests.topic == google_pubsub_topic.requests.id &&
      output.requests_topic == "projects/test-project/topics/momento-key-rotator-requests"
    )
    error_message = "The topic and its subscription must have these names."
  }

  assert {
    condition = (
      google_pubsub_subscription.requests.push_config[0].push_endpoint == "https://rotator-abc123-uc.a.run.app" &&
      google_pubsub_subscription.requests.push_config[0].oidc_token[0].audience ==
      "https://rotator-abc123-uc.a.run.app" &&
      google_pubsub_subscription.requests.push_config[0].oidc_token[0].service_account_email ==
      google_service_account.created["invoker"].email
    )
    error_message = "Pub/Sub must push to the service's own address with the invoker's OIDC token."
  }

  assert {
    condition = (
      google_pubsub_subscription.requests.ack_deadline_seconds == 570 &&
      google_pubsub_subscription.requests.retry_policy[0].minimum_backoff == "10s" &&
      google_pubsub_subscription.requests.retry_policy[0].maximum_backoff == "600s" &&
      google_pubsub_subscription.requests.expiration_policy[0].ttl == "" &&
      length(google_pubsub_subscription.requests.dead_letter_policy) == 0
    )
    error_message = "The subscription must not repeat a running request, expire, or have a dead-letter topic."
  }

  assert {
    condition = (
      google_pubsub_subscription.requests.filter ==
      "NOT attributes:eventType OR attributes.eventType = \"SECRET_ROTATE\""
    )
    error_message = "No event except SECRET_ROTATE must start the function."
  }

  assert {
    condition = (
      length(google_pubsub_topic_iam_member.publishers) == 0 && length(data.google_project.this) == 0 &&
      length(google_pubsub_topic_iam_member.secret_manager) == 0 &&
      length(google_pubsub_topic_iam_member.dead_letters) == 0 &&
      length(google_secret_manager_secret.created["momento-api-key"].rotation) == 0 &&
      length(google_secret_manager_secret.created["momento-api-key"].topics) == 0
    )
    error_message = "By default there must be no publisher, rotation schedule or notification."
  }
}

run "the_commands" {
  command = plan

  variables {
    name = "rotator"
    secrets = {
      one                                   = {}
      regional                              = { location = "europe-west3" }
      "projects/shop-project/secrets/other" = {}
    }
  }

  assert {
    condition = [output.rotate_command, output.status_command, output.dry_run_command] == [
      "gcloud pubsub topics publish rotator-requests --project=test-project --message='{\"force\":true}'",
      "gcloud pubsub topics publish rotator-requests --project=test-project --message='{\"status\":true}'",
      "gcloud pubsub topics publish rotator-requests --project=test-project --message='{\"dryRun\":true}'",
    ]
    error_message = "Each command must publish its request."
  }

  assert {
    condition = {
      for key, command in output.compromised_command : key => jsondecode(split("'", command)[1])
      } == {
      for key, name in output.secret_names : key => { secrets = [name], compromised = true, reason = "REASON" }
    }
    error_message = "The request for a compromise response must contain the full name of one secret."
  }

  assert {
    condition = (
      output.secret_names["projects/shop-project/secrets/other"] == "projects/shop-project/secrets/other" &&
      startswith(output.watch_command, "gcloud logging read 'resource.type=\"cloud_run_revision\" AND ") &&
      strcontains(output.watch_command, "resource.labels.service_name=\"rotator\"")
    )
    error_message = "The command must read the log of this function."
  }
}

run "publishers_and_dead_letters" {
  command = plan

  variables {
    # The project's number is then known when planning.
    enable_apis = false
    publishers = {
      oncall = "group:oncall@example.com"
      ci     = "serviceAccount:ci@test-project.iam.gserviceaccount.com"
    }
    dead_letter_topic = { id = "projects/ops-project/topics/dead" }
  }

  assert {
    condition = {
      for key, grant in google_pubsub_topic_iam_member.publishers : key => [grant.member, grant.topic, grant.role]
      } == {
      for key, member in var.publishers : key => [member, "momento-key-rotator-requests", "roles/pubsub.publisher"]
    }
    error_message = "Only the publishers must be able to publish."
  }

  assert {
    condition = (
      google_pubsub_subscription.requests.dead_letter_policy[0].dead_letter_topic == var.dead_letter_topic.id &&
      google_pubsub_subscription.requests.dead_letter_policy[0].max_delivery_attempts == 100 &&
      [
        for grant in google_pubsub_topic_iam_member.dead_letters :
        [grant.topic, grant.role, grant.member]
        ] == [
        ["projects/ops-project/topics/dead", "roles/pubsub.publisher", local.service_agents.pubsub]
      ] &&
      [for grant in google_pubsub_subscription_iam_member.dead_letters : [grant.role, grant.member]] == [
        ["roles/pubsub.subscriber", "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"]
      ]
    )
    error_message = "Pub/Sub's service agent must be able to move failed requests to the dead-letter topic."
  }
}

run "secret_managers_schedule_and_topics" {
  command = plan

  variables {
    # The project's number is then known when planning.
    enable_apis = false
    secrets = {
      scheduled = { rotation_period = "30d" }
      regional = {
        rotation_period = "90d"
        location        = "europe-west3"
        topics          = { new_keys = "projects/deployments/topics/new.keys" }
      }
      notified = { topics = { keys = "projects/test-project/topics/keys" } }
      quiet    = {}
    }
  }

  assert {
    condition = (
      google_secret_manager_secret.created["scheduled"].rotation[0].rotation_period == "2592000s" &&
      google_secret_manager_secret.created["scheduled"].rotation[0].next_rotation_time ==
      timeadd(plantimestamp(), "720h") &&
      google_secret_manager_regional_secret.created["regional"].rotation[0].rotation_period == "7776000s" &&
      length(google_secret_manager_secret.created["notified"].rotation) == 0 &&
      length(google_secret_manager_secret.created["quiet"].rotation) == 0
    )
    error_message = "Each secret must have its own rotation schedule, or none."
  }

  assert {
    condition = {
      for id, secret in merge(google_secret_manager_secret.created, google_secret_manager_regional_secret.created) :
      id => join(" ", secret.topics[*].name)
      } == {
      scheduled = "projects/test-project/topics/momento-key-rotator-requests"
      regional  = "projects/deployments/topics/new.keys projects/test-project/topics/momento-key-rotator-requests"
      notified  = "projects/test-project/topics/keys"
      quiet     = ""
    }
    error_message = "A secret must have its own topics and, with a rotation schedule, the topic for requests."
  }

  assert {
    condition = {
      for topic, grant in google_pubsub_topic_iam_member.secret_manager :
      topic => [grant.topic, grant.role, grant.member]
      } == {
      for topic, name in {
        requests = "projects/test-project/topics/momento-key-rotator-requests"
        new_keys = "projects/deployments/topics/new.keys"
        keys     = "projects/test-project/topics/keys"
        } : topic => [
        name, "roles/pubsub.publisher",
        "serviceAccount:service-123456789012@gcp-sa-secretmanager.iam.gserviceaccount.com",
      ]
    }
    error_message = "Secret Manager's service agent must be able to publish to exactly the topics of the secrets."
  }

  # A plan doesn't show dependencies.
  assert {
    condition = (
      alltrue([
        for key in keys(google_pubsub_topic_iam_member.secret_manager) :
        contains(keys(time_sleep.grants.triggers), "topics/${key}")
      ]) &&
      length(
        regexall("ignore_changes = \\[rotation\\[0\\].next_rotation_time\\]", file("${path.module}/secrets.tf"))
      ) == 2
    )
    error_message = "Secrets must wait for the grants on their topics, and no plan must move the next rotation."
  }
}
