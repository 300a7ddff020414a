locals {
  # A job names at most 100 secrets, because the function accepts 16 KiB over HTTP.
  common_secrets = chunklist([for key, secret in var.secrets : key if secret.schedule == null], 100)

  jobs = merge(
    {
      for index, keys in local.common_secrets : index == 0 ? "common" : "common-${index + 1}" => {
        # No prefix has upper case letters, so no other deployment's job has this name.
        name        = index == 0 ? var.name : "${var.name}-PART${index + 1}"
        description = "Rotates the secrets on the common schedule."
        schedule    = var.schedule.cron
        secrets     = keys
      }
    },
    {
      for key, secret in var.secrets : "secret-${key}" => {
        # No prefix has an underscore, so no other deployment's job has this name.
        name        = "${var.name}_${replace(trimprefix(key, "projects/"), "/", "_")}"
        description = "Rotates ${key}."
        schedule    = secret.schedule
        secrets     = [key]
      } if secret.schedule != null
    },
  )

  # Every job names its secrets, so it doesn't change with the function's settings.
  job_bodies = {
    for key, job in local.jobs :
    key => jsonencode({ secrets = [for secret in job.secrets : local.secret_names[secret]] })
  }

  scheduler_region = coalesce(var.schedule.region, var.region)

  # The waits are 1, 2, 4, 8 and 16 minutes. Retries survive an outage of half an hour. After a longer outage, the next
  # scheduled run rotates.
  retries = {
    count           = 5
    min_backoff     = 60
    max_backoff     = 960
    max_doublings   = 4
    backoff_seconds = 60 + 120 + 240 + 480 + 960
  }

  # Longer than the function's own timeout, so that Cloud Scheduler gets its answer.
  attempt_deadline_seconds = var.function.timeout_seconds + 30
}

resource "google_cloud_scheduler_job" "rotation" {
  for_each = local.jobs

  project          = var.project_id
  region           = local.scheduler_region
  name             = each.value.name
  description      = each.value.description
  schedule         = each.value.schedule
  time_zone        = var.schedule.time_zone
  paused           = var.schedule.paused
  attempt_deadline = "${local.attempt_deadline_seconds}s"

  retry_config {
    retry_count          = local.retries.count
    min_backoff_duration = "${local.retries.min_backoff}s"
    max_backoff_duration = "${local.retries.max_backoff}s"
    max_doublings        = local.retries.max_doublings
  }

  http_target {
    http_method = "POST"
    uri         = google_cloudfunctions2_function.rotator.service_config[0].uri
    headers     = { "Content-Type" = "application/json" }
    body        = base64encode(local.job_bodies[each.key])

    oidc_token {
      service_account_email = local.accounts.invoker
      audience              = google_cloudfunctions2_function.rotator.service_config[0].uri
    }
  }

  lifecycle {
    precondition {
      condition     = length(local.job_bodies[each.key]) <= 16384
      error_message = "The names of the secrets of one job exceed 16 KiB. Give some secrets a schedule of their own."
    }
  }

  depends_on = [google_cloud_run_v2_service_iam_member.invoker]
}
