# The examples have a plan, and outputs that match the README. defaults.tftest.hcl covers examples/minimal.

mock_provider "google" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  project_id = "test-project"
}

run "v2" {
  command = plan

  module {
    source = "./examples/v2"
  }

  variables {
    role = "r-abcdefg"
  }

  assert {
    condition = alltrue([
      for command in [output.store_management_key_command, "terraform output -raw rotate_command"] :
      strcontains(replace(file("${path.module}/../../../README.md"), "PROJECT", "test-project"), "   ${command}")
    ])
    error_message = "The README must have the commands of the outputs."
  }

  assert {
    condition     = sort(keys(output.compromised_command)) == tolist(["momento-api-key", "momento-management-key"])
    error_message = "The management key must be rotated, so that an alert watches its expiry."
  }
}

run "with_application" {
  command = plan

  module {
    source = "./examples/with-application"
  }

  variables {
    image            = "us-west1-docker.pkg.dev/test-project/images/application:1"
    cache            = "items"
    momento_endpoint = "cell-4-us-west-2-1.prod.a.momentohq.com"
    role             = "r-abcdefg"
  }

  assert {
    condition = (
      google_secret_manager_secret_iam_member.application.secret_id ==
      "projects/test-project/secrets/momento-api-key" &&
      google_secret_manager_secret_iam_member.application.role == "roles/secretmanager.secretAccessor" &&
      google_secret_manager_secret_iam_member.application.member == google_service_account.application.member
    )
    error_message = "The application must be able to read its secret."
  }

  assert {
    condition = toset(flatten([
      for file in fileset(path.module, "*.tf") : [
        for block in regexall(
          "resource +\"(google_[a-z0-9_]*iam_[a-z_]*)\" +\"([a-z_]+)\"", file("${path.module}/${file}")
        ) : join(".", block)
      ]
    ])) == toset(["google_secret_manager_secret_iam_member.application"])
    error_message = "The application must have no other role."
  }

  assert {
    condition = (
      google_cloud_run_v2_service.application.template[0].service_account == google_service_account.application.email &&
      google_cloud_run_v2_service.application.template[0].containers[0].image ==
      "us-west1-docker.pkg.dev/test-project/images/application:1" &&
      { for env in google_cloud_run_v2_service.application.template[0].containers[0].env : env.name => env.value } == {
        SECRET           = "projects/test-project/secrets/momento-api-key"
        CACHE            = "items"
        REREAD_EVERY     = "5m"
        MOMENTO_ENDPOINT = "cell-4-us-west-2-1.prod.a.momentohq.com"
      }
    )
    error_message = "The environment must name the secret and the cache of the application, but not PORT."
  }
}

run "complete" {
  command = plan

  module {
    source = "./examples/complete"
  }

  variables {
    region       = "europe-west1"
    oncall_email = "oncall@example.com"
    kms_key      = "projects/test-project/locations/europe-west1/keyRings/ring/cryptoKeys/key"
    batch_role   = "r-abcdefg"
    shop_project = "shop-project"
  }

  assert {
    condition = (
      length(output.store_credential_commands) == 7 &&
      output.store_management_key_command ==
      "gcloud secrets versions add momento-management-key --project=test-project --data-file=-"
    )
    error_message = "The outputs must contain the command of each secret."
  }
}

run "settings_that_the_first_plan_does_not_know" {
  command = plan

  module {
    source = "./tests/fixtures/unknown-values"
  }

  assert {
    condition     = toset(keys(output.secret_names)) == toset(["minted", "replicated"])
    error_message = "The plan must succeed, and know the names of the secrets."
  }
}
