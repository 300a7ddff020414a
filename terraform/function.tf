locals {
  repository = "${path.module}/.."

  # What `npm ci && npm run gcp-build` needs, and nothing else: a list of what goes in stays right when files are added
  # to the repository, a list of what stays out does not.
  source_patterns = [
    ".npmrc",
    "package-lock.json",
    "package.json",
    "build/*",
    "emulators/*.ts",
    "src/**/*.ts",
    "tsconfig.json",
  ]
  source_files = sort(flatten([for pattern in local.source_patterns : tolist(fileset(local.repository, pattern))]))

  # Single flight works within one process, so a second call must find the instance that is busy with the first one. One
  # instance with room for every job at once, a person's call and a look at the status (GET) is what makes that so; at a
  # concurrency of 1 the second call would wait or be turned away with 429.
  max_instances = 1
  concurrency   = max(16, 2 * length(local.jobs))

  memory_mib = tonumber(regex("^[0-9]+", var.memory)) * (endswith(var.memory, "Gi") ? 1024 : 1)

  # Left to itself V8 lets garbage grow past what the instance has: measured with 1,500 rotations in a row, 400 MiB
  # without these limits and 168 MiB with them. 64 MiB are for what is not V8's heap.
  node_options = "--max-semi-space-size=4 --max-old-space-size=${local.memory_mib - 64}"

  settings = {
    MANAGEMENT_KEY       = one(local.management_key[*].name)
    RENEW_BEFORE         = local.renew_before
    GRACE_PERIOD         = local.grace_period
    DESTROY_AFTER        = var.destroy_after
    VERIFY               = tostring(var.verify)
    REVOKE               = var.revoke ? "true" : null
    MOMENTO_ENDPOINT     = var.momento_endpoint
    MOMENTO_REFRESH_PATH = var.momento_refresh_path
    TIMEOUT              = "${var.timeout_seconds}s"
  }

  # Names are enough where nothing more is said of any secret.
  secret_entries = [
    for id, secret in var.secrets : {
      for key, value in {
        name     = local.secret_names[id]
        role     = secret.role
        lifetime = secret.lifetime
        payload  = secret.payload == "json" ? null : secret.payload
      } : key => value if value != null
    }
  ]
  secrets_setting = (
    alltrue([for entry in local.secret_entries : keys(entry) == ["name"]])
    ? join(",", values(local.secret_names))
    : jsonencode(local.secret_entries)
  )
}

data "archive_file" "source" {
  type             = "zip"
  output_path      = "${path.root}/.terraform/${local.names.bucket}.zip"
  output_file_mode = "0644"

  dynamic "source" {
    for_each = toset(local.source_files)

    content {
      filename = source.value
      content  = file("${local.repository}/${source.value}")
    }
  }

  lifecycle {
    precondition {
      condition = alltrue([
        for file in ["package.json", "package-lock.json", "build/build.mjs", "src/index.ts"] :
        fileexists("${local.repository}/${file}")
      ])
      error_message = "The function's source is missing. This module builds it from the repository that it lies in: use the whole repository (as a module: source = \"git::https://HOST/REPOSITORY.git//terraform?ref=TAG\"), not a copy of the terraform folder alone."
    }
  }
}

resource "google_storage_bucket" "source" {
  project                     = var.project_id
  name                        = local.names.bucket
  location                    = var.region
  labels                      = var.labels
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  # Holds nothing that cannot be made again from this repository.
  force_destroy = true

  depends_on = [time_sleep.apis]
}

resource "google_storage_bucket_object" "source" {
  bucket = google_storage_bucket.source.name
  # Named by its content: a changed source is a new object, and a new object redeploys the function.
  name         = "source-${data.archive_file.source.output_sha256}.zip"
  source       = data.archive_file.source.output_path
  content_type = "application/zip"

  lifecycle {
    # The function must never point to an object that is gone.
    create_before_destroy = true
  }
}

# A grant takes two minutes or so to arrive everywhere. A build that starts earlier fails, and with it the first apply.
# This waits once, and again only when something new is granted to the build.
resource "time_sleep" "grants" {
  create_duration = "180s"

  triggers = merge(
    { for role, grant in google_project_iam_member.build : role => grant.id },
    {
      source      = google_storage_bucket_iam_member.build_source.id
      source_copy = google_project_iam_member.build_source_copy.id
    },
  )
}

resource "google_cloudfunctions2_function" "rotator" {
  project     = var.project_id
  location    = var.region
  name        = local.names.function
  description = "Rotates Momento API keys in Secret Manager."
  labels      = var.labels

  build_config {
    runtime         = "nodejs24"
    entry_point     = "rotate"
    service_account = google_service_account.build.name
    worker_pool     = var.build_worker_pool

    # Not for the build: after one that failed, Terraform takes the new object for deployed and would never try again. The
    # build's variables it reads from Google, where those of the last good build are, so it sees that this one is missing.
    environment_variables = { SOURCE_SHA256 = data.archive_file.source.output_sha256 }

    source {
      storage_source {
        bucket = google_storage_bucket.source.name
        object = google_storage_bucket_object.source.name
      }
    }
  }

  service_config {
    service_account_email            = google_service_account.runtime.email
    ingress_settings                 = var.ingress
    min_instance_count               = 0
    max_instance_count               = local.max_instances
    max_instance_request_concurrency = local.concurrency
    available_cpu                    = var.cpu
    available_memory                 = var.memory
    timeout_seconds                  = var.timeout_seconds
    vpc_connector                    = var.vpc_connector
    vpc_connector_egress_settings    = var.vpc_connector == null ? null : var.vpc_egress

    environment_variables = merge(
      {
        NODE_ENV             = "production"
        NODE_OPTIONS         = local.node_options
        LOG_EXECUTION_ID     = "true"
        GOOGLE_CLOUD_PROJECT = var.project_id
        SECRETS              = local.secrets_setting
      },
      { for name, value in local.settings : name => value if value != null },
    )
  }

  lifecycle {
    precondition {
      condition     = var.renew_before == null || alltrue([for id, left in local.left_when_due : left < local.seconds[var.secrets[id].lifetime]])
      error_message = "Each lifetime must be longer than renew_before (${coalesce(var.renew_before, "-")}). Otherwise a key is due as soon as it is minted, and every run rotates it. Shorten renew_before or make it a share, such as \"50%\". If every run must rotate, set it to null."
    }

    precondition {
      condition = alltrue([
        for id, left in local.left_when_due : left > (var.renew_before == null ? 0 : local.run_gaps[id])
      ])
      error_message = "A key must not expire before a run comes that renews it: what is left of its lifetime when its renewal is due (renew_before) must be longer than the time between two runs, better several times as long. Not so for: ${join(", ", [
        for id, left in local.left_when_due : "${id} (lifetime ${var.secrets[id].lifetime}, schedule ${coalesce(var.secrets[id].schedule, var.schedule)})"
        if left <= (var.renew_before == null ? 0 : local.run_gaps[id])
      ])}."
    }

    precondition {
      condition = alltrue([for id, left in local.left_when_due : local.seconds[local.grace_period] <= left])
      error_message = "A superseded key must outlive its grace period (${local.grace_period}), in which readers may go on with it. Not so for: ${join(", ", [
        for id, left in local.left_when_due : "${id} (lifetime ${var.secrets[id].lifetime}, of which ${floor(left / 3600)} hours are left when it is renewed)"
        if local.seconds[local.grace_period] > left
      ])}. Shorten grace_period, lengthen lifetime, or let renew_before begin earlier."
    }
  }

  # A function that runs before it may read its secrets fails, and says so to whoever is on call.
  depends_on = [
    google_secret_manager_regional_secret_iam_member.runtime,
    google_secret_manager_secret_iam_member.runtime,
    time_sleep.grants,
  ]
}
