# Invented values, in the formats that other resources validate.

mock_resource "google_service_account" {
  defaults = {
    email  = "account@test-project.iam.gserviceaccount.com"
    member = "serviceAccount:account@test-project.iam.gserviceaccount.com"
    name   = "projects/test-project/serviceAccounts/account@test-project.iam.gserviceaccount.com"
  }
}

mock_resource "google_cloudfunctions2_function" {
  defaults = {
    service_config = {
      uri = "https://rotator-abc123-uc.a.run.app"
    }
  }
}

mock_resource "google_pubsub_topic" {
  defaults = {
    id = "projects/test-project/topics/momento-key-rotator-requests"
  }
}

mock_resource "google_monitoring_dashboard" {
  defaults = {
    id = "projects/123456789012/dashboards/11111111-2222-3333-4444-555555555555"
  }
}

mock_data "google_project" {
  defaults = {
    number = "123456789012"
  }
}
