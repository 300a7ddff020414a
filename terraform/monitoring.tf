module "monitoring" {
  source = "./modules/monitoring"
  count  = var.monitoring.enabled ? 1 : 0

  project_id    = var.project_id
  region        = var.region
  name          = var.name
  labels        = var.labels
  function_name = local.names.function
  settings      = var.monitoring
  every_run     = local.every_run

  secrets = {
    for key, name in local.secret_names :
    key => { name = name, expiry_days = local.expiry_days[key], no_rotation_days = local.no_rotation_days[key] }
  }

  scheduler = {
    region              = local.scheduler_region
    calls               = local.retries.count + 1
    longest_run_seconds = (local.retries.count + 1) * local.attempt_deadline_seconds + local.retries.backoff_seconds
  }

  commands = {
    rotate        = local.request_commands.rotate
    watch         = local.watch_command
    describe_jobs = "gcloud scheduler jobs list --project=${var.project_id} --location=${local.scheduler_region}"
    store = (
      var.management_key == null ? "the first credential" : "the management key"
    )
  }

  depends_on = [time_sleep.apis]
}
