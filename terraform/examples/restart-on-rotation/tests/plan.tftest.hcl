mock_provider "google" {
  source          = "../../tests/mocks"
  override_during = plan
}

# The mock gives every topic the id of the topic for requests.
override_resource {
  target          = google_pubsub_topic.versions
  override_during = plan
  values          = { id = "projects/test-project/topics/versions" }
}

variables {
  project_id       = "test-project"
  role             = "r-abcdefg"
  service          = "shop"
  service_account  = "application@test-project.iam.gserviceaccount.com"
  roll_out_minutes = 30
}

run "waits_for_the_whole_roll_out" {
  command = plan

  variables {
    grace_period_minutes = 71
  }

  assert {
    condition     = google_workflows_workflow.restart.user_env_vars.ROLL_OUT_SECONDS == "1800"
    error_message = "The workflow must wait for the whole roll-out."
  }
}

run "refuses_a_grace_period_shorter_than_the_roll_out" {
  command = plan

  variables {
    grace_period_minutes = 70
  }

  expect_failures = [google_workflows_workflow.restart]
}
