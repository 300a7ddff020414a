# Every grant, and no other.

mock_provider "google" {
  source = "./tests/mocks"

  override_resource {
    target = google_service_account.created["runtime"]
    values = {
      email = "runtime@test-project.iam.gserviceaccount.com"
    }
  }

  override_resource {
    target = google_service_account.created["build"]
    values = {
      email = "build@test-project.iam.gserviceaccount.com"
    }
  }

  override_resource {
    target = google_service_account.created["invoker"]
    values = {
      email = "invoker@test-project.iam.gserviceaccount.com"
    }
  }
}

mock_provider "time" {}

variables {
  project_id = "test-project"
  region     = "europe-west1"
  secrets = {
    # Not protected, because the test also destroys the secrets.
    ours            = { deletion_protection = false }
    theirs          = { create = false, schedule = "0 4 * * 1" }
    regional        = { location = "europe-west3", deletion_protection = false }
    theirs_regional = { location = "europe-west3", create = false }
  }
}

run "three_accounts_three_duties" {
  assert {
    condition = (
      google_cloudfunctions2_function.rotator.service_config[0].service_account_email ==
      "runtime@test-project.iam.gserviceaccount.com" &&
      google_cloudfunctions2_function.rotator.build_config[0].service_account ==
      "projects/test-project/serviceAccounts/build@test-project.iam.gserviceaccount.com" &&
      alltrue([
        for job in values(google_cloud_scheduler_job.rotation) :
        job.http_target[0].oidc_token[0].service_account_email == "invoker@test-project.iam.gserviceaccount.com"
      ])
    )
    error_message = "The function, its build and the jobs must each have an account, and no default account."
  }

  assert {
    condition = output.service_accounts == {
      runtime = "runtime@test-project.iam.gserviceaccount.com"
      build   = "build@test-project.iam.gserviceaccount.com"
      invoker = "invoker@test-project.iam.gserviceaccount.com"
    }
    error_message = "The output must name the account of each duty."
  }
}

run "the_function_can_use_exactly_these_secrets" {
  assert {
    condition = toset([
      for grant in values(google_secret_manager_secret_iam_member.runtime) :
      join(" ", [grant.project, grant.secret_id, grant.role, grant.member, length(grant.condition)])
      ]) == toset([
      for grant in setproduct(
        ["ours", "theirs"], ["roles/secretmanager.secretAccessor", "roles/secretmanager.secretVersionManager"]
      ) : "test-project ${join(" ", grant)} serviceAccount:runtime@test-project.iam.gserviceaccount.com 0"
    ])
    error_message = "The runtime account must have the two roles on every global secret, created or existing."
  }

  assert {
    condition = toset([
      for grant in values(google_secret_manager_regional_secret_iam_member.runtime) :
      join(" ", [grant.project, grant.location, grant.secret_id, grant.role, grant.member, length(grant.condition)])
      ]) == toset([
      for grant in setproduct(
        ["regional", "theirs_regional"],
        ["roles/secretmanager.secretAccessor", "roles/secretmanager.secretVersionManager"]
      ) : "test-project europe-west3 ${join(" ", grant)} serviceAccount:runtime@test-project.iam.gserviceaccount.com 0"
    ])
    error_message = "The runtime account must have the two roles on every regional secret, created or existing."
  }

  assert {
    condition = (
      toset(values(local.permissions)) ==
      toset([for grant in values(google_secret_manager_secret_iam_member.runtime) : grant.role])
    )
    error_message = "Terraform must grant exactly the roles of the permissions."
  }

  assert {
    condition = tomap(local.permissions) == tomap({
      "secretmanager.versions.access"  = "roles/secretmanager.secretAccessor"
      "secretmanager.versions.get"     = "roles/secretmanager.secretVersionManager"
      "secretmanager.versions.list"    = "roles/secretmanager.secretVersionManager"
      "secretmanager.versions.add"     = "roles/secretmanager.secretVersionManager"
      "secretmanager.versions.disable" = "roles/secretmanager.secretVersionManager"
      "secretmanager.versions.destroy" = "roles/secretmanager.secretVersionManager"
    })
    error_message = "Each permission must have its role."
  }
}

run "the_jobs_can_call_exactly_this_function" {
  assert {
    condition = (
      google_cloud_run_v2_service_iam_member.invoker.project == "test-project" &&
      google_cloud_run_v2_service_iam_member.invoker.location == "europe-west1" &&
      google_cloud_run_v2_service_iam_member.invoker.name == "momento-key-rotator" &&
      google_cloud_run_v2_service_iam_member.invoker.role == "roles/run.invoker" &&
      google_cloud_run_v2_service_iam_member.invoker.member ==
      "serviceAccount:invoker@test-project.iam.gserviceaccount.com"
    )
    error_message = "The invoker must be able to call the function's service."
  }
}

run "the_build_can_only_build" {
  assert {
    condition = toset([
      for grant in values(google_project_iam_member.build) : "${grant.project} ${grant.role} ${grant.member}"
      ]) == toset([
      "test-project roles/artifactregistry.writer serviceAccount:build@test-project.iam.gserviceaccount.com",
      "test-project roles/logging.logWriter serviceAccount:build@test-project.iam.gserviceaccount.com",
    ])
    error_message = "In the project, the build must be able to write only images and logs."
  }

  assert {
    condition = (
      google_project_iam_member.build_source_copy[0].role == "roles/storage.objectViewer" &&
      google_project_iam_member.build_source_copy[0].member ==
      "serviceAccount:build@test-project.iam.gserviceaccount.com" &&
      google_project_iam_member.build_source_copy[0].condition[0].expression ==
      "resource.name.startsWith(\"projects/_/buckets/gcf-v2-sources-\")"
    )
    error_message = "In the project, the build must be able to read only the buckets with sources of functions."
  }

  assert {
    condition = (
      google_storage_bucket_iam_member.build_source.bucket == google_storage_bucket.source.name &&
      google_storage_bucket_iam_member.build_source.role == "roles/storage.objectViewer" &&
      google_storage_bucket_iam_member.build_source.member ==
      "serviceAccount:build@test-project.iam.gserviceaccount.com"
    )
    error_message = "The build must be able to read the source."
  }
}

run "no_other_grant" {
  command = plan

  assert {
    condition = toset(flatten([
      for file in fileset(path.module, "*.tf") : [
        for block in regexall(
          "resource +\"(google_[a-z0-9_]*iam_[a-z_]*)\" +\"([a-z_]+)\"", file("${path.module}/${file}")
        ) : join(".", block)
      ]
      ])) == toset([
      "google_cloud_run_v2_service_iam_member.invoker",
      "google_project_iam_member.build",
      "google_project_iam_member.build_source_copy",
      "google_pubsub_subscription_iam_member.dead_letters",
      "google_pubsub_topic_iam_member.dead_letters",
      "google_pubsub_topic_iam_member.publishers",
      "google_pubsub_topic_iam_member.secret_manager",
      "google_secret_manager_regional_secret_iam_member.runtime",
      "google_secret_manager_secret_iam_member.runtime",
      "google_storage_bucket_iam_member.build_source",
    ])
    error_message = "The module must have no other IAM resource than those in the tests above."
  }

  assert {
    condition = alltrue([
      for file in fileset(path.module, "*.tf") :
      !can(regex("allUsers|allAuthenticatedUsers|google_service_account_key", file("${path.module}/${file}")))
    ])
    error_message = "A call without a token must be refused, and no service account can have a key."
  }
}

run "existing_accounts" {
  command = plan

  variables {
    service_accounts = {
      runtime = { email = "own@other-project.iam.gserviceaccount.com" }
      build   = { email = "own-build@test-project.iam.gserviceaccount.com" }
    }
  }

  assert {
    condition = (
      keys(google_service_account.created) == ["invoker"] &&
      google_cloudfunctions2_function.rotator.service_config[0].service_account_email ==
      "own@other-project.iam.gserviceaccount.com" &&
      google_cloudfunctions2_function.rotator.build_config[0].service_account ==
      "projects/test-project/serviceAccounts/own-build@test-project.iam.gserviceaccount.com" &&
      alltrue([
        for grant in values(google_secret_manager_secret_iam_member.runtime) :
        grant.member == "serviceAccount:own@other-project.iam.gserviceaccount.com"
      ])
    )
    error_message = "The configured accounts must run and build the function."
  }

  assert {
    condition = (
      length(google_project_iam_member.build) == 0 && length(google_project_iam_member.build_source_copy) == 0
    )
    error_message = "An account that the module doesn't create must get no role in the project."
  }
}
