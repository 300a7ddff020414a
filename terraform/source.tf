locals {
  repository = "${path.module}/.."

  # The files that `npm ci && npm run gcp-build` needs. A list of included files stays right when the repository grows.
  source_patterns = [
    ".npmrc",
    "package-lock.json",
    "package.json",
    "build/*",
    "emulators/*.ts",
    "src/**/*.ts",
    "tsconfig.json",
  ]
  source_files   = sort(flatten([for pattern in local.source_patterns : tolist(fileset(local.repository, pattern))]))
  source_folders = distinct([for file in local.source_files : split("/", file)[0] if strcontains(file, "/")])

  # The archive provider's `source` blocks would put every file's content into the state. So the provider gets the
  # folder and a list of excludes: all other folders of the repository, and the files that the build doesn't need in
  # uploaded folders.
  repository_folders = distinct([
    for file in setunion(fileset(local.repository, "*/*"), fileset(local.repository, "*/*/*")) : split("/", file)[0]
  ])
  files_beside = flatten([
    tolist(fileset(local.repository, "*")),
    [for folder in local.source_folders : tolist(fileset(local.repository, "${folder}/**"))],
  ])
  source_excludes = sort(concat(
    tolist(setsubtract(local.repository_folders, local.source_folders)),
    tolist(setsubtract(local.files_beside, local.source_files)),
  ))

  source_zip = var.source_archive != null ? var.source_archive : data.archive_file.source[0].output_path
  source_sha256 = (
    var.source_archive != null ? filesha256(var.source_archive) : data.archive_file.source[0].output_sha256
  )
}

data "archive_file" "source" {
  count = var.source_archive == null ? 1 : 0

  type             = "zip"
  source_dir       = local.repository
  excludes         = local.source_excludes
  output_path      = "${path.root}/.terraform/${local.names.bucket}.zip"
  output_file_mode = "0644"

  lifecycle {
    precondition {
      condition = alltrue([
        for file in ["package.json", "package-lock.json", "build/build.mjs", "src/index.ts"] :
        fileexists("${local.repository}/${file}")
      ])
      error_message = join(" ", [
        "The function's source is missing, so nothing can be deployed.",
        "Use the whole repository as source (git::https://HOST/REPOSITORY.git//terraform?ref=TAG),",
        "or set source_archive to the zip of a release.",
      ])
    }
  }
}

resource "google_storage_bucket" "source" {
  project                     = var.project_id
  name                        = local.names.bucket
  location                    = var.region
  labels                      = var.labels
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  # The bucket contains only copies of the source.
  force_destroy = true

  depends_on = [time_sleep.apis]
}

resource "google_storage_bucket_object" "source" {
  bucket = google_storage_bucket.source.name
  # A changed source is a new object, and a new object redeploys the function.
  name         = "source-${local.source_sha256}.zip"
  source       = local.source_zip
  content_type = "application/zip"

  lifecycle {
    # The function must never refer to a deleted object.
    create_before_destroy = true
  }
}
