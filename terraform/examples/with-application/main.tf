# The rotator, and a Cloud Run service that reads the newest key: examples/application of this repository, or your own.

locals {
  secret = "momento-api-key"
}

module "momento_key_rotator" {
  source = "../.." # elsewhere: "git::https://HOST/REPOSITORY.git//terraform?ref=TAG"

  project_id = var.project_id
  region     = var.region

  management_key = {}
  rotation       = { revoke = true }
  momento        = { endpoint = var.momento_endpoint }

  secrets = {
    (local.secret) = { role = var.role, lifetime = "30d" }

    # The management key renews itself, and the alerts watch its expiry.
    momento-management-key = { lifetime = "90d" }
  }
}

# ---- the application ----

resource "google_service_account" "application" {
  project      = var.project_id
  account_id   = "cache-application"
  display_name = "The application that uses the cache"

  # The module enables IAM's API and waits until it can be used.
  depends_on = [module.momento_key_rotator]
}

# The application can read this secret only. It can't read the management key or another application's secret.
resource "google_secret_manager_secret_iam_member" "application" {
  project   = var.project_id
  secret_id = module.momento_key_rotator.secret_names[local.secret]
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.application.member
}

# The application reads the secret through Secret Manager's API. So it uses a new key within REREAD_EVERY, or at once
# when Momento rejects the old one. It connects with the new key before it closes the old client. If a version contains
# no working key, it keeps the old one.
#
# The alternative is a volume that Cloud Run mounts, with `version = "latest"`:
#
#   volumes {
#     name = "momento"
#     secret {
#       secret = local.secret
#       items {
#         version = "latest"
#         path    = "api-key"
#       }
#     }
#   }
#
# Each read of the file gets the newest version, and the application needs no client for Secret Manager. But no event
# reports a changed file, so the application must still read it again and create a new Momento client. `latest` can lag
# after a rotation, and a file has no version number. No revision can be deployed before the first key exists. A secret
# in an environment variable is unsuitable, because its value stays the same until the instance ends.
resource "google_cloud_run_v2_service" "application" {
  project  = var.project_id
  location = var.region
  name     = "cache-application"

  # Terraform can delete the service, because it has no data of its own.
  deletion_protection = false

  template {
    service_account = google_service_account.application.email

    # There is no probe of GET /healthz, which returns 503 until a key exists. With one, the first revision would fail,
    # because it is deployed before the first key is minted. Cloud Run waits until the port is open. Once a key exists,
    # a startup probe keeps out revisions that can't use it. A liveness probe would only restart instances with the same
    # key.
    containers {
      image = var.image

      env {
        name  = "SECRET"
        value = module.momento_key_rotator.secret_names[local.secret]
      }

      env {
        name  = "CACHE"
        value = var.cache
      }

      # Much shorter than the grace period, after which the old key is revoked.
      env {
        name  = "REREAD_EVERY"
        value = "5m"
      }

      # A v2 key doesn't contain the endpoint of its cache.
      env {
        name  = "MOMENTO_ENDPOINT"
        value = var.momento_endpoint
      }

      # Cloud Run sets PORT to this number, and refuses an env block for PORT.
      ports {
        container_port = 8080
      }
    }
  }

  depends_on = [google_secret_manager_secret_iam_member.application]
}
