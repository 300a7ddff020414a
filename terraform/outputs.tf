locals {
  job_options = "--project=${var.project_id} --location=${coalesce(var.scheduler_region, var.region)}"
  run_commands = {
    for key, job in local.jobs : key => "gcloud scheduler jobs run ${local.now_names[key]} ${local.job_options}"
  }

  # Before each quotation mark `terraform output` shows a backslash, which a shell would hand on to gcloud. Single words need no
  # marks, unless two hyphens in a row would begin a comment.
  log_filter = (
    strcontains(local.names.function, "--")
    ? local.deployment_filter
    : replace(local.deployment_filter, "\"", "")
  )
  log_command = join(" ", [
    "gcloud logging read '${local.log_filter}'",
    "--project=${var.project_id} --freshness=7d --limit=50",
    "--format='table(timestamp.date(), severity, jsonPayload.outcome, jsonPayload.message)'",
  ])
}

output "function_name" {
  description = "The name of the function and of its Cloud Run service."
  value       = google_cloudfunctions2_function.rotator.name
}

output "function_uri" {
  description = "The address of the function. Also the audience for tokens of its callers."
  value       = google_cloudfunctions2_function.rotator.service_config[0].uri
}

output "service_accounts" {
  description = "The e-mail addresses of the accounts: runtime (reads and writes the secrets), build, scheduler (calls the function)."
  value = {
    runtime   = google_service_account.runtime.email
    build     = google_service_account.build.email
    scheduler = google_service_account.scheduler.email
  }
}

output "secret_names" {
  description = "The full names of the rotated secrets, by id."
  value       = local.secret_names

  # The names are known before; but who uses them, to grant something on a secret, has to wait for it.
  depends_on = [google_secret_manager_regional_secret.created, google_secret_manager_secret.created]
}

output "management_key" {
  description = "The full name of the management key's secret; null, if there is none."
  value       = one(local.management_key[*].name)

  depends_on = [google_secret_manager_regional_secret.created, google_secret_manager_secret.created]
}

output "jobs" {
  description = "The scheduled jobs: their names, schedules, and the secrets that each rotates."
  value = {
    for key, job in local.jobs : key => {
      name     = google_cloud_scheduler_job.rotation[key].name
      schedule = job.schedule
      secrets  = [for id in job.secrets : local.secret_names[id]]
    }
  }
}

output "permissions" {
  description = "Every permission that the function asks for, and the role that grants it, on each secret."
  value       = local.permissions
}

output "source_object" {
  description = "The source that is deployed, gs://BUCKET/OBJECT; the object is named by the SHA-256 of the zip."
  value       = "gs://${google_storage_bucket.source.name}/${google_storage_bucket_object.source.name}"
}

output "dashboard" {
  description = "The id of the dashboard; null, if there is none."
  value       = one(google_monitoring_dashboard.rotations[*].id)
}

output "store_credential_commands" {
  description = "The command that stores a credential, for each secret: momento.json is what Momento's console downloads, and is deleted once it is stored. For the first credential, and whenever a key has expired that nothing renews. A secret with a role needs none."
  value = {
    for id, secret in var.secrets : id => join("", [
      "gcloud secrets versions add ${id} --project=${var.project_id}",
      secret.location == null ? "" : " --location=${secret.location}",
      " --data-file=momento.json && rm momento.json",
    ])
  }
}

output "store_management_key_command" {
  description = "The command that stores the management key, in any form in which Momento gives it, from standard input; null, if there is none."
  value = one([
    for key in local.management_key[*] : join("", [
      "gcloud secrets versions add ${basename(key.name)} --project=${split("/", key.name)[1]}",
      try(" --location=${regex("/locations/([^/]+)/", key.name)[0]}", ""),
      " --data-file=-",
    ])
  ])
}

output "run_commands" {
  description = "The command that rotates the secrets of each job now, due or not."
  value       = local.run_commands
}

output "log_command" {
  description = "The command that shows the last runs."
  value       = local.log_command
}
