# The management key: its own secret, or somebody else's, or one of those that are rotated. It is read, and no more.

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
    error_message = "Without a management key nothing is there that has to do with it."
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
    error_message = "The management key gets a secret of its own, which is empty and protected."
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
    error_message = "The function can read the management key and list its versions, and can't change it."
  }

  assert {
    condition = (
      length(google_secret_manager_secret_iam_member.runtime) == 4 &&
      length(google_secret_manager_regional_secret_iam_member.runtime) == 0
    )
    error_message = "The rotated secret has its two grants, and the management key its own."
  }

  assert {
    condition = (
      google_cloudfunctions2_function.rotator.service_config[0].environment_variables["MANAGEMENT_KEY"] ==
      "projects/test-project/secrets/momento-management-key" &&
      jsondecode(google_cloudfunctions2_function.rotator.service_config[0].environment_variables["SECRETS"]) == [
        { name = "projects/test-project/secrets/momento-api-key", role = "r-abcdefg", lifetime = "30d" },
      ]
    )
    error_message = "The function is told where the management key is, and it is none of those that are rotated."
  }

  assert {
    condition = (
      length(output.jobs) == 1 && output.jobs["common"].secrets == ["projects/test-project/secrets/momento-api-key"]
    )
    error_message = "No job rotates a management key that is none of secrets."
  }

  assert {
    condition = (
      output.management_key == "projects/test-project/secrets/momento-management-key" &&
      output.store_management_key_command ==
      "gcloud secrets versions add momento-management-key --project=test-project --data-file=-"
    )
    error_message = "An output has the command that stores the management key."
  }
}

run "under_another_id_and_expendable" {
  command = plan

  variables {
    management_key = { secret = "mint", deletion_protection = false }
  }

  assert {
    condition = (
      !google_secret_manager_secret.created["mint"].deletion_protection &&
      output.management_key == "projects/test-project/secrets/mint"
    )
    error_message = "Id and protection are as said."
  }
}

run "there_already" {
  command = plan

  variables {
    management_key = { secret = "theirs", create = false }
  }

  assert {
    condition     = keys(google_secret_manager_secret.created) == ["momento-api-key"]
    error_message = "An existing secret stays somebody else's."
  }

  assert {
    condition = toset([
      for grant in values(google_secret_manager_secret_iam_member.runtime) : grant.role
      if grant.secret_id == "theirs" && grant.project == "test-project"
    ]) == toset(["roles/secretmanager.secretAccessor", "roles/secretmanager.viewer"])
    error_message = "The function can read it nevertheless."
  }
}

# With the same id as a secret here, so that nothing is mistaken for it.
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
    error_message = "The grants are made where the secret is."
  }

  assert {
    condition = (
      google_cloudfunctions2_function.rotator.service_config[0].environment_variables["MANAGEMENT_KEY"] ==
      "projects/security-team/secrets/momento-api-key" &&
      output.store_management_key_command ==
      "gcloud secrets versions add momento-api-key --project=security-team --data-file=-"
    )
    error_message = "A full name is passed on as it is."
  }
}

run "regional_and_there_already" {
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
    error_message = "A regional secret has its grants in its region."
  }

  assert {
    condition = (
      output.store_management_key_command ==
      "gcloud secrets versions add mint --project=test-project --location=europe-west3 --data-file=-"
    )
    error_message = "The command has the location of a regional secret."
  }
}

run "one_of_those_that_are_rotated" {
  command = plan

  variables {
    management_key = { secret = "mint", deletion_protection = false }
    secrets        = { "momento-api-key" = {}, mint = { location = "europe-west3", lifetime = "90d" } }
  }

  # Its entry in secrets has precedence.
  assert {
    condition = (
      keys(google_secret_manager_secret.created) == ["momento-api-key"] &&
      google_secret_manager_regional_secret.created["mint"].deletion_protection &&
      google_cloudfunctions2_function.rotator.service_config[0].environment_variables["MANAGEMENT_KEY"] ==
      "projects/test-project/locations/europe-west3/secrets/mint"
    )
    error_message = "It is created once, as secrets says."
  }

  assert {
    condition = toset([
      for grant in values(google_secret_manager_regional_secret_iam_member.runtime) : "${grant.secret_id} ${grant.role}"
      ]) == toset([
      "mint roles/secretmanager.secretAccessor",
      "mint roles/secretmanager.secretVersionManager",
    ])
    error_message = "A management key that renews itself has the grants of a rotated secret, once."
  }
}

run "the_same_by_its_full_name" {
  command = plan

  variables {
    management_key = { secret = "projects/test-project/secrets/mint" }
    secrets        = { mint = { lifetime = "90d" } }
  }

  assert {
    condition = (
      length(google_secret_manager_secret_iam_member.runtime) == 2 && length(google_secret_manager_secret.created) == 1
    )
    error_message = "A full name is recognised as that of a rotated secret."
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
    error_message = "Every setting is in the environment; where keys are revoked, readers have a week."
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
    error_message = "An hour is the shortest grace period with revoke."
  }
}
