# Each validation of the other variables refuses its values when planning. A round gives many variables one bad value.

mock_provider "google" {
  source = "./tests/mocks"
}

mock_provider "time" {}

variables {
  project_id = "test-project"
}

run "round_1" {
  command = plan

  variables {
    project_id           = "123456789012"
    name                 = "Rotator"
    wait_for_propagation = -1
    rotation             = { renew_before = "14" }
    momento              = { endpoint = "https://cell-4-us-west-2-1.prod.a.momentohq.com" }
    function             = { timeout_seconds = 119 }
    network              = { connector = "c", network = "n" }
    publishers           = { a = "oncall@example.com" }
    dead_letter_topic    = { id = "topic" }
    service_accounts     = { runtime = { email = "serviceAccount:a@test-project.iam.gserviceaccount.com" } }
    source_archive       = "missing.zip"
    monitoring           = { no_rotation_days = 0 }
  }

  expect_failures = [
    var.project_id,
    var.name,
    var.wait_for_propagation,
    var.rotation,
    var.momento,
    var.function,
    var.network,
    var.publishers,
    var.dead_letter_topic,
    var.service_accounts,
    var.source_archive,
    var.monitoring,
  ]
}

run "round_2" {
  command = plan

  variables {
    project_id           = "My Project"
    name                 = "key_rotator"
    wait_for_propagation = 1.5
    rotation             = { renew_before = "0d" }
    momento              = { endpoint = "TOKEN.cell-4-us-west-2-1.prod.a.momentohq.com" }
    function             = { timeout_seconds = 571 }
    network              = { all_egress = true }
    publishers           = { a = "allUsers" }
    monitoring           = { no_rotation_days = 401 }
  }

  expect_failures = [
    var.project_id,
    var.name,
    var.wait_for_propagation,
    var.rotation,
    var.momento,
    var.function,
    var.network,
    var.publishers,
    var.monitoring,
  ]
}

run "round_3" {
  command = plan

  variables {
    project_id = "abcde"
    name       = "rotator-"
    rotation   = { renew_before = "100%" }
    momento    = { endpoint = "localhost" }
    function   = { memory = "128Mi" }
    network    = { tags = ["t"] }
    publishers = { a = "allAuthenticatedUsers" }
    monitoring = { no_rotation_days = 1.5 }
  }

  expect_failures = [
    var.project_id,
    var.name,
    var.rotation,
    var.momento,
    var.function,
    var.network,
    var.publishers,
    var.monitoring,
  ]
}

run "round_4" {
  command = plan

  variables {
    name       = "my-google-rotator"
    rotation   = { renew_before = "50%,0h" }
    momento    = { endpoint = "cell.example.com:443" }
    function   = { memory = "512M" }
    network    = { connector = "c", subnetwork = "s" }
    monitoring = { expiry_days = 0 }
  }

  expect_failures = [
    var.name,
    var.rotation,
    var.momento,
    var.function,
    var.network,
    var.monitoring,
  ]
}

run "round_5" {
  command = plan

  variables {
    name       = ""
    rotation   = { renew_before = "48h,50%" }
    momento    = { refresh_path = "api-keys/refresh" }
    function   = { memory = "5Gi" }
    monitoring = { alerts = { unknown = {} } }
  }

  expect_failures = [
    var.name,
    var.rotation,
    var.momento,
    var.function,
    var.monitoring,
  ]
}

run "round_6" {
  command = plan

  variables {
    name     = join("", [for n in range(81) : "a"])
    rotation = { renew_before = "2w" }
    momento  = { refresh_path = "//example.com" }
    function = { cpu = 0.5 }
  }

  expect_failures = [
    var.name,
    var.rotation,
    var.momento,
    var.function,
  ]
}

run "round_7" {
  command = plan

  variables {
    rotation = { renew_before = "" }
    momento  = { refresh_path = "/refresh?a=b" }
    function = { cpu = 4 }
  }

  expect_failures = [
    var.rotation,
    var.momento,
    var.function,
  ]
}

run "round_8" {
  command = plan

  variables {
    rotation = { grace_period = "36" }
    function = { memory = "4097Mi" }
  }

  expect_failures = [
    var.rotation,
    var.function,
  ]
}

run "round_9" {
  command = plan

  variables {
    rotation = { grace_period = "-1h" }
  }

  expect_failures = [
    var.rotation,
  ]
}

run "round_10" {
  command = plan

  variables {
    rotation = { grace_period = "never" }
  }

  expect_failures = [
    var.rotation,
  ]
}

run "round_11" {
  command = plan

  variables {
    rotation = { destroy_after = "4w" }
  }

  expect_failures = [
    var.rotation,
  ]
}

run "round_12" {
  command = plan

  variables {
    rotation = { destroy_after = "30" }
  }

  expect_failures = [
    var.rotation,
  ]
}
