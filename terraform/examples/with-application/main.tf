# The rotator, and a service on Cloud Run that follows its key: examples/application of this repository, or your own.

locals {
  secret = "momento-api-key"
}

module "momento_key_rotator" {
  source = "../.." # elsewhere: "git::https://HOST/REPOSITORY.git//terraform?ref=v1.0.0"

  project_id = var.project_id
  region     = var.region

  management_key = {}
  rotation       = { revoke = true }
  momento        = { endpoint = var.momento_endpoint }

  secrets = {
    (local.secret) = { role = var.role, lifetime = "30d" }
  }
}

# ---- the application ----

resource "google_service_account" "application" {
  project      = var.project_id
  account_id   = "cache-application"
  display_name = "The application that uses the cache"

  # Which enables the API that makes accounts, and waits until it can be used.
  depends_on = [module.momento_key_rotator]
}

# It reads exactly this secret: not the management key, and not what another application uses.
resource "google_secret_manager_secret_iam_member" "application" {
  project   = var.project_id
  secret_id = module.momento_key_rotator.secret_names[local.secret]
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.application.member
}

# The application reads the secret itself, by Secret Manager's API. So it takes a new key into use within REREAD_EVERY,
# or at once when Momento rejects the old one; it connects with it before it lets the old one go; and where a version
# holds a key that does not work, it keeps the one that does.
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
# Each read of the file then gets the newest version, and the application needs no client for Secret Manager. What that
# costs: no event tells that the file has changed, so the application still has to read it again and to make a new
# Momento client, as examples/application does; `latest` may lag after a rotation, and a file cannot be asked for a
# version by its number; and no revision can be deployed before the first key is there. A secret in an environment
# variable is no alternative at all: it stays what it was when the instance started.
resource "google_cloud_run_v2_service" "application" {
  project  = var.project_id
  location = var.region
  name     = "cache-application"

  # It keeps nothing that could be lost.
  deletion_protection = false

  template {
    service_account = google_service_account.application.email

    # No probe asks GET /healthz, which says 503 until there is a key: the first revision, which is deployed before the
    # first key is minted, would fail. Cloud Run waits until the port is open, which the application needs no key for.
    # With a key in place, a startup probe keeps revisions away that cannot use it; a liveness probe would only restart
    # instances, and a restart gives them the same key.
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

      # Much shorter than the grace period, after which the old key ends.
      env {
        name  = "REREAD_EVERY"
        value = "5m"
      }

      # A v2 key does not say where its cache is.
      env {
        name  = "MOMENTO_ENDPOINT"
        value = var.momento_endpoint
      }

      # Cloud Run hands this to the application as PORT, which may not be set here.
      ports {
        container_port = 8080
      }
    }
  }

  depends_on = [google_secret_manager_secret_iam_member.application]
}
