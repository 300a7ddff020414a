# What `terraform apply -var project_id=...` makes, and nothing more.

mock_provider "google" {
  source = "./tests/mocks"
}

mock_provider "time" {}

variables {
  project_id = "test-project"
  # An ephemeral variable needs a value in every test that applies.
  initial_credentials = {}
}

run "a_project_id_is_enough" {
  assert {
    condition = keys(google_secret_manager_secret.created) == ["momento-api-key"] && alltrue([
      for secret in values(google_secret_manager_secret.created) :
      secret.secret_id == "momento-api-key" && secret.deletion_protection && secret.version_destroy_ttl == null &&
      length(secret.replication[0].auto) == 1 && length(secret.replication[0].auto[0].customer_managed_encryption) == 0 &&
      length(secret.replication[0].user_managed) == 0
    ])
    error_message = "By default there is one secret, replicated automatically and protected from deletion."
  }

  assert {
    condition     = length(google_secret_manager_regional_secret.created) == 0 && length(google_secret_manager_secret_version.initial) == 0
    error_message = "By default there is neither a regional secret nor a version."
  }

  assert {
    condition     = [for job in values(google_cloud_scheduler_job.rotation) : [job.name, job.schedule, job.time_zone, job.paused]] == [["momento-key-rotator", "17 3 * * *", "Etc/UTC", false]]
    error_message = "By default there is one job, daily and running."
  }

  assert {
    condition = (
      length(google_monitoring_alert_policy.failed_run) == 1 && length(google_monitoring_alert_policy.failed_job) == 1 &&
      keys(google_monitoring_alert_policy.no_rotation) == ["momento-api-key"] && length(google_monitoring_alert_policy.expiry) == 1 &&
      length(google_monitoring_dashboard.rotations) == 1
    )
    error_message = "By default there are all four alerts and the dashboard."
  }

  assert {
    condition = alltrue(concat(
      [for secret in values(google_secret_manager_secret.created) : secret.project == "test-project"],
      [for job in values(google_cloud_scheduler_job.rotation) : job.project == "test-project" && job.region == "us-central1"],
      [for account in [google_service_account.runtime, google_service_account.build, google_service_account.scheduler] : account.project == "test-project"],
      [google_cloudfunctions2_function.rotator.project == "test-project", google_cloudfunctions2_function.rotator.location == "us-central1"],
      [google_storage_bucket.source.project == "test-project", google_storage_bucket.source.location == "us-central1"],
    ))
    error_message = "Everything names its project and region itself, whatever the provider's defaults are."
  }
}

run "apis_are_enabled_and_never_disabled" {
  assert {
    condition = toset([for service in values(google_project_service.required) : service.service]) == toset([
      "artifactregistry.googleapis.com", "cloudbuild.googleapis.com", "cloudfunctions.googleapis.com",
      "cloudresourcemanager.googleapis.com", "cloudscheduler.googleapis.com", "iam.googleapis.com",
      "logging.googleapis.com", "monitoring.googleapis.com", "run.googleapis.com", "secretmanager.googleapis.com",
      "storage.googleapis.com",
    ])
    error_message = "Exactly the APIs that are needed are enabled."
  }

  assert {
    condition     = alltrue([for service in values(google_project_service.required) : service.disable_on_destroy == false])
    error_message = "No API is disabled on destroy."
  }
}

run "apis_can_be_left_to_others" {
  command = plan

  variables {
    enable_apis = false
  }

  assert {
    condition     = length(google_project_service.required) == 0
    error_message = "enable_apis = false leaves the APIs alone."
  }
}

run "outputs_say_what_to_do_next" {
  assert {
    condition     = output.function_name == "momento-key-rotator" && output.function_uri == "https://rotator-abc123-uc.a.run.app"
    error_message = "The outputs name the function."
  }

  assert {
    condition     = output.secret_names == { "momento-api-key" = "projects/test-project/secrets/momento-api-key" }
    error_message = "The outputs name the secrets in full."
  }

  assert {
    condition = output.store_credential_commands == {
      "momento-api-key" = "gcloud secrets versions add momento-api-key --project=test-project --data-file=credential.json"
    }
    error_message = "An output has the command that stores the first credential."
  }

  assert {
    condition     = output.run_commands == { common = "gcloud scheduler jobs run momento-key-rotator --project=test-project --location=us-central1" }
    error_message = "An output has the command that runs the job now."
  }

  assert {
    condition = startswith(
      output.log_command,
      "gcloud logging read 'resource.type=\"cloud_run_revision\" AND jsonPayload.event=\"rotation\" AND resource.labels.service_name=\"momento-key-rotator\" AND resource.labels.location=\"us-central1\"' --project=test-project ",
    )
    error_message = "An output has the command that reads the logs."
  }

  assert {
    condition = output.jobs == {
      common = {
        name     = "momento-key-rotator"
        schedule = "17 3 * * *"
        secrets  = ["projects/test-project/secrets/momento-api-key"]
      }
    }
    error_message = "An output lists the jobs."
  }

  assert {
    condition     = toset(keys(output.service_accounts)) == toset(["runtime", "build", "scheduler"]) && output.dashboard != null
    error_message = "The outputs name the accounts and the dashboard."
  }
}
