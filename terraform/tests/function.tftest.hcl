# The function, its settings, and the source that it is built from.

mock_provider "google" {
  source = "./tests/mocks"
}

mock_provider "time" {}

variables {
  project_id = "test-project"
}

run "as_deployed_by_default" {
  command = plan

  assert {
    condition = (
      google_cloudfunctions2_function.rotator.build_config[0].runtime == "nodejs24" &&
      google_cloudfunctions2_function.rotator.build_config[0].entry_point == "rotate" &&
      google_cloudfunctions2_function.rotator.build_config[0].worker_pool == null
    )
    error_message = "The function must run on Node.js 24, with rotate as its entry point."
  }

  assert {
    condition     = google_cloudfunctions2_function.rotator.service_config[0].ingress_settings == "ALLOW_INTERNAL_ONLY"
    error_message = "The function must not be reachable from the internet."
  }

  assert {
    condition = (
      google_cloudfunctions2_function.rotator.service_config[0].min_instance_count == 0 &&
      google_cloudfunctions2_function.rotator.service_config[0].max_instance_count == 1 &&
      google_cloudfunctions2_function.rotator.service_config[0].max_instance_request_concurrency == 16 &&
      tonumber(google_cloudfunctions2_function.rotator.service_config[0].available_cpu) == 1
    )
    error_message = "There must be at most one instance, which can serve several calls at the same time."
  }

  assert {
    condition = (
      google_cloudfunctions2_function.rotator.service_config[0].timeout_seconds == 540 &&
      google_cloudfunctions2_function.rotator.service_config[0].available_memory == "256Mi"
    )
    error_message = "The function must have the default timeout and memory."
  }

  assert {
    condition = google_cloudfunctions2_function.rotator.service_config[0].environment_variables == tomap({
      NODE_ENV             = "production"
      NODE_OPTIONS         = "--max-semi-space-size=4 --max-old-space-size=192"
      LOG_EXECUTION_ID     = "true"
      GOOGLE_CLOUD_PROJECT = "test-project"
      SECRETS              = "projects/test-project/secrets/momento-api-key"
      RENEW_BEFORE         = "50%,48h"
      GRACE_PERIOD         = "1h"
      DESTROY_AFTER        = "30d"
      VERIFY               = "true"
      TIMEOUT              = "540s"
    })
    error_message = "The environment must contain these settings and no others."
  }
}

run "every_run_rotates_and_nothing_is_destroyed" {
  command = plan

  variables {
    rotation = { renew_before = "always", destroy_after = "never" }
  }

  assert {
    condition = google_cloudfunctions2_function.rotator.service_config[0].environment_variables == tomap({
      NODE_ENV             = "production"
      NODE_OPTIONS         = "--max-semi-space-size=4 --max-old-space-size=192"
      LOG_EXECUTION_ID     = "true"
      GOOGLE_CLOUD_PROJECT = "test-project"
      SECRETS              = "projects/test-project/secrets/momento-api-key"
      GRACE_PERIOD         = "1h"
      VERIFY               = "true"
      TIMEOUT              = "540s"
    })
    error_message = "The environment must not contain settings that are null."
  }
}

run "every_setting_reaches_the_function" {
  command = plan

  variables {
    rotation = { renew_before = "33%", grace_period = "36h", verify = false }
    function = { timeout_seconds = 570, memory = "1Gi", cpu = 2, ingress = "ALLOW_ALL" }
    labels   = { team = "platform" }
  }

  assert {
    condition = google_cloudfunctions2_function.rotator.service_config[0].environment_variables == tomap({
      NODE_ENV             = "production"
      NODE_OPTIONS         = "--max-semi-space-size=4 --max-old-space-size=960"
      LOG_EXECUTION_ID     = "true"
      GOOGLE_CLOUD_PROJECT = "test-project"
      SECRETS              = "projects/test-project/secrets/momento-api-key"
      RENEW_BEFORE         = "33%,48h"
      GRACE_PERIOD         = "36h"
      DESTROY_AFTER        = "30d"
      VERIFY               = "false"
      TIMEOUT              = "570s"
    })
    error_message = "The environment must contain every setting."
  }

  assert {
    condition = (
      google_cloudfunctions2_function.rotator.service_config[0].timeout_seconds == 570 &&
      google_cloudfunctions2_function.rotator.service_config[0].available_memory == "1Gi" &&
      tonumber(google_cloudfunctions2_function.rotator.service_config[0].available_cpu) == 2 &&
      google_cloudfunctions2_function.rotator.service_config[0].ingress_settings == "ALLOW_ALL" &&
      google_cloudfunctions2_function.rotator.labels == tomap({ team = "platform" })
    )
    error_message = "The function must have the configured timeout, memory, vCPUs, ingress and labels."
  }
}

run "room_for_every_job_at_once" {
  command = plan

  variables {
    secrets = { for n in range(30) : "secret-${n}" => { schedule = "0 3 * * *" } }
  }

  assert {
    condition     = google_cloudfunctions2_function.rotator.service_config[0].max_instance_request_concurrency == 60
    error_message = "One instance must be able to serve the calls of all jobs at the same time."
  }
}

run "connector_and_worker_pool" {
  command = plan

  variables {
    network  = { connector = "projects/network/locations/us-central1/connectors/egress", all_egress = true }
    function = { build_worker_pool = "projects/builds/locations/us-central1/workerPools/pool" }
  }

  assert {
    condition = (
      google_cloudfunctions2_function.rotator.service_config[0].vpc_connector ==
      "projects/network/locations/us-central1/connectors/egress" &&
      google_cloudfunctions2_function.rotator.service_config[0].vpc_connector_egress_settings == "ALL_TRAFFIC" &&
      google_cloudfunctions2_function.rotator.build_config[0].worker_pool ==
      "projects/builds/locations/us-central1/workerPools/pool"
    )
    error_message = "The function must have the configured connector, egress and worker pool."
  }
}

run "the_source" {
  command = plan

  assert {
    condition = alltrue([
      for file in local.source_files :
      can(regex("^((src|emulators)/.+\\.ts|build/[^/]+|package(-lock)?\\.json|tsconfig\\.json|\\.npmrc)$", file))
    ]) && contains(local.source_files, "src/index.ts") && length(local.source_files) > 50
    error_message = "The zip must contain exactly the files that the build needs."
  }

  # The upload excludes every folder and file that isn't listed, and no listed file.
  assert {
    condition = (
      length(setintersection(local.source_excludes, local.source_files)) == 0 &&
      length(setintersection(local.source_excludes, ["src", "build", "emulators"])) == 0 &&
      length(
        setsubtract(["terraform", "test", "tools", "docs", "README.md", "jest.config.mjs"], local.source_excludes)
      ) == 0
    )
    error_message = "The archive must exclude all other files, and no file that the build needs."
  }

  assert {
    condition     = length(data.archive_file.source[0].source) == 0
    error_message = "The state must not contain the contents of the files."
  }

  assert {
    condition = (
      google_storage_bucket_object.source.name == "source-${data.archive_file.source[0].output_sha256}.zip" &&
      length(data.archive_file.source[0].output_sha256) == 64
    )
    error_message = "The object's name must contain the hash of its content, so that a change redeploys."
  }

  assert {
    condition = (
      google_cloudfunctions2_function.rotator.build_config[0].source[0].storage_source[0].object ==
      google_storage_bucket_object.source.name
    )
    error_message = "The build must use this object."
  }

  assert {
    condition = (
      google_cloudfunctions2_function.rotator.build_config[0].environment_variables ==
      tomap({ SOURCE_SHA256 = data.archive_file.source[0].output_sha256 })
    )
    error_message = "The build's variables must contain the hash, so that the next plan repeats a failed build."
  }

  assert {
    condition = (
      google_storage_bucket.source.uniform_bucket_level_access &&
      google_storage_bucket.source.public_access_prevention == "enforced" &&
      google_storage_bucket.source.force_destroy
    )
    error_message = "The bucket must not become public, and Terraform must be able to delete it."
  }
}

run "direct_vpc_egress" {
  command = plan

  variables {
    network = { network = "vpc", subnetwork = "subnet", tags = ["rotator"] }
  }

  assert {
    condition = (
      google_cloudfunctions2_function.rotator.service_config[0].direct_vpc_network_interface[0].network == "vpc" &&
      google_cloudfunctions2_function.rotator.service_config[0].direct_vpc_network_interface[0].subnetwork ==
      "subnet" &&
      google_cloudfunctions2_function.rotator.service_config[0].direct_vpc_egress == "VPC_EGRESS_PRIVATE_RANGES_ONLY" &&
      google_cloudfunctions2_function.rotator.service_config[0].vpc_connector == null
    )
    error_message = "The function must have the configured network, subnetwork and egress."
  }
}

run "a_prebuilt_archive" {
  command = plan

  variables {
    source_archive = "../package.json" # any file
  }

  assert {
    condition = (
      length(data.archive_file.source) == 0 && google_storage_bucket_object.source.source == "../package.json" &&
      google_storage_bucket_object.source.name == "source-${filesha256("../package.json")}.zip"
    )
    error_message = "Terraform must deploy the archive unchanged."
  }
}
