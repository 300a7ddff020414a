# Applied, and then to be destroyed as after every test: this must be refused before anything was touched. Terraform counts
# that as a failure and lists what is left, so .ci/run looks for both. In a folder of its own, where `terraform test` does
# not look by itself.

mock_provider "google" {
  source = "./tests/mocks"
}

mock_provider "time" {}

variables {
  project_id          = "test-project"
  initial_credentials = {}
  management_key      = {}
  secrets = {
    global     = { topics = ["projects/test-project/topics/new-keys"] }
    regional   = { location = "europe-west3", schedule = "0 4 * * 1" }
    expendable = { deletion_protection = false }
  }
}

run "everything" {
  assert {
    condition     = length(terraform_data.deletion_protection) == 4
    error_message = "Each secret that is created has a guard, that of the management key too."
  }
}
