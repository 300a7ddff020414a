locals {
  common_secrets = [for id, secret in var.secrets : id if secret.schedule == null]

  # One job for everything on the common schedule (none, if nothing is), and one for each secret with its own.
  jobs = merge(
    length(local.common_secrets) == 0 ? {} : {
      common = {
        name        = local.names.job
        description = "Rotates every secret that has no schedule of its own."
        schedule    = var.schedule
        secrets     = local.common_secrets
      }
    },
    {
      for id, secret in var.secrets : "secret-${id}" => {
        # No prefix has an underscore in it: this is never the name of another deployment's job.
        name        = "${local.names.job}_${id}"
        description = "Rotates ${id}."
        schedule    = secret.schedule
        secrets     = [id]
      } if secret.schedule != null
    },
  )

  # Every job names its secrets: what it rotates can be read from it, and does not change with the function's settings.
  job_bodies = {
    for key, job in local.jobs : key => { secrets = [for id in job.secrets : local.secret_names[id]] }
  }

  now_names = {
    for key, job in local.jobs : key => "${local.names.job}-NOW${trimprefix(job.name, local.names.job)}"
  }

  # Waits of 1, 2, 4, 8 and 16 minutes: an outage of half an hour is bridged by the retries, a longer one by the next run.
  retries = {
    count           = 5
    min_backoff     = 60
    max_backoff     = 960
    max_doublings   = 4
    backoff_seconds = 60 + 120 + 240 + 480 + 960
  }

  # Longer than the function's own timeout, so that its answer is never missed, as long as Cloud Scheduler allows that.
  attempt_deadline_seconds = min(1800, var.timeout_seconds + 30)
}

resource "google_cloud_scheduler_job" "rotation" {
  for_each = local.jobs

  project          = var.project_id
  region           = coalesce(var.scheduler_region, var.region)
  name             = each.value.name
  description      = each.value.description
  schedule         = each.value.schedule
  time_zone        = var.time_zone
  paused           = var.paused
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
    body        = base64encode(jsonencode(local.job_bodies[each.key]))

    oidc_token {
      service_account_email = google_service_account.scheduler.email
      audience              = google_cloudfunctions2_function.rotator.service_config[0].uri
    }
  }

  lifecycle {
    precondition {
      # The longer of the two bodies.
      condition     = length(jsonencode(merge(local.job_bodies[each.key], { force = true }))) <= 16384
      error_message = "The names of the secrets on the common schedule take more than 16 KiB, which the function does not accept in one call. Give some of the secrets a schedule of their own."
    }
  }

  # The first run must not come before the right to make it.
  depends_on = [google_cloud_run_v2_service_iam_member.scheduler]
}

# What a person runs to rotate now, due or not. A job of its own, because `gcloud scheduler jobs run` sends the job's body
# and takes no other, and because a paused job cannot be run. It needs a schedule, so it has the rarest there is; the upper
# case keeps it apart from the jobs of every other deployment. It has no retries, of which each would rotate once more.
resource "google_cloud_scheduler_job" "now" {
  for_each = local.jobs

  project          = var.project_id
  region           = google_cloud_scheduler_job.rotation[each.key].region
  name             = local.now_names[each.key]
  description      = "${each.value.description} At once, due or not: run it by hand."
  schedule         = "0 0 29 2 *"
  time_zone        = var.time_zone
  paused           = false
  attempt_deadline = "${local.attempt_deadline_seconds}s"

  http_target {
    http_method = "POST"
    uri         = google_cloudfunctions2_function.rotator.service_config[0].uri
    headers     = { "Content-Type" = "application/json" }
    body        = base64encode(jsonencode(merge(local.job_bodies[each.key], { force = true })))

    oidc_token {
      service_account_email = google_service_account.scheduler.email
      audience              = google_cloudfunctions2_function.rotator.service_config[0].uri
    }
  }

  depends_on = [google_cloud_run_v2_service_iam_member.scheduler]
}
