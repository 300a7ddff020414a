# Three accounts, one for each duty. Only the build has roles in the project.

locals {
  account_duties = {
    runtime = { name = local.names.runtime_account, does = "Runs the function; reads and writes the rotated secrets." }
    build   = { name = local.names.build_account, does = "Builds the function in Cloud Build." }
    invoker = { name = local.names.invoker_account, does = "Calls the function for Cloud Scheduler and Pub/Sub." }
  }
  accounts = {
    for duty, account in local.account_duties :
    duty => (
      var.service_accounts[duty] != null
      ? var.service_accounts[duty].email
      : google_service_account.created[duty].email
    )
  }
  members = { for duty, email in local.accounts : duty => "serviceAccount:${email}" }
}

resource "google_service_account" "created" {
  for_each = { for duty, account in local.account_duties : duty => account if var.service_accounts[duty] == null }

  project      = var.project_id
  account_id   = each.value.name
  display_name = "${var.name}: ${each.key}"
  description  = each.value.does

  depends_on = [time_sleep.apis]
}

# ---- the function: exactly these secrets ----

locals {
  # Every permission that the function checks before it uses a refresh token, and the role that grants it. A test
  # compares this map with the function's own list.
  permissions = {
    "secretmanager.versions.access"  = "roles/secretmanager.secretAccessor"
    "secretmanager.versions.get"     = "roles/secretmanager.secretVersionManager"
    "secretmanager.versions.list"    = "roles/secretmanager.secretVersionManager"
    "secretmanager.versions.add"     = "roles/secretmanager.secretVersionManager"
    "secretmanager.versions.disable" = "roles/secretmanager.secretVersionManager"
    "secretmanager.versions.destroy" = "roles/secretmanager.secretVersionManager"
  }

  # The function only reads a management key. It lists the versions if the newest one is disabled. The viewer role is
  # the smallest one with that permission, and shows names and states only.
  management_key_permissions = {
    "secretmanager.versions.access" = "roles/secretmanager.secretAccessor"
    "secretmanager.versions.list"   = "roles/secretmanager.viewer"
  }

  runtime_secrets = merge(
    {
      for key, name in local.secret_names :
      key => {
        name = name
        # With try() instead, Terraform 1.5 wouldn't know the location while another setting of the secret is unknown.
        location    = strcontains(key, "/locations/") ? split("/", key)[3] : var.secrets[key].location
        is_created  = contains(keys(local.created_secrets), key)
        permissions = local.permissions
      }
    },
    {
      for key in local.unrotated_management_key : key.secret => {
        name        = key.name
        location    = strcontains(key.secret, "/locations/") ? split("/", key.secret)[3] : null
        is_created  = contains(keys(local.created_secrets), key.secret)
        permissions = local.management_key_permissions
      }
    },
  )

  runtime_grants = merge([
    for key, secret in local.runtime_secrets : {
      for role in distinct(values(secret.permissions)) : "${key}/${basename(role)}" => {
        project    = split("/", secret.name)[1]
        location   = secret.location
        secret     = basename(secret.name)
        is_created = secret.is_created
        role       = role
      }
    }
  ]...)

  # Grants refer to these maps and not to the secrets. With 500 secrets, a direct reference makes a plan twice as long.
  global_ids   = { for id, secret in google_secret_manager_secret.created : id => secret.secret_id }
  regional_ids = { for id, secret in google_secret_manager_regional_secret.created : id => secret.secret_id }
}

resource "google_secret_manager_secret_iam_member" "runtime" {
  for_each = { for key, grant in local.runtime_grants : key => grant if grant.location == null }

  project   = each.value.project
  role      = each.value.role
  member    = local.members.runtime
  secret_id = each.value.is_created ? local.global_ids[each.value.secret] : each.value.secret
}

resource "google_secret_manager_regional_secret_iam_member" "runtime" {
  for_each = { for key, grant in local.runtime_grants : key => grant if grant.location != null }

  project   = each.value.project
  location  = each.value.location
  role      = each.value.role
  member    = local.members.runtime
  secret_id = each.value.is_created ? local.regional_ids[each.value.secret] : each.value.secret
}

# ---- Cloud Scheduler and Pub/Sub: exactly this function ----

resource "google_cloud_run_v2_service_iam_member" "invoker" {
  project  = var.project_id
  location = var.region
  name     = google_cloudfunctions2_function.rotator.name
  role     = "roles/run.invoker"
  member   = local.members.invoker
}

# ---- the build ----

locals {
  # An account that you bring has the project's roles already, so the module needs no right to grant them.
  creates_build_account = var.service_accounts.build == null

  build_roles = {
    for role in ["roles/artifactregistry.writer", "roles/logging.logWriter"] :
    basename(role) => role if local.creates_build_account
  }
}

# Logs have no narrower scope than the project. Google creates the repository gcf-artifacts with the first function of a
# region, so it might not exist yet, and Artifact Registry has no IAM conditions on names.
resource "google_project_iam_member" "build" {
  for_each = local.build_roles

  project = var.project_id
  role    = each.value
  member  = local.members.build

  depends_on = [time_sleep.apis]
}

# Cloud Functions copies the source to its own bucket gcf-v2-sources-PROJECT_NUMBER-REGION, which it creates with the
# first function. The condition limits the role to these buckets.
resource "google_project_iam_member" "build_source_copy" {
  count = local.creates_build_account ? 1 : 0

  project = var.project_id
  role    = "roles/storage.objectViewer"
  member  = local.members.build

  condition {
    title       = "function-sources-only"
    description = "The buckets to which Cloud Functions copies sources for its builds."
    expression  = "resource.name.startsWith(\"projects/_/buckets/gcf-v2-sources-\")"
  }

  depends_on = [time_sleep.apis]
}

resource "google_storage_bucket_iam_member" "build_source" {
  bucket = google_storage_bucket.source.name
  role   = "roles/storage.objectViewer"
  member = local.members.build
}
