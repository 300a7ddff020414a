locals {
  apis = toset([
    "artifactregistry.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudfunctions.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "cloudscheduler.googleapis.com",
    "iam.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "pubsub.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "storage.googleapis.com",
  ])
}

resource "google_project_service" "required" {
  for_each = var.enable_apis ? local.apis : toset([])

  project = var.project_id
  service = each.value

  # Other workloads of the project might use an API.
  disable_on_destroy = false
}

# Google refuses calls to a new API for about a minute (SERVICE_DISABLED). So Terraform waits
# for a third of wait_for_propagation, which is one minute by default.
resource "time_sleep" "apis" {
  count = var.enable_apis ? 1 : 0

  create_duration = "${ceil(var.wait_for_propagation / 3)}s"
  triggers        = { for api, service in google_project_service.required : api => service.id }
}

# Google documents that a grant takes two minutes to propagate, sometimes seven or more. A build that starts earlier
# fails, and Secret Manager refuses a topic to which its agent can't publish. The default of three minutes covers the
# usual case. A longer one would delay each first apply, and a second apply repairs a build that started too early.
# Terraform waits again only after another grant.
resource "time_sleep" "grants" {
  create_duration = "${var.wait_for_propagation}s"

  triggers = merge(
    { for role, grant in google_project_iam_member.build : role => grant.id },
    { for key, grant in google_pubsub_topic_iam_member.secret_manager : "topics/${key}" => grant.id },
    { for index, grant in google_project_iam_member.build_source_copy : "source_copy" => grant.id },
    { source = google_storage_bucket_iam_member.build_source.id },
  )
}
