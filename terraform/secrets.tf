locals {
  # The names that the function and the jobs get. Built from the variables, not from the resources, so that a plan shows
  # them and the order of the secrets never depends on what exists already.
  secret_names = {
    for id, secret in var.secrets : id => (
      secret.location == null
      ? "projects/${var.project_id}/secrets/${id}"
      : "projects/${var.project_id}/locations/${secret.location}/secrets/${id}"
    )
  }

  # The management key's secret: an id may be that of a rotated one, which then says where it is.
  management_key = one([
    for key in var.management_key[*] : merge(key, {
      name = (
        startswith(key.secret, "projects/")
        ? key.secret
        : lookup(local.secret_names, key.secret, "projects/${var.project_id}/secrets/${key.secret}")
      )
    })
  ])
  # It, unless it is rotated as well: then everything is done for it that is done for the others.
  only_management_key = [for key in local.management_key[*] : key if !contains(values(local.secret_names), key.name)]

  created_secrets = merge(
    { for id, secret in var.secrets : id => secret if secret.create },
    {
      for key in local.only_management_key : key.secret => {
        location            = null
        replicas            = {}
        kms_key             = null
        labels              = {}
        topics              = []
        version_destroy_ttl = null
        deletion_protection = key.deletion_protection
      } if coalesce(key.create, !startswith(key.secret, "projects/"))
    },
  )
  created_names = {
    for id, secret in local.created_secrets : id => lookup(local.secret_names, id, "projects/${var.project_id}/secrets/${id}")
  }

  # Secret Manager takes seconds only.
  version_destroy_ttls = {
    for id, secret in local.created_secrets : id => secret.version_destroy_ttl == null ? null : format("%ds",
      tonumber(regex("^[0-9]+", secret.version_destroy_ttl)) * local.unit_seconds[substr(secret.version_destroy_ttl, -1, 1)]
    )
  }
}

resource "google_secret_manager_secret" "created" {
  for_each = { for id, secret in local.created_secrets : id => secret if secret.location == null }

  project             = var.project_id
  secret_id           = each.key
  labels              = merge(var.labels, each.value.labels)
  version_destroy_ttl = local.version_destroy_ttls[each.key]
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

  dynamic "topics" {
    for_each = each.value.topics

    content {
      name = topics.value
    }
  }

  depends_on = [time_sleep.apis, time_sleep.topic_grants]
}

resource "google_secret_manager_regional_secret" "created" {
  for_each = { for id, secret in local.created_secrets : id => secret if secret.location != null }

  project             = var.project_id
  location            = each.value.location
  secret_id           = each.key
  labels              = merge(var.labels, each.value.labels)
  version_destroy_ttl = local.version_destroy_ttls[each.key]
  deletion_protection = each.value.deletion_protection

  dynamic "customer_managed_encryption" {
    for_each = each.value.kms_key[*]

    content {
      kms_key_name = customer_managed_encryption.value
    }
  }

  dynamic "topics" {
    for_each = each.value.topics

    content {
      name = topics.value
    }
  }

  depends_on = [time_sleep.apis, time_sleep.topic_grants]
}

# The first credential, or the management key, for the one apply that is given it. From then on the versions belong to the function: Terraform
# must neither enable again what the function disabled (`enabled` is ignored) nor destroy anything when this resource
# leaves the configuration (it is abandoned). It is meant to leave with the next apply: were it to stay until the
# function has destroyed the version, Terraform would find it gone and add the old credential again.
resource "google_secret_manager_secret_version" "initial" {
  for_each = var.initial_credential_for

  secret                 = google_secret_manager_secret.created[each.key].id
  secret_data_wo         = var.initial_credentials[each.key]
  secret_data_wo_version = "1"
  deletion_policy        = "ABANDON"

  lifecycle {
    ignore_changes = [enabled]
  }
}
