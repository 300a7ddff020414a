# The jobs of Cloud Scheduler: target, schedule, body, account and retries.

mock_provider "google" {
  source          = "./tests/mocks"
  override_during = plan
}

mock_provider "time" {}

variables {
  project_id = "test-project"
}

run "one_call" {
  command = plan

  assert {
    condition = (
      google_cloud_scheduler_job.rotation["common"].http_target[0].http_method == "POST" &&
      google_cloud_scheduler_job.rotation["common"].http_target[0].uri == "https://rotator-abc123-uc.a.run.app"
    )
    error_message = "The job must post to the function's own address."
  }

  assert {
    condition = (
      google_cloud_scheduler_job.rotation["common"].http_target[0].headers ==
      tomap({ "Content-Type" = "application/json" })
    )
    error_message = "The content type must be set, because Cloud Scheduler's default is octet-stream."
  }

  assert {
    condition = (
      google_cloud_scheduler_job.rotation["common"].http_target[0].oidc_token[0].audience ==
      "https://rotator-abc123-uc.a.run.app" &&
      google_cloud_scheduler_job.rotation["common"].http_target[0].oidc_token[0].service_account_email ==
      google_service_account.created["invoker"].email &&
      length(google_cloud_scheduler_job.rotation["common"].http_target[0].oauth_token) == 0
    )
    error_message = "The job must send the invoker's OIDC token for the function."
  }

  assert {
    condition = (
      jsondecode(base64decode(google_cloud_scheduler_job.rotation["common"].http_target[0].body)) ==
      { secrets = ["projects/test-project/secrets/momento-api-key"] }
    )
    error_message = "The body must contain only the full name of the secret."
  }

  assert {
    condition = (
      google_cloud_scheduler_job.rotation["common"].retry_config[0].retry_count == 5 &&
      google_cloud_scheduler_job.rotation["common"].retry_config[0].min_backoff_duration == "60s" &&
      google_cloud_scheduler_job.rotation["common"].retry_config[0].max_backoff_duration == "960s" &&
      google_cloud_scheduler_job.rotation["common"].retry_config[0].max_doublings == 4
    )
    error_message = "Cloud Scheduler must retry a failed call five times, with growing waits."
  }

  assert {
    condition     = google_cloud_scheduler_job.rotation["common"].attempt_deadline == "570s"
    error_message = "Cloud Scheduler must wait longer than the function's timeout."
  }
}

run "common_and_own_schedules" {
  command = plan

  variables {
    region   = "europe-west1"
    schedule = { cron = "30 2 * * *", time_zone = "Europe/Berlin", region = "europe-west3", paused = true }
    secrets = {
      first  = {}
      second = { create = false }
      weekly = { schedule = "0 4 * * MON" }
      far    = { schedule = "0 5 1 * *", location = "europe-west3" }
    }
  }

  assert {
    condition = { for job in values(google_cloud_scheduler_job.rotation) : job.name => job.schedule } == {
      "momento-key-rotator"        = "30 2 * * *"
      "momento-key-rotator_weekly" = "0 4 * * MON"
      "momento-key-rotator_far"    = "0 5 1 * *"
    }
    error_message = "There must be one job for the common schedule, and one for each secret with its own schedule."
  }

  assert {
    condition = {
      for job in values(google_cloud_scheduler_job.rotation) :
      job.name => jsondecode(base64decode(job.http_target[0].body)).secrets
      } == {
      "momento-key-rotator"        = ["projects/test-project/secrets/first", "projects/test-project/secrets/second"]
      "momento-key-rotator_weekly" = ["projects/test-project/secrets/weekly"]
      "momento-key-rotator_far"    = ["projects/test-project/locations/europe-west3/secrets/far"]
    }
    error_message = "Every secret must be in exactly one job."
  }

  assert {
    condition = alltrue([
      for job in values(google_cloud_scheduler_job.rotation) :
      job.paused &&
      job.time_zone == "Europe/Berlin" &&
      job.region == "europe-west3" &&
      job.retry_config[0].retry_count == 5
    ])
    error_message = "Time zone, region, retries and paused must apply to all jobs."
  }
}

run "no_common_job_without_secrets" {
  command = plan

  variables {
    secrets = {
      weekly  = { schedule = "0 4 * * 1" }
      monthly = { schedule = "0 5 1 * *" }
    }
  }

  assert {
    condition     = toset(keys(google_cloud_scheduler_job.rotation)) == toset(["secret-weekly", "secret-monthly"])
    error_message = "If no secret has the common schedule, there must be no common job."
  }
}

run "a_secret_named_like_the_common_job" {
  command = plan

  variables {
    secrets = {
      plain  = {}
      common = { schedule = "0 4 * * 1" }
    }
  }

  assert {
    condition     = length(google_cloud_scheduler_job.rotation) == 2
    error_message = "The job of a secret with the id common must not replace the common job."
  }
}

run "five_hundred_secrets" {
  command = plan

  variables {
    secrets = merge(
      { for n in range(499) : "s${n}" => {} },
      { "projects/other-project/secrets/weekly" = { schedule = "0 4 * * 1" } },
    )
  }

  assert {
    condition = { for job in values(output.jobs) : job.name => length(job.secrets) } == {
      "momento-key-rotator"                              = 100
      "momento-key-rotator-PART2"                        = 100
      "momento-key-rotator-PART3"                        = 100
      "momento-key-rotator-PART4"                        = 100
      "momento-key-rotator-PART5"                        = 99
      "momento-key-rotator_other-project_secrets_weekly" = 1
    }
    error_message = "A job must have at most 100 secrets, and every secret must have a job."
  }
}
