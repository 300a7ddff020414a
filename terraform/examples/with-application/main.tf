# The rotator and a service on Cloud Run that follows its key: examples/application of this repository, or your own.

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

  # The module enables the API for service accounts, and waits until it can be used.
  depends_on = [module.momento_key_rotator]
}

# The application reads this secret only, and not the management key.
resource "google_secret_manager_secret_iam_member" "application" {
  project   = var.project_id
  secret_id = module.momento_key_rotator.secret_names[local.secret]
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.application.member
}

# The application reads the secret through Secret Manager's API. It uses a new key within REREAD_EVERY, or at once when
# Momento rejects the old one. docs/applications.md has the alternatives: a volume, or an environment variable with a restart.
resource "google_cloud_run_v2_service" "application" {
  project  = var.project_id
  location = var.region
  name     = "cache-application"

  # The service stores nothing.
  deletion_protection = false

  template {
    service_account = google_service_account.application.email

    # No probe uses GET /healthz. It returns 503 until there is a key, and the first revision is deployed before the first
    # key is minted. Later a startup probe keeps revisions away that can't use the key. A liveness probe would only restart
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

      # Much shorter than the grace period.
      env {
        name  = "REREAD_EVERY"
        value = "5m"
      }

      # A v2 key contains no endpoint.
      env {
        name  = "MOMENTO_ENDPOINT"
        value = var.momento_endpoint
      }

      # Cloud Run sets PORT to this value.
      ports {
        container_port = 8080
      }
    }
  }

  depends_on = [google_secret_manager_secret_iam_member.application]
}
