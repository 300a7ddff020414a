# The management key, in a secret that the module creates, in an existing secret, or in a rotated secret.

mock_provider "google" {
  source = "./tests/mocks"
}

mock_provider "time" {}

variables {
  project_id = "test-project"
}

run "none_by_default" {
  command = plan

  assert {
    condition = (
      keys(google_secret_manager_secret.created) == ["momento-api-key"] &&
      output.management_key == null && output.store_management_key_command == null &&
      length(
        setintersection(
          keys(google_cloudfunctions2_function.rotator.service_config[0].environment_variables),
          ["MANAGEMENT_KEY", "REVOKE", "MOMENTO_ENDPOINT", "MOMENTO_REFRESH_PATH"]
        )
      ) == 0
    )
    error_message = "Without a management key, there must be no secret, output or setting for it."
  }
}

run "created_empty_and_protected" {
  command = plan

  variables {
    management_key = {}
    labels         = { team = "platform" }
    secrets        = { "momento-api-key" = { role = "r-abcdefg", lifetime = "30d" } }
  }

  assert {
    condition = (
      google_secret_manager_secret.created["momento-management-key"].secret_id == "momento-management-key" &&
      google_secret_manager_secret.created["momento-management-key"].project == "test-project" &&
      google_secret_manager_secret.created["momento-management-key"].deletion_protection &&
      google_secret_manager_secret.created["momento-management-key"].labels == tomap({ team = "platform" }) &&
      length(google_secret_manager_secret.created["momento-management-key"].replication[0].auto) == 1
    )
    error_message = "The module must create an empty and protected secret for the management key."
  }

  assert {
    condition = toset([
      for key, grant in google_secret_manager_secret_iam_member.runtime :
      "${grant.project} ${grant.secret_id} ${grant.role}"
      if grant.secret_id == "momento-management-key"
      ]) == toset([
      "test-project momento-management-key roles/secretmanager.secretAccessor",
      "test-project momento-management-key roles/secretmanager.viewer",
    ])
    error_message = "The function must be able to read the management key and list its versions, but not to change it."
  }

  assert {
    condition = (
      length(google_secret_manager_secret_iam_member.runtime) == 4 &&
      length(google_secret_manager_regional_secret_iam_member.runtime) == 0
    )
    error_message = "The rotated secret and the management key must have two grants each."
  }

  assert {
    condition = (
      google_cloudfunctions2_function.rotator.service_config[0].environment_variables["MANAGEMENT_KEY"] ==
      "projects/test-project/secrets/momento-management-key" &&
      jsondecode(google_cloudfunctions2_function.rotator.service_config[0].environment_variables["SECRETS"]) == [
        { name = "projects/test-project/secrets/momento-api-key", role = "r-abcdefg", lifetime = "30d" },
      ]
    )
    error_message = "MANAGEMENT_KEY must name the secret of the management key, and SECRETS must not contain it."
  }

  assert {
    condition = (
      length(output.jobs) == 1 && output.jobs["common"].secrets == ["projects/test-project/secrets/momento-api-key"]
    )
    error_message = "No job must rotate a management key that isn't in secrets."
  }

  assert {
    condition = (
      output.management_key == "projects/test-project/secrets/momento-management-key" &&
      output.store_management_key_command ==
      "gcloud secrets versions add momento-management-key --project=test-project --data-file=-"
    )
    error_message = "An output must contain the command that stores the management key."
  }
}

run "another_id_without_protection" {
  command = plan

  variables {
    management_key = { secret = "mint", deletion_protection = false }
  }

  assert {
    condition = (
      !google_secret_manager_secret.created["mint"].deletion_protection &&
      output.management_key == "projects/test-project/secrets/mint"
    )
    error_message = "The secret must have the configured id and protection."
  }
}

run "existing_secret" {
  command = plan

  variables {
    management_key = { secret = "theirs", create = false }
  }

  assert {
    condition     = keys(google_secret_manager_secret.created) == ["momento-api-key"]
    error_message = "Terraform must not create an existing secret."
  }

  assert {
    condition = toset([
      for grant in values(google_secret_manager_secret_iam_member.runtime) : grant.role
      if grant.secret_id == "theirs" && grant.project == "test-project"
    ]) == toset(["roles/secretmanager.secretAccessor", "roles/secretmanager.viewer"])
    error_message = "The function must be able to read an existing secret."
  }
}

# The secret has the id of a rotated secret in this project, which the module must not confuse with it.
run "in_another_project" {
  command = plan

  variables {
    management_key = { secret = "projects/security-team/secrets/momento-api-key" }
  }

  assert {
    condition = toset([
      for grant in values(google_secret_manager_secret_iam_member.runtime) :
      "${grant.project} ${grant.secret_id} ${grant.role}"
      ]) == toset([
      "test-project momento-api-key roles/secretmanager.secretAccessor",
      "test-project momento-api-key roles/secretmanager.secretVersionManager",
      "security-team momento-api-key roles/secretmanager.secretAccessor",
      "security-team momento-api-key roles/secretmanager.viewer",
    ])
    error_message = "Terraform must grant the roles in the project of the secret."
  }

  assert {
    condition = (
      google_cloudfunctions2_function.rotator.service_config[0].environment_variables["MANAGEMENT_KEY"] ==
      "projects/security-team/secrets/momento-api-key" &&
      output.store_management_key_command ==
      "gcloud secrets versions add momento-api-key --project=security-team --data-file=-"
    )
    error_message = "The function and the command must use the full name of the secret."
  }
}

run "existing_regional_secret" {
  command = plan

  variables {
    management_key = { secret = "projects/test-project/locations/europe-west3/secrets/mint" }
  }

  assert {
    condition = toset([
      for grant in values(google_secret_manager_regional_secret_iam_member.runtime) :
      "${grant.project} ${grant.location} ${grant.secret_id} ${grant.role}"
      ]) == toset([
      "test-project europe-west3 mint roles/secretmanager.secretAccessor",
      "test-project europe-west3 mint roles/secretmanager.viewer",
    ])
    error_message = "Terraform must grant the roles on a regional secret in its region."
  }

  assert {
    condition = (
      output.store_management_key_command ==
      "gcloud secrets versions add mint --project=test-project --location=europe-west3 --data-file=-"
    )
    error_message = "The command must have the location of a regional secret."
  }
}

run "rotated_secret" {
  command = plan

  variables {
    management_key = { secret = "mint", deletion_protection = false }
    secrets        = { "momento-api-key" = {}, mint = { location = "europe-west3", lifetime = "90d" } }
  }

  # The entry in secrets has precedence over management_key.
  assert {
    condition = (
      keys(google_secret_manager_secret.created) == ["momento-api-key"] &&
      google_secret_manager_regional_secret.created["mint"].deletion_protection &&
      google_cloudfunctions2_function.rotator.service_config[0].environment_variables["MANAGEMENT_KEY"] ==
      "projects/test-project/locations/europe-west3/secrets/mint"
    )
    error_message = "Terraform must create the secret once, with the settings in secrets."
  }

  assert {
    condition = toset([
      for grant in values(google_secret_manager_regional_secret_iam_member.runtime) : "${grant.secret_id} ${grant.role}"
      ]) == toset([
      "mint roles/secretmanager.secretAccessor",
      "mint roles/secretmanager.secretVersionManager",
    ])
    error_message = "The secret of a rotated management key must have only the grants of a rotated secret."
  }
}

run "rotated_secret_by_its_full_name" {
  command = plan

  variables {
    management_key = { secret = "projects/test-project/secrets/mint" }
    secrets        = { mint = { lifetime = "90d" } }
  }

  assert {
    condition = (
      length(google_secret_manager_secret_iam_member.runtime) == 2 && length(google_secret_manager_secret.created) == 1
    )
    error_message = "The module must recognize the full name of a rotated secret."
  }
}

run "every_setting_reaches_the_function" {
  command = plan

  variables {
    management_key = {}
    rotation       = { revoke = true }
    momento        = { endpoint = "cell-4-us-west-2-1.prod.a.momentohq.com", refresh_path = "/api-keys/refresh" }
    secrets = {
      bare    = { role = "r-abcdefg", lifetime = "30d", payload = "key", location = "europe-west3" }
      refresh = {}
    }
  }

  assert {
    condition = google_cloudfunctions2_function.rotator.service_config[0].environment_variables == tomap({
      NODE_ENV             = "production"
      NODE_OPTIONS         = "--max-semi-space-size=4 --max-old-space-size=192"
      LOG_EXECUTION_ID     = "true"
      GOOGLE_CLOUD_PROJECT = "test-project"
      SECRETS = jsonencode([
        {
          name     = "projects/test-project/locations/europe-west3/secrets/bare"
          role     = "r-abcdefg"
          lifetime = "30d"
          payload  = "key"
        },
        { name = "projects/test-project/secrets/refresh" },
      ])
      MANAGEMENT_KEY       = "projects/test-project/secrets/momento-management-key"
      RENEW_BEFORE         = "50%,48h"
      GRACE_PERIOD         = "7d"
      DESTROY_AFTER        = "30d"
      VERIFY               = "true"
      REVOKE               = "true"
      MOMENTO_ENDPOINT     = "cell-4-us-west-2-1.prod.a.momentohq.com"
      MOMENTO_REFRESH_PATH = "/api-keys/refresh"
      TIMEOUT              = "540s"
    })
    error_message = "The environment must contain every setting. With revoke, the default grace period must be a week."
  }
}

run "a_shorter_grace_period_with_revoke" {
  command = plan

  variables {
    management_key = {}
    rotation       = { revoke = true, grace_period = "1h" }
  }

  assert {
    condition = (
      google_cloudfunctions2_function.rotator.service_config[0].environment_variables["GRACE_PERIOD"] == "1h"
    )
    error_message = "With revoke, Terraform must accept a grace period of an hour."
  }
}
