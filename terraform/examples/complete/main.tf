# Several secrets with schedules, locations and keys of their own, an existing secret, rotation events and e-mail
# alerts.

data "google_project" "this" {
  project_id = var.project_id
}

# Secret Manager encrypts with the key, so its service agent needs this grant. The agent must exist first:
# `gcloud beta services identity create --service=secretmanager.googleapis.com --project=PROJECT`.
resource "google_kms_crypto_key_iam_member" "secret_manager" {
  crypto_key_id = var.kms_key
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:${local.secret_manager_agent}"
}

locals {
  secret_manager_agent = "service-${data.google_project.this.number}@gcp-sa-secretmanager.iam.gserviceaccount.com"

  # A reference to the grant, so that no secret is created before Secret Manager can use the key. With depends_on on the
  # module, Terraform would read the function's source only when applying.
  kms_key = google_kms_crypto_key_iam_member.secret_manager.crypto_key_id
}

# The APIs of the resources that this configuration creates itself.
resource "google_project_service" "required" {
  for_each = toset(["monitoring.googleapis.com", "pubsub.googleapis.com"])

  service            = each.value
  disable_on_destroy = false
}

resource "google_monitoring_notification_channel" "oncall" {
  display_name = "Momento key rotation"
  type         = "email"
  labels       = { email_address = var.oncall_email }

  depends_on = [google_project_service.required]
}

# Systems that deploy again after a rotation subscribe to this topic.
resource "google_pubsub_topic" "new_keys" {
  name = "new-keys"

  depends_on = [google_project_service.required]
}

resource "google_pubsub_topic" "failed_requests" {
  name = "failed-rotation-requests"

  depends_on = [google_project_service.required]
}

module "momento_key_rotator" {
  source = "../.." # elsewhere: "git::https://HOST/REPOSITORY.git//terraform?ref=TAG"

  project_id = var.project_id
  region     = var.region
  name       = "cache-keys"
  labels     = { team = "platform", env = "prod" }

  secrets = {
    # Replicated by Google, and rotated by Secret Manager's own schedule as well as by the daily job.
    momento-api-key = { rotation_period = "30d" }

    # Replicated to two regions, one with a KMS key and one with Google's key. Destroyed versions can be restored for a
    # week.
    momento-api-key-orders = {
      replicas = {
        (var.region)   = { kms_key = local.kms_key }
        "europe-west4" = {}
      }
      version_destroy_ttl = "7d"
      labels              = { team = "orders" }
      topics              = { new_keys = google_pubsub_topic.new_keys.id }
    }

    # A regional secret: payload and requests stay in the region. Its job runs on Mondays, so alerts wait for eight
    # days.
    momento-api-key-billing = {
      location         = var.region
      kms_key          = local.kms_key
      schedule         = "5 4 * * MON"
      no_rotation_days = 8
    }

    # An existing secret of this project, and one of another project.
    momento-api-key-legacy                         = { create = false }
    "projects/${var.shop_project}/secrets/momento" = {}

    # Minted keys, for applications that want the bare key.
    momento-api-key-batch = { role = var.batch_role, lifetime = "60d", payload = "key" }

    # The management key renews itself and keeps its role.
    momento-management-key = { lifetime = "180d" }
  }

  management_key = { secret = "momento-management-key" }

  # Applications have a day to read the new key. Then the old key is revoked.
  rotation = {
    renew_before  = "14d"
    grace_period  = "24h"
    destroy_after = "30d"
    revoke        = true
  }

  schedule          = { cron = "17 3 * * *", time_zone = "Europe/Berlin" }
  publishers        = { oncall = "group:${var.oncall_email}" }
  dead_letter_topic = { id = google_pubsub_topic.failed_requests.id }

  monitoring = {
    notification_channels = [google_monitoring_notification_channel.oncall.name]
    expiry_days           = 10
  }
}
