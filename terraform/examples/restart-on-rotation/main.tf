# The rotator, and a workflow that deploys a new revision of a Cloud Run service after each rotation.

locals {
  secret  = "momento-api-key"
  topic   = "${local.secret}-versions"
  service = "projects/${var.project_id}/locations/${var.region}/services/${var.service}"

  # The workflow tries twice. Ten minutes are for the delivery of the event, which usually takes seconds, and its
  # retries.
  needed_minutes = 2 * var.roll_out_minutes + 10
}

module "momento_key_rotator" {
  source = "../.." # elsewhere: "git::https://HOST/REPOSITORY.git//terraform?ref=TAG"

  project_id = var.project_id
  region     = var.region

  management_key = {}
  rotation       = { revoke = true, grace_period = "${var.grace_period_minutes}m" }

  secrets = {
    (local.secret) = {
      role     = var.role
      lifetime = "30d"
      payload  = "key"

      topics = { versions = google_pubsub_topic.versions.id }
    }

    # The management key renews itself, and the alerts watch its expiry.
    momento-management-key = { lifetime = "90d" }
  }
}

resource "google_project_service" "required" {
  for_each = toset(["eventarc.googleapis.com", "pubsub.googleapis.com", "workflows.googleapis.com"])

  project            = var.project_id
  service            = each.value
  disable_on_destroy = false
}

# Secret Manager publishes an event for each new version to this topic. The module grants the permission to publish.
resource "google_pubsub_topic" "versions" {
  project = var.project_id
  name    = local.topic

  depends_on = [google_project_service.required]
}

resource "google_service_account" "workflow" {
  project      = var.project_id
  account_id   = "restart-on-rotation"
  display_name = "Deploys ${var.service} after a rotation"
}

resource "google_cloud_run_v2_service_iam_member" "workflow" {
  project  = var.project_id
  location = var.region
  name     = var.service
  role     = "roles/run.developer"
  member   = google_service_account.workflow.member
}

# The workflow waits for an operation, which belongs to the project and not to the service.
resource "google_project_iam_member" "operations" {
  project = var.project_id
  role    = "roles/run.viewer"
  member  = google_service_account.workflow.member
}

resource "google_project_iam_member" "logs" {
  project = var.project_id
  role    = "roles/logging.logWriter"
  member  = google_service_account.workflow.member
}

# Every deployment needs permission to act as the account of the service.
resource "google_service_account_iam_member" "workflow" {
  service_account_id = "projects/${var.project_id}/serviceAccounts/${var.service_account}"
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.workflow.member
}

resource "google_workflows_workflow" "restart" {
  project             = var.project_id
  region              = var.region
  name                = "restart-on-rotation"
  description         = "Deploys ${var.service} with the newest version of ${local.secret}."
  service_account     = google_service_account.workflow.id
  source_contents     = file("${path.module}/restart.yaml")
  deletion_protection = false

  user_env_vars = {
    SERVICE          = local.service
    VARIABLE         = var.variable
    ROLL_OUT_SECONDS = tostring(60 * var.roll_out_minutes)
  }

  lifecycle {
    precondition {
      condition = var.grace_period_minutes > local.needed_minutes
      error_message = join(" ", [
        "grace_period_minutes is ${var.grace_period_minutes}.",
        "A roll-out can take ${local.needed_minutes} minutes with its retry and the delivery of the event.",
        "Until then instances use a key that might be revoked.",
        "Set grace_period_minutes to more than ${local.needed_minutes}, or lower roll_out_minutes.",
      ])
    }
  }

  depends_on = [google_project_service.required]
}

resource "google_service_account" "trigger" {
  project      = var.project_id
  account_id   = "restart-on-rotation-trigger"
  display_name = "Starts the workflow restart-on-rotation"
}

resource "google_project_iam_member" "trigger" {
  project = var.project_id
  role    = "roles/workflows.invoker"
  member  = google_service_account.trigger.member
}

resource "google_eventarc_trigger" "versions" {
  project         = var.project_id
  location        = var.region
  name            = "restart-on-rotation"
  service_account = google_service_account.trigger.email

  matching_criteria {
    attribute = "type"
    value     = "google.cloud.pubsub.topic.v1.messagePublished"
  }

  transport {
    pubsub {
      topic = google_pubsub_topic.versions.id
    }
  }

  destination {
    workflow = google_workflows_workflow.restart.id
  }

  depends_on = [google_project_iam_member.trigger]
}
