# The map of secrets: created and existing ones.

mock_provider "google" {
  source = "./tests/mocks"
}

mock_provider "time" {}

variables {
  project_id = "test-project"
  region     = "europe-west1"
  labels     = { team = "platform" }
  secrets = {
    plain = {}
    tuned = {
      labels              = { env = "prod", team = "cache" }
      version_destroy_ttl = "7d"
      deletion_protection = false
      kms_key             = "projects/keys/locations/global/keyRings/ring/cryptoKeys/key"
    }
    placed = {
      replicas = {
        "europe-west1" = { kms_key = "projects/keys/locations/europe-west1/keyRings/ring/cryptoKeys/key" }
        "europe-west4" = {}
      }
    }
    regional = {
      location            = "europe-west3"
      kms_key             = "projects/keys/locations/europe-west3/keyRings/ring/cryptoKeys/key"
      version_destroy_ttl = "36h"
    }
    theirs          = { create = false }
    theirs_regional = { create = false, location = "europe-west3" }
  }
}

run "created_secrets" {
  command = plan

  assert {
    condition     = toset(keys(google_secret_manager_secret.created)) == toset(["placed", "plain", "tuned"])
    error_message = "The global resource must create exactly the new global secrets."
  }

  assert {
    condition     = keys(google_secret_manager_regional_secret.created) == ["regional"]
    error_message = "The regional resource must create exactly the new regional secrets."
  }

  assert {
    condition = (
      alltrue([
        for id, secret in google_secret_manager_secret.created : secret.secret_id == id &&
        secret.project == "test-project"
      ])
    )
    error_message = "The key in the map must be the secret's id."
  }
}

run "settings_of_secrets" {
  command = plan

  assert {
    condition = (
      google_secret_manager_secret.created["plain"].labels == tomap({ team = "platform" }) &&
      google_secret_manager_secret.created["plain"].deletion_protection
    )
    error_message = "By default a secret must have the common labels and deletion protection."
  }

  assert {
    condition = (
      google_secret_manager_secret.created["tuned"].labels == tomap({ env = "prod", team = "cache" }) &&
      google_secret_manager_secret.created["tuned"].version_destroy_ttl == "604800s" &&
      google_secret_manager_secret.created["tuned"].deletion_protection == false &&
      [
        for replication in google_secret_manager_secret.created["tuned"].replication :
        replication.auto[0].customer_managed_encryption[0].kms_key_name
      ] == ["projects/keys/locations/global/keyRings/ring/cryptoKeys/key"]
    )
    error_message = "A secret must have its own labels (before the common ones), TTL, protection and CMEK."
  }

  assert {
    condition = {
      for replica in google_secret_manager_secret.created["placed"].replication[0].user_managed[0].replicas :
      replica.location => join(",", replica.customer_managed_encryption[*].kms_key_name)
      } == {
      "europe-west1" = "projects/keys/locations/europe-west1/keyRings/ring/cryptoKeys/key"
      "europe-west4" = ""
    }
    error_message = "A secret must have the configured replicas, each with its own key or Google's key."
  }

  assert {
    condition     = length(google_secret_manager_secret.created["placed"].replication[0].auto) == 0
    error_message = "A secret with configured replicas must not have automatic replication."
  }

  assert {
    condition = (
      google_secret_manager_regional_secret.created["regional"].location == "europe-west3" &&
      google_secret_manager_regional_secret.created["regional"].version_destroy_ttl == "129600s" &&
      google_secret_manager_regional_secret.created["regional"].deletion_protection &&
      google_secret_manager_regional_secret.created["regional"].labels == tomap({ team = "platform" }) &&
      google_secret_manager_regional_secret.created["regional"].customer_managed_encryption[0].kms_key_name ==
      "projects/keys/locations/europe-west3/keyRings/ring/cryptoKeys/key"
    )
    error_message = "A regional secret must have its location, key, TTL, labels and protection."
  }
}

run "the_function_gets_the_full_names" {
  command = plan

  assert {
    condition = google_cloudfunctions2_function.rotator.service_config[0].environment_variables.SECRETS == join(",", [
      "projects/test-project/secrets/placed",
      "projects/test-project/secrets/plain",
      "projects/test-project/locations/europe-west3/secrets/regional",
      "projects/test-project/secrets/theirs",
      "projects/test-project/locations/europe-west3/secrets/theirs_regional",
      "projects/test-project/secrets/tuned",
    ])
    error_message = "SECRETS must list all secrets, also existing and regional secrets."
  }

  assert {
    condition = (
      output.store_credential_commands["regional"] == join(" ", [
        "gcloud secrets versions add regional --project=test-project --location=europe-west3",
        "--data-file=momento.json && rm momento.json",
      ]) &&
      output.store_credential_commands["theirs"] ==
      "gcloud secrets versions add theirs --project=test-project --data-file=momento.json && rm momento.json"
    )
    error_message = "The command that stores a credential must have the location of a regional secret."
  }
}

run "secrets_of_other_projects" {
  command = plan

  variables {
    secrets = {
      "projects/shop-project/secrets/key"                         = {}
      "projects/shop-project/locations/europe-west3/secrets/keys" = {}
    }
  }

  assert {
    condition = (
      length(google_secret_manager_secret.created) + length(google_secret_manager_regional_secret.created) == 0
    )
    error_message = "Terraform must not create a secret of another project."
  }

  assert {
    condition = toset([
      for key, grant in merge(
        google_secret_manager_secret_iam_member.runtime, google_secret_manager_regional_secret_iam_member.runtime
      ) : "${key} ${grant.project} ${grant.secret_id}"
      ]) == toset(flatten([
        for role in ["secretmanager.secretAccessor", "secretmanager.secretVersionManager"] : [
          "projects/shop-project/secrets/key/${role} shop-project key",
          "projects/shop-project/locations/europe-west3/secrets/keys/${role} shop-project keys",
        ]
    ]))
    error_message = "The function must be able to read and write the secrets of the other project."
  }

  assert {
    condition = (
      output.store_credential_commands["projects/shop-project/locations/europe-west3/secrets/keys"] ==
      join(" ", [
        "gcloud secrets versions add keys --project=shop-project --location=europe-west3",
        "--data-file=momento.json && rm momento.json",
      ])
    )
    error_message = "The command must store the credential in the secret's own project."
  }
}

# If the provider refuses to delete a secret, function and alerts must still exist. A plan doesn't show dependencies.
run "secrets_are_deleted_first" {
  command = plan

  assert {
    condition = (
      length(regexall("depends_on = \\[terraform_data.before_secrets\\]", file("${path.module}/secrets.tf"))) == 2 &&
      alltrue([
        for address in [
          "google_cloud_scheduler_job.rotation", "google_pubsub_subscription.requests",
          "google_pubsub_topic_iam_member.publishers", "module.monitoring",
        ] : strcontains(file("${path.module}/secrets.tf"), "    ${address},\n")
      ])
    )
    error_message = "Terraform must delete the secrets before the jobs, the subscription and the alerts."
  }
}
