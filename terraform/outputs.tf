locals {
  publish_command = "gcloud pubsub topics publish ${basename(local.requests_topic)} --project=${var.project_id}"
  request_commands = {
    for kind, request in { rotate = { force = true }, status = { status = true }, dry_run = { dryRun = true } } :
    kind => "${local.publish_command} --message='${jsonencode(request)}'"
  }
  compromised_commands = {
    for key, name in local.secret_names : key => join("", [
      "${local.publish_command} --message='",
      jsonencode({ secrets = [name], compromised = true, reason = "REASON" }), "'",
    ])
  }

  log_filter = join(" AND ", [
    "resource.type=\"cloud_run_revision\"",
    "resource.labels.service_name=\"${local.names.function}\"",
    "resource.labels.location=\"${var.region}\"",
    "jsonPayload.event:*",
  ])
  watch_command = join(" ", [
    "gcloud logging read '${local.log_filter}'",
    "--project=${var.project_id} --freshness=1d --limit=50",
    "--format='table(timestamp.date(), severity, jsonPayload.trigger, jsonPayload.outcome, jsonPayload.message)'",
  ])

  store_options = {
    for name in toset(concat(values(local.secret_names), local.management_key[*].name)) : name => join("", [
      "${basename(name)} --project=${split("/", name)[1]}",
      try(" --location=${regex("/locations/([^/]+)/", name)[0]}", ""),
    ])
  }
}

output "rotate_command" {
  description = "Rotates all secrets now, due or not."
  value       = local.request_commands.rotate
}

output "status_command" {
  description = "Writes each secret's state to the log."
  value       = local.request_commands.status
}

output "dry_run_command" {
  description = "Logs the actions that a run would take."
  value       = local.request_commands.dry_run
}

output "compromised_command" {
  description = "By secret: replaces a leaked key and revokes it. Replace REASON."
  value       = local.compromised_commands
}

output "watch_command" {
  description = "Shows the newest lines of the log."
  value       = local.watch_command
}

output "store_credential_commands" {
  description = "By secret: stores the credential momento.json, and deletes the file."
  value = {
    for key, name in local.secret_names : key => join("", [
      "gcloud secrets versions add ${local.store_options[name]}", " --data-file=momento.json && rm momento.json",
    ])
  }
}

output "store_management_key_command" {
  description = "Stores the management key from standard input. null without one."
  value = one([
    for key in local.management_key[*] : "gcloud secrets versions add ${local.store_options[key.name]} --data-file=-"
  ])
}

output "secret_names" {
  description = "Full names of the rotated secrets, by the keys of secrets."
  value       = local.secret_names

  # A grant that uses this output must wait until the secret exists.
  depends_on = [google_secret_manager_regional_secret.created, google_secret_manager_secret.created]
}

output "management_key" {
  description = "Full name of the management key's secret. null without one."
  value       = one(local.management_key[*].name)

  depends_on = [google_secret_manager_regional_secret.created, google_secret_manager_secret.created]
}

output "function_name" {
  description = "Name of the function and of its Cloud Run service."
  value       = google_cloudfunctions2_function.rotator.name

  depends_on = [google_cloud_run_v2_service_iam_member.invoker]
}

output "function_uri" {
  description = "Address of the function, and the audience of its callers' tokens."
  value       = google_cloudfunctions2_function.rotator.service_config[0].uri

  depends_on = [google_cloud_run_v2_service_iam_member.invoker]
}

output "requests_topic" {
  description = "Full name of the topic for operator requests."
  value       = local.requests_topic

  # Pub/Sub drops a message that is published before the subscription exists.
  depends_on = [google_pubsub_subscription.requests, google_pubsub_topic_iam_member.publishers]
}

output "service_accounts" {
  description = "E-mail addresses of the accounts runtime, build and invoker."
  value       = local.accounts
}

output "jobs" {
  description = "The scheduled jobs: name, schedule and secrets."
  value = {
    for key, job in local.jobs : key => {
      name     = google_cloud_scheduler_job.rotation[key].name
      schedule = job.schedule
      secrets  = [for secret in job.secrets : local.secret_names[secret]]
    }
  }
}

output "source_object" {
  description = "The deployed source, gs://BUCKET/OBJECT. Its name contains the zip's SHA-256."
  value       = "gs://${google_storage_bucket.source.name}/${google_storage_bucket_object.source.name}"
}

output "dashboard" {
  description = "Id of the dashboard. null without one."
  value       = one(module.monitoring[*].dashboard)
}

output "metrics" {
  description = "Types of the log-based metrics, for alerts of your own. null without monitoring."
  value       = one(module.monitoring[*].metrics)
}
