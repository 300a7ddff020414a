# Names stay within Google's limits even if the prefix is long, and differ between two deployments.

mock_provider "google" {
  source = "./tests/mocks"
}

mock_provider "time" {}

variables {
  project_id = "a-project-id-of-thirty-letters"
}

run "short_prefix" {
  command = plan

  variables {
    name = "rotator"
  }

  assert {
    condition = {
      function = google_cloudfunctions2_function.rotator.name
      runtime  = google_service_account.created["runtime"].account_id
      build    = google_service_account.created["build"].account_id
      invoker  = google_service_account.created["invoker"].account_id
      bucket   = google_storage_bucket.source.name
      job      = google_cloud_scheduler_job.rotation["common"].name
      topic    = google_pubsub_topic.requests.name
      } == {
      function = "rotator"
      runtime  = "rotator-runtime"
      build    = "rotator-build"
      invoker  = "rotator-invoker"
      bucket   = "a-project-id-of-thirty-letters-rotator-source"
      job      = "rotator"
      topic    = "rotator-requests"
    }
    error_message = "Names must contain a short prefix unchanged."
  }
}

run "one_letter_is_enough" {
  command = plan

  variables {
    name = "r"
  }

  assert {
    condition = (
      google_service_account.created["build"].account_id == "r-build" &&
      google_cloudfunctions2_function.rotator.name == "r"
    )
    error_message = "A prefix of one letter must be enough."
  }
}

run "eighty_characters" {
  command = plan

  variables {
    name    = "a-very-long-name-that-some-naming-convention-wants-with-region-stage-and-team-01"
    secrets = { plain = {}, (join("", [for n in range(255) : "x"])) = { schedule = "0 4 * * 1" } }
  }

  assert {
    condition = alltrue([
      for account in values(google_service_account.created) :
      can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", account.account_id))
      ]) && length(distinct(values(google_service_account.created)[*].account_id)) == 3 && alltrue([
      for account in values(google_service_account.created) :
      strcontains(account.account_id, substr(sha256(var.name), 0, 6))
    ])
    error_message = "An account's id must have at most 30 characters, and the hash of the whole prefix."
  }

  assert {
    condition = (
      can(regex("^a-very[a-z0-9-]{0,43}$", google_cloudfunctions2_function.rotator.name)) &&
      endswith(google_cloudfunctions2_function.rotator.name, "-${substr(sha256(var.name), 0, 6)}") &&
      can(regex("^a-project-id-of-thirty-letters-[a-z0-9-]{0,31}-source$", google_storage_bucket.source.name)) &&
      strcontains(google_storage_bucket.source.name, substr(sha256(var.name), 0, 6))
    )
    error_message = "The names of function and bucket must fit the limits, and contain the hash of the whole prefix."
  }

  assert {
    condition = alltrue([
      for job in values(google_cloud_scheduler_job.rotation) : can(regex("^[A-Za-z0-9_-]{1,500}$", job.name))
    ])
    error_message = "A job's name must have at most 500 characters."
  }
}

# In a filter of Cloud Logging, two hyphens begin a comment, except between quotation marks.
run "two_hyphens_in_a_row" {
  command = plan

  variables {
    name = "cache--keys"
  }

  assert {
    condition     = strcontains(output.watch_command, " AND resource.labels.service_name=\"cache--keys\" AND ")
    error_message = "The command must find the lines of a function with two hyphens in a row in its name."
  }
}

run "two_deployments_in_one_project" {
  command = plan

  module {
    source = "./tests/fixtures/two-deployments"
  }

  variables {
    names = [
      "a-very-long-name-that-some-naming-convention-wants-with-region-stage-and-team-01",
      "a-very-long-name-that-some-naming-convention-wants-with-region-stage-and-team-02",
    ]
  }

  assert {
    condition     = length(distinct([for deployment in values(output.deployments) : deployment.function_name])) == 2
    error_message = "Each deployment must have its own function."
  }

  assert {
    condition = (
      length(distinct([for deployment in values(output.deployments) : split("/", deployment.source_object)[2]])) == 2
    )
    error_message = "Each deployment must have its own bucket."
  }

  assert {
    condition = (
      length(
        distinct(
          flatten([for deployment in values(output.deployments) : [for job in values(deployment.jobs) : job.name]])
        )
      ) == 4
    )
    error_message = "Each deployment must have its own jobs."
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
    condition = (
      length(
        distinct(
          flatten([for deployment in values(output.deployments) : [for job in values(deployment.jobs) : job.name]])
        )
      ) == 4
    )
    error_message = "The job of a secret must not have the name of another deployment's common job."
  }
}
