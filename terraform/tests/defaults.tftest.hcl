# `terraform apply -var project_id=...` creates exactly these resources.

mock_provider "google" {
  source          = "./tests/mocks"
  override_during = plan
}

mock_provider "time" {}

variables {
  project_id = "test-project"
}

run "a_project_id_is_enough" {
  command = plan

  assert {
    condition = keys(google_secret_manager_secret.created) == ["momento-api-key"] && alltrue([
      for secret in values(google_secret_manager_secret.created) :
      secret.secret_id == "momento-api-key" && secret.deletion_protection && secret.version_destroy_ttl == null &&
      length(secret.replication[0].auto) == 1 &&
      length(secret.replication[0].auto[0].customer_managed_encryption) == 0 &&
      length(secret.replication[0].user_managed) == 0
    ])
    error_message = "By default there must be one secret, replicated automatically and protected from deletion."
  }

  assert {
    condition     = length(google_secret_manager_regional_secret.created) == 0
    error_message = "By default there must be no regional secret."
  }

  assert {
    condition = (
      [for job in values(google_cloud_scheduler_job.rotation) : [job.name, job.schedule, job.time_zone, job.paused]] ==
      [["momento-key-rotator", "17 3 * * *", "Etc/UTC", false]]
    )
    error_message = "By default there must be one job, which runs daily."
  }

  assert {
    condition     = length(module.monitoring) == 1 && output.dashboard != null
    error_message = "By default there must be monitoring."
  }

  assert {
    condition = alltrue(concat(
      [for secret in values(google_secret_manager_secret.created) : secret.project == "test-project"],
      [
        for job in values(google_cloud_scheduler_job.rotation) :
        job.project == "test-project" && job.region == "us-central1"
      ],
      [for account in values(google_service_account.created) : account.project == "test-project"],
      [
        google_cloudfunctions2_function.rotator.project == "test-project",
        google_cloudfunctions2_function.rotator.location == "us-central1",
      ],
      [google_storage_bucket.source.project == "test-project", google_storage_bucket.source.location == "us-central1"],
    ))
    error_message = "Every resource must name its project and region, without the provider's defaults."
  }
}

run "apis_are_enabled_and_never_disabled" {
  command = plan

  assert {
    condition = toset([for service in values(google_project_service.required) : service.service]) == toset([
      "artifactregistry.googleapis.com", "cloudbuild.googleapis.com", "cloudfunctions.googleapis.com",
      "cloudresourcemanager.googleapis.com", "cloudscheduler.googleapis.com", "iam.googleapis.com",
      "logging.googleapis.com", "monitoring.googleapis.com", "pubsub.googleapis.com", "run.googleapis.com",
      "secretmanager.googleapis.com",
      "storage.googleapis.com",
    ])
    error_message = "Terraform must enable exactly the APIs that the module needs."
  }

  assert {
    condition = (
      alltrue([for service in values(google_project_service.required) : service.disable_on_destroy == false])
    )
    error_message = "A destroy must not disable an API."
  }
}

run "without_enabling_apis" {
  command = plan

  variables {
    enable_apis = false
  }

  assert {
    condition     = length(google_project_service.required) == 0 && length(time_sleep.apis) == 0
    error_message = "With enable_apis = false, Terraform must not enable APIs or wait for them."
  }
}

run "waits_after_new_apis_and_grants" {
  command = plan

  assert {
    condition = (
      time_sleep.apis[0].create_duration == "60s" &&
      toset(keys(time_sleep.apis[0].triggers)) == toset(keys(google_project_service.required))
    )
    error_message = "Terraform must wait a minute after it enables APIs, and again only after it enables another API."
  }

  assert {
    condition = (
      time_sleep.grants.create_duration == "180s" &&
      toset(keys(time_sleep.grants.triggers)) ==
      toset(["artifactregistry.writer", "logging.logWriter", "source", "source_copy"])
    )
    error_message = "Terraform must wait three minutes after the build's grants, and again only after another grant."
  }

  # A plan doesn't show dependencies.
  assert {
    condition = alltrue([
      for file in fileset(path.module, "*.tf") :
      !strcontains(
        replace(file("${path.module}/${file}"), "api, service in google_project_service.required", ""),
        "google_project_service.required"
      )
    ])
    error_message = "Resources must wait until the APIs can be used, not only until the APIs are enabled."
  }
}

run "outputs" {
  command = plan

  assert {
    condition = (
      output.function_name == "momento-key-rotator" && output.function_uri == "https://rotator-abc123-uc.a.run.app"
    )
    error_message = "The outputs must name the function."
  }

  assert {
    condition     = output.secret_names == { "momento-api-key" = "projects/test-project/secrets/momento-api-key" }
    error_message = "The outputs must contain the full names of the secrets."
  }

  assert {
    condition = output.store_credential_commands == {
      "momento-api-key" = join(" && ", [
        "gcloud secrets versions add momento-api-key --project=test-project --data-file=momento.json", "rm momento.json"
      ])
    }
    error_message = "An output must contain the command that stores the first credential."
  }

  assert {
    condition = startswith(
      output.watch_command,
      join(" AND ", [
        "gcloud logging read 'resource.type=\"cloud_run_revision\"",
        "resource.labels.service_name=\"momento-key-rotator\" ",
      ]),
    )
    error_message = "An output must contain the command that reads the logs."
  }

  assert {
    condition = output.jobs == {
      common = {
        name     = "momento-key-rotator"
        schedule = "17 3 * * *"
        secrets  = ["projects/test-project/secrets/momento-api-key"]
      }
    }
    error_message = "An output must list the jobs."
  }

  assert {
    condition     = toset(keys(output.service_accounts)) == toset(["runtime", "build", "invoker"])
    error_message = "An output must name the accounts."
  }
}

run "configured_wait_without_monitoring" {
  command = plan

  variables {
    wait_for_propagation = 10
    monitoring           = { enabled = false }
  }

  assert {
    condition     = time_sleep.grants.create_duration == "10s" && time_sleep.apis[0].create_duration == "4s"
    error_message = "The waits don't follow wait_for_propagation."
  }

  assert {
    condition     = length(module.monitoring) == 0 && output.dashboard == null
    error_message = "With enabled = false, there must be no monitoring."
  }
}
