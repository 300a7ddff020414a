# Three accounts, one for each duty. Nobody gets a role in the project, except the build, which has no narrower place.

resource "google_service_account" "runtime" {
  project      = var.project_id
  account_id   = local.names.runtime_account
  display_name = "${var.name}: runs the function"
  description  = "Reads and writes versions of the rotated secrets."

  depends_on = [time_sleep.apis]
}

resource "google_service_account" "build" {
  project      = var.project_id
  account_id   = local.names.build_account
  display_name = "${var.name}: builds the function"
  description  = "Used by Cloud Build when the function is deployed."

  depends_on = [time_sleep.apis]
}

resource "google_service_account" "scheduler" {
  project      = var.project_id
  account_id   = local.names.scheduler_account
  display_name = "${var.name}: calls the function"
  description  = "The identity with which Cloud Scheduler calls the function."

  depends_on = [time_sleep.apis]
}

# ---- the function: exactly these secrets ----

locals {
  # Every permission that the function asks for before it spends a refresh token, and the role that grants it. The roles
  # below come from this map, and a test compares its keys with the function's own list.
  permissions = {
    "secretmanager.versions.access"  = "roles/secretmanager.secretAccessor"
    "secretmanager.versions.get"     = "roles/secretmanager.secretVersionManager"
    "secretmanager.versions.list"    = "roles/secretmanager.secretVersionManager"
    "secretmanager.versions.add"     = "roles/secretmanager.secretVersionManager"
    "secretmanager.versions.disable" = "roles/secretmanager.secretVersionManager"
    "secretmanager.versions.destroy" = "roles/secretmanager.secretVersionManager"
  }

  # A management key is only read. The list is for when its newest version is not enabled: the function then takes the one
  # before, or says that there is none. The smallest role that has it shows names and states, and nothing else.
  management_key_permissions = {
    "secretmanager.versions.access" = "roles/secretmanager.secretAccessor"
    "secretmanager.versions.list"   = "roles/secretmanager.viewer"
  }

  runtime_secrets = merge(
    {
      for id, secret in var.secrets : id => {
        name        = local.secret_names[id]
        is_created  = secret.create
        permissions = local.permissions
      }
    },
    {
      for key in local.only_management_key : key.name => {
        name        = key.name
        is_created  = contains(values(local.created_names), key.name)
        permissions = local.management_key_permissions
      }
    },
  )

  runtime_grants = merge([
    for key, secret in local.runtime_secrets : {
      for role in distinct(values(secret.permissions)) : "${key} ${role}" => {
        project    = split("/", secret.name)[1]
        location   = try(regex("/locations/([^/]+)/", secret.name)[0], null)
        secret     = basename(secret.name)
        is_created = secret.is_created
        role       = role
      }
    }
  ]...)
}

resource "google_secret_manager_secret_iam_member" "runtime" {
  for_each = { for key, grant in local.runtime_grants : key => grant if grant.location == null }

  project   = each.value.project
  secret_id = each.value.is_created ? google_secret_manager_secret.created[each.value.secret].secret_id : each.value.secret
  role      = each.value.role
  member    = google_service_account.runtime.member
}

resource "google_secret_manager_regional_secret_iam_member" "runtime" {
  for_each = { for key, grant in local.runtime_grants : key => grant if grant.location != null }

  project   = each.value.project
  location  = each.value.location
  secret_id = each.value.is_created ? google_secret_manager_regional_secret.created[each.value.secret].secret_id : each.value.secret
  role      = each.value.role
  member    = google_service_account.runtime.member
}

# ---- Cloud Scheduler: exactly this function ----

resource "google_cloud_run_v2_service_iam_member" "scheduler" {
  project  = var.project_id
  location = var.region
  name     = google_cloudfunctions2_function.rotator.name
  role     = "roles/run.invoker"
  member   = google_service_account.scheduler.member
}

# ---- the build ----

# Logs have no narrower place than the project. The images go to the repository `gcf-artifacts`, which Google creates
# with the first function of a region: when this grant is made it may not exist yet, and Artifact Registry knows no IAM
# conditions on names.
resource "google_project_iam_member" "build" {
  for_each = toset(["roles/artifactregistry.writer", "roles/logging.logWriter"])

  project = var.project_id
  role    = each.value
  member  = google_service_account.build.member
}

# Cloud Functions copies the source to a bucket of its own, gcf-v2-sources-PROJECT_NUMBER-REGION, which appears with the
# first function too. Storage does know conditions: the build reads those buckets and no others of the project.
resource "google_project_iam_member" "build_source_copy" {
  project = var.project_id
  role    = "roles/storage.objectViewer"
  member  = google_service_account.build.member

  condition {
    title       = "function-sources-only"
    description = "The buckets to which Cloud Functions copies sources for its builds."
    expression  = "resource.name.startsWith(\"projects/_/buckets/gcf-v2-sources-\")"
  }
}

resource "google_storage_bucket_iam_member" "build_source" {
  bucket = google_storage_bucket.source.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.build.member
}
