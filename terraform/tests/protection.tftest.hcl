# What is protected from deletion. That the guards refuse, and before anything else is touched, .ci/run tries with
# tests/protected.

mock_provider "google" {
  source = "./tests/mocks"
}

mock_provider "time" {}

variables {
  project_id          = "test-project"
  initial_credentials = {}
}

run "a_guard_for_each_secret_that_is_created" {
  command = plan

  variables {
    secrets = {
      plain      = {}
      expendable = { deletion_protection = false }
      placed     = { replicas = { "europe-west4" = {}, "europe-west1" = {} } }
      regional   = { location = "europe-west3" }
      theirs     = { create = false }
    }
  }

  # A secret that is moved is another one, and so is its guard.
  assert {
    condition = { for name, guard in terraform_data.deletion_protection : name => [guard.input.protected, join(" ", guard.triggers_replace)] } == {
      "projects/test-project/secrets/plain"                           = [true, ""]
      "projects/test-project/secrets/expendable"                      = [false, ""]
      "projects/test-project/secrets/placed"                          = [true, "europe-west1 europe-west4"]
      "projects/test-project/locations/europe-west3/secrets/regional" = [true, ""]
    }
    error_message = "A guard knows which secret it stands for, where that is, and whether it is protected."
  }

  # What a guard depends on is destroyed after it; the rest follows, because these depend on it.
  assert {
    condition = toset(flatten([
      for file in fileset(path.module, "*.tf") : [
        for block in regexall("resource +\"(google_(?:cloud_scheduler_job|logging_metric|monitoring_[a-z_]+|secret_manager_secret_version))\" +\"([a-z_]+)\"", file("${path.module}/${file}")) : join(".", block)
      ]
    ])) == toset(regexall("google_[a-z_]+\\.[a-z_]+", split("depends_on", file("${path.module}/protection.tf"))[1]))
    error_message = "There is something that would be destroyed before a guard refuses."
  }
}

run "protected" {
  variables {
    secrets = { plain = {} }
  }

  assert {
    condition     = terraform_data.deletion_protection["projects/test-project/secrets/plain"].output.protected
    error_message = "Secrets are protected by default."
  }
}

run "no_longer_protected" {
  variables {
    secrets = { plain = { deletion_protection = false } }
  }

  assert {
    condition     = !terraform_data.deletion_protection["projects/test-project/secrets/plain"].output.protected
    error_message = "An apply takes the protection away, without destroying the guard."
  }
}

run "removed" {
  variables {
    secrets = { another = { deletion_protection = false } }
  }

  assert {
    condition     = keys(terraform_data.deletion_protection) == ["projects/test-project/secrets/another"]
    error_message = "What is not protected can be removed."
  }
}
