# Several secrets, each in its own way: schedules, places, keys, and one that is there already.

data "google_project" "this" {
  project_id = var.project_id
}

# Secret Manager itself encrypts with the key, so its service agent needs it. The agent must exist before it can be
# granted anything: `gcloud beta services identity create --service=secretmanager.googleapis.com --project=PROJECT`.
resource "google_kms_crypto_key_iam_member" "secret_manager" {
  crypto_key_id = var.kms_key
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-secretmanager.iam.gserviceaccount.com"
}

locals {
  # The key by way of the grant: no secret is created before Secret Manager may use it. (A depends_on on the whole module
  # would do that too, but makes Terraform read the function's source as late as the apply.)
  kms_key = google_kms_crypto_key_iam_member.secret_manager.crypto_key_id
}

resource "google_monitoring_notification_channel" "oncall" {
  display_name = "Momento key rotation"
  type         = "email"
  labels       = { email_address = var.oncall_email }
}

# Who deploys again when a key changes, instead of reading it in time, subscribes to this.
resource "google_project_service" "pubsub" {
  service            = "pubsub.googleapis.com"
  disable_on_destroy = false
}

resource "google_pubsub_topic" "new_keys" {
  name = "new-keys"

  depends_on = [google_project_service.pubsub]
}

module "momento_key_rotator" {
  source = "../.." # elsewhere: "git::https://HOST/REPOSITORY.git//terraform?ref=v1.0.0"

  project_id = var.project_id
  region     = var.region
  name       = "cache-keys"
  labels     = { team = "platform", env = "prod" }

  secrets = {
    # On the common schedule, replicated by Google.
    momento-api-key = {}

    # Kept in two regions, each copy under its own key or Google's; versions can be restored for a week.
    momento-api-key-orders = {
      replicas = {
        (var.region)   = { kms_key = local.kms_key }
        "europe-west4" = {}
      }
      version_destroy_ttl = "7d"
      labels              = { team = "orders" }
      # Not the topic's id, which is known only after it was created.
      topics = ["projects/${var.project_id}/topics/${google_pubsub_topic.new_keys.name}"]
    }

    # A regional secret: neither the payload nor the request leaves the region. Looked at on Mondays, so it may be a week
    # late before there is an alert.
    momento-api-key-billing = {
      location         = var.region
      kms_key          = local.kms_key
      schedule         = "5 4 * * MON"
      no_rotation_days = 8
    }

    # Created by somebody else; rotated here.
    momento-api-key-legacy = { create = false }

    # Minted keys, for readers that want the bare key.
    momento-api-key-batch = { role = var.batch_role, lifetime = "60d", payload = "key" }

    # The management key renews itself. Its role it keeps.
    momento-management-key = { lifetime = "180d" }
  }

  management_key = { secret = "momento-management-key" }
  revoke         = true

  initial_credential_for = var.initial_credential_for
  initial_credentials    = var.initial_credentials

  schedule  = "17 3 * * *"
  time_zone = "Europe/Berlin"

  # Readers have a day to pick up the new key, which is how long a revoked one is still good; what nobody can need any more is
  # destroyed, because it costs.
  renew_before  = "14d"
  grace_period  = "24h"
  destroy_after = "30d"

  notification_channels = [google_monitoring_notification_channel.oncall.name]
  alerts                = { no_rotation_days = 3, expiry_days = 10 }
}
