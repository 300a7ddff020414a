# Names: within Google's limits however long the prefix, and never the same for two deployments.

mock_provider "google" {
  source = "./tests/mocks"
}

mock_provider "time" {}

variables {
  project_id = "a-project-id-of-thirty-letters"
}

run "names_as_they_are_where_they_fit" {
  command = plan

  variables {
    name = "rotator"
  }

  assert {
    condition = {
      function  = google_cloudfunctions2_function.rotator.name
      runtime   = google_service_account.runtime.account_id
      build     = google_service_account.build.account_id
      scheduler = google_service_account.scheduler.account_id
      bucket    = google_storage_bucket.source.name
      job       = google_cloud_scheduler_job.rotation["common"].name
      metric    = google_logging_metric.runs.name
      } == {
      function  = "rotator"
      runtime   = "rotator-runtime"
      build     = "rotator-build"
      scheduler = "rotator-scheduler"
      bucket    = "a-project-id-of-thirty-letters-rotator-source"
      job       = "rotator"
      metric    = "rotator-runs"
    }
    error_message = "A short prefix is used as it is."
  }
}

run "one_letter_is_enough" {
  command = plan

  variables {
    name = "r"
  }

  assert {
    condition     = google_service_account.build.account_id == "r-build" && google_cloudfunctions2_function.rotator.name == "r"
    error_message = "The shortest prefix gives an account an id of at least six characters."
  }
}

run "a_hundred_characters" {
  command = plan

  variables {
    name    = "a-very-long-name-that-some-naming-convention-wants-with-region-stage-team-and-cost-centre-in-it-0001"
    secrets = { plain = {}, (join("", [for n in range(255) : "x"])) = { schedule = "0 4 * * 1" } }
  }

  assert {
    condition = alltrue([
      for account in [google_service_account.runtime, google_service_account.build, google_service_account.scheduler] :
      can(regex("^[a-z]([a-z0-9-]*[a-z0-9])$", account.account_id)) && length(account.account_id) <= 30 && length(account.account_id) >= 6
    ])
    error_message = "The ids of service accounts have 6 to 30 characters."
  }

  assert {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,47}[a-z0-9])?$", google_cloudfunctions2_function.rotator.name))
    error_message = "The function's name has at most 49 characters, as many as a Cloud Run service."
  }

  assert {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", google_storage_bucket.source.name)) && startswith(google_storage_bucket.source.name, "a-project-id-of-thirty-letters-")
    error_message = "The bucket's name has 3 to 63 characters and begins with the project's id."
  }

  assert {
    condition     = alltrue([for job in concat(values(google_cloud_scheduler_job.rotation), values(google_cloud_scheduler_job.now)) : can(regex("^[A-Za-z0-9_-]{1,500}$", job.name))])
    error_message = "The jobs' names have at most 500 characters."
  }

  assert {
    condition = alltrue([
      for metric in [google_logging_metric.runs, google_logging_metric.days_left, google_logging_metric.duration, google_logging_metric.expiring[0], google_logging_metric.late[0], google_logging_metric.failed_calls] :
      length(metric.name) <= 100
    ])
    error_message = "The metrics' names have at most 100 characters."
  }

  assert {
    condition = alltrue([
      for policy in concat(google_monitoring_alert_policy.failed_run, google_monitoring_alert_policy.failed_job, google_monitoring_alert_policy.no_rotation, google_monitoring_alert_policy.no_success, google_monitoring_alert_policy.expiry) :
      length(policy.display_name) <= 512 && length(policy.documentation[0].content) < 8192
    ])
    error_message = "The alerts' titles have at most 512 characters, their texts at most 8 KiB."
  }

  # The hash is that of the whole name. These are the names that only the hash tells apart from those of the next run.
  assert {
    condition = [
      google_service_account.runtime.account_id, google_service_account.build.account_id, google_service_account.scheduler.account_id,
      google_cloudfunctions2_function.rotator.name, google_storage_bucket.source.name,
      ] == [
      "a-very-long-nam-${substr(sha256(var.name), 0, 6)}-runtime", "a-very-long-name-${substr(sha256(var.name), 0, 6)}-build", "a-very-long-n-${substr(sha256(var.name), 0, 6)}-scheduler",
      "a-very-long-name-that-some-naming-conventi-${substr(sha256(var.name), 0, 6)}", "a-project-id-of-thirty-letters-a-very-long-name-t-${substr(sha256(var.name), 0, 6)}-source",
    ]
    error_message = "A long prefix is cut, and a hash of all of it takes the place of the rest."
  }
}

# In a filter of Cloud Logging they begin a comment, except between quotation marks.
run "two_hyphens_in_a_row" {
  command = plan

  variables {
    name = "cache--keys"
  }

  assert {
    condition     = strcontains(output.log_command, " AND resource.labels.service_name=\"cache--keys\" AND ")
    error_message = "The log's command finds the lines of a function with two hyphens in a row in its name."
  }
}

run "two_deployments_in_one_project" {
  command = plan

  module {
    source = "./tests/fixtures/two-deployments"
  }

  variables {
    names = [
      "a-very-long-name-that-some-naming-convention-wants-with-region-stage-team-and-cost-centre-in-it-0001",
      "a-very-long-name-that-some-naming-convention-wants-with-region-stage-team-and-cost-centre-in-it-0002",
    ]
  }

  assert {
    condition     = length(distinct([for deployment in values(output.deployments) : deployment.function_name])) == 2
    error_message = "Each deployment has its own function."
  }

  assert {
    condition     = length(distinct([for deployment in values(output.deployments) : split("/", deployment.source_object)[2]])) == 2
    error_message = "Each deployment has its own bucket."
  }

  assert {
    condition     = length(distinct(flatten([for deployment in values(output.deployments) : [for job in values(deployment.jobs) : job.name]]))) == 4
    error_message = "Each deployment has its own jobs."
  }
}

run "a_prefix_that_continues_another_one" {
  command = plan

  module {
    source = "./tests/fixtures/two-deployments"
  }

  variables {
    names = ["rotator", "rotator-weekly"]
  }

  assert {
    condition     = length(distinct(flatten([for deployment in values(output.deployments) : [for job in values(deployment.jobs) : job.name]]))) == 4
    error_message = "The job of a secret is never named like the common job of another deployment."
  }
}

# The provider would create metrics under the new name and forget those under the old one.
run "a_new_name_leaves_no_metric_behind" {
  command = plan

  variables {
    name = "rotator"
  }

  assert {
    condition     = terraform_data.name.input == "rotator"
    error_message = "Metrics are replaced when the name changes."
  }

  assert {
    condition = alltrue([
      for block in split("\nresource ", file("${path.module}/monitoring.tf")) :
      !startswith(block, "\"google_logging_metric\"") || strcontains(split("\n}\n", block)[0], "replace_triggered_by = [terraform_data.name]")
    ]) && length(regexall("\nresource \"google_logging_metric\"", file("${path.module}/monitoring.tf"))) == 6
    error_message = "A metric is not replaced when the name changes."
  }
}
