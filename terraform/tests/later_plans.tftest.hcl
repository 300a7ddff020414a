# Plans after an apply.

mock_provider "google" {
  source = "./tests/mocks"
}

mock_provider "time" {}

variables {
  project_id = "test-project"
}

run "an_apply_that_reads_the_projects_number" {
  variables {
    secrets = { scheduled = { rotation_period = "30d" } }
  }
}

run "the_projects_number_is_known_when_a_wait_changes" {
  command = plan

  variables {
    secrets              = { scheduled = { rotation_period = "30d" } }
    wait_for_propagation = 300
  }

  assert {
    condition = (
      local.service_agents.secretmanager ==
      "serviceAccount:service-123456789012@gcp-sa-secretmanager.iam.gserviceaccount.com"
    )
    error_message = "Terraform must not plan to replace the service agents' grants."
  }
}
