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
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "storage.googleapis.com",
  ])
}

resource "google_project_service" "required" {
  for_each = var.enable_apis ? local.apis : toset([])

  project = var.project_id
  service = each.value

  # Others in the project may have come to depend on an API in the meantime.
  disable_on_destroy = false
}

# An API that was just enabled is refused for a while (SERVICE_DISABLED) by whoever has not heard of it yet. This waits
# once, and again only when an API is added.
resource "time_sleep" "apis" {
  count = var.enable_apis ? 1 : 0

  create_duration = "60s"
  triggers        = { for api, service in google_project_service.required : api => service.id }
}
