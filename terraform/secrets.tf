locals {
  unit_seconds = { s = 1, m = 60, h = 3600, d = 86400 }

  # Full names of the rotated secrets. The variables determine them, so a plan shows the function's environment.
  secret_names = {
    for key, secret in var.secrets : key => (
      startswith(key, "projects/")
      ? key
      : join("", [
        "projects/${var.project_id}/",
        secret.location == null ? "" : "locations/${secret.location}/",
        "secrets/${key}",
      ])
    )
  }

  # If management_key.secret is a key of secrets, the management key is in that rotated secret.
  management_key = one([
    for key in var.management_key[*] : merge(key, {
      name = (
        startswith(key.secret, "projects/")
        ? key.secret
        : lookup(local.secret_names, key.secret, "projects/${var.project_id}/secrets/${key.secret}")
      )
    })
  ])
  unrotated_management_key = [
    for key in local.management_key[*] : key
    if !contains(startswith(key.secret, "projects/") ? values(local.secret_names) : keys(var.secrets), key.secret)
  ]

  created_secrets = merge(
    { for key, secret in var.secrets : key => secret if coalesce(secret.create, !startswith(key, "projects/")) },
    {
      for key in local.unrotated_management_key : key.secret => {
        location            = null
        replicas            = {}
        kms_key             = null
        labels              = {}
        topics              = {}
        rotation_period     = null
        version_destroy_ttl = null
        deletion_protection = key.deletion_protection
      } if coalesce(key.create, !startswith(key.secret, "projects/"))
    },
  )
  # Secret Manager accepts durations in seconds only.
  secret_durations = {
    for id, secret in local.created_secrets : id => {
      for kind, duration in { destroy_ttl = secret.version_destroy_ttl, rotation = secret.rotation_period } :
      kind => format("%ds", tonumber(regex("^[0-9]+", duration)) * local.unit_seconds[substr(duration, -1, 1)])
      if duration != null
    }
  }
}

# Terraform creates secrets last and deletes them first, apart from the grants on them. If the provider refuses to
# delete a protected secret, only these grants and unprotected secrets are lost. The price: if Google refuses a job
# or an alert, Terraform creates no secret and no grant on one until that is corrected.
resource "terraform_data" "before_secrets" {
  depends_on = [
    google_cloud_scheduler_job.rotation,
    google_pubsub_subscription.requests,
    google_pubsub_subscription_iam_member.dead_letters,
    google_pubsub_topic_iam_member.dead_letters,
    google_pubsub_topic_iam_member.publishers,
    module.monitoring,
  ]
}

resource "google_secret_manager_secret" "created" {
  for_each = { for id, secret in local.created_secrets : id => secret if secret.location == null }

  project             = var.project_id
  secret_id           = each.key
  labels              = merge(var.labels, each.value.labels)
  version_destroy_ttl = lookup(local.secret_durations[each.key], "destroy_ttl", null)
  deletion_protection = each.value.deletion_protection

  replication {
    dynamic "auto" {
      for_each = length(each.value.replicas) == 0 ? [each.value.kms_key] : []

      content {
        dynamic "customer_managed_encryption" {
          for_each = auto.value[*]

          content {
            kms_key_name = customer_managed_encryption.value
          }
        }
      }
    }

    dynamic "user_managed" {
      for_each = length(each.value.replicas) == 0 ? [] : [each.value.replicas]

      content {
        dynamic "replicas" {
          for_each = user_managed.value

          content {
            location = replicas.key

            dynamic "customer_managed_encryption" {
              for_each = replicas.value.kms_key[*]

              content {
                kms_key_name = customer_managed_encryption.value
              }
            }
          }
        }
      }
    }
  }

  dynamic "rotation" {
    for_each = compact([lookup(local.secret_durations[each.key], "rotation", null)])

    content {
      rotation_period    = rotation.value
      next_rotation_time = timeadd(plantimestamp(), rotation.value)
    }
  }

  dynamic "topics" {
    for_each = local.secret_topics[each.key]

    content {
      name = topics.value
    }
  }

  lifecycle {
    # Secret Manager moves it on with every rotation.
    ignore_changes = [rotation[0].next_rotation_time]
  }

  depends_on = [terraform_data.before_secrets]
}

resource "google_secret_manager_regional_secret" "created" {
  for_each = { for id, secret in local.created_secrets : id => secret if secret.location != null }

  project             = var.project_id
  location            = each.value.location
  secret_id           = each.key
  labels              = merge(var.labels, each.value.labels)
  version_destroy_ttl = lookup(local.secret_durations[each.key], "destroy_ttl", null)
  deletion_protection = each.value.deletion_protection

  dynamic "customer_managed_encryption" {
    for_each = each.value.kms_key[*]

    content {
      kms_key_name = customer_managed_encryption.value
    }
  }

  dynamic "rotation" {
    for_each = compact([lookup(local.secret_durations[each.key], "rotation", null)])

    content {
      rotation_period    = rotation.value
      next_rotation_time = timeadd(plantimestamp(), rotation.value)
    }
  }

  dynamic "topics" {
    for_each = local.secret_topics[each.key]

    content {
      name = topics.value
    }
  }

  lifecycle {
    # Secret Manager moves it on with every rotation.
    ignore_changes = [rotation[0].next_rotation_time]
  }

  depends_on = [terraform_data.before_secrets]
}
