locals {
  # Single flight works within one process, so a second call must reach the instance that handles the first call. So
  # there is one instance, with room for all jobs, an operator request and a status call. Cloud Run allows 1000 calls at
  # once.
  max_instances = 1
  concurrency   = max(16, min(1000, 2 * length(local.jobs)))

  # Without these limits V8's garbage outgrows the instance: 400 MiB after 1,500 rotations in a row, and 168 MiB with
  # them. 64 MiB are for memory outside V8's heap.
  memory_mib   = tonumber(regex("^[0-9]+", var.function.memory)) * (endswith(var.function.memory, "Gi") ? 1024 : 1)
  node_options = "--max-semi-space-size=4 --max-old-space-size=${local.memory_mib - 64}"

  settings = {
    MANAGEMENT_KEY       = one(local.management_key[*].name)
    RENEW_BEFORE         = local.renew_before
    GRACE_PERIOD         = local.grace_period
    DESTROY_AFTER        = local.destroy_after
    VERIFY               = tostring(var.rotation.verify)
    REVOKE               = var.rotation.revoke ? "true" : null
    MOMENTO_ENDPOINT     = var.momento.endpoint
    MOMENTO_REFRESH_PATH = var.momento.refresh_path
    TIMEOUT              = "${var.function.timeout_seconds}s"
  }

  # Names suffice unless a secret has a role, a lifetime or a payload.
  secret_entries = [
    for key, secret in var.secrets : {
      for field, value in {
        name     = local.secret_names[key]
        role     = secret.role
        lifetime = secret.lifetime
        payload  = secret.payload == "json" ? null : secret.payload
      } : field => value if value != null
    }
  ]
  secrets_setting = (
    alltrue([for entry in local.secret_entries : keys(entry) == ["name"]])
    ? join(",", values(local.secret_names))
    : jsonencode(local.secret_entries)
  )

  is_direct_vpc = var.network.network != null || var.network.subnetwork != null
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
    service_account = "projects/${var.project_id}/serviceAccounts/${local.accounts.build}"
    worker_pool     = var.function.build_worker_pool

    # After a failed build, Terraform's state contains the new object, but the provider reads the variables of the last
    # good build. So the next plan shows another hash, and the next apply builds again.
    environment_variables = { SOURCE_SHA256 = local.source_sha256 }

    source {
      storage_source {
        bucket = google_storage_bucket.source.name
        object = google_storage_bucket_object.source.name
      }
    }
  }

  service_config {
    service_account_email            = local.accounts.runtime
    ingress_settings                 = var.function.ingress
    min_instance_count               = 0
    max_instance_count               = local.max_instances
    max_instance_request_concurrency = local.concurrency
    available_cpu                    = var.function.cpu
    available_memory                 = var.function.memory
    timeout_seconds                  = var.function.timeout_seconds

    vpc_connector = var.network.connector
    vpc_connector_egress_settings = (
      var.network.connector == null ? null : var.network.all_egress ? "ALL_TRAFFIC" : "PRIVATE_RANGES_ONLY"
    )
    direct_vpc_egress = (
      !local.is_direct_vpc ? null : var.network.all_egress ? "VPC_EGRESS_ALL_TRAFFIC" : "VPC_EGRESS_PRIVATE_RANGES_ONLY"
    )

    dynamic "direct_vpc_network_interface" {
      for_each = local.is_direct_vpc ? [var.network] : []

      content {
        network    = direct_vpc_network_interface.value.network
        subnetwork = direct_vpc_network_interface.value.subnetwork
        tags       = direct_vpc_network_interface.value.tags
      }
    }

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

  depends_on = [terraform_data.preconditions, time_sleep.grants]
}
