# Operators and Secret Manager's rotation schedule reach the function through this topic, because its ingress is
# internal.

locals {
  requests_topic = "projects/${var.project_id}/topics/${var.name}-requests"

  secret_topics = {
    for id, secret in local.created_secrets :
    id => merge(secret.topics, secret.rotation_period == null ? {} : { requests = local.requests_topic })
  }
  notified_topics = merge(values(local.secret_topics)...)

  # Terraform can read the project's number only after an API is enabled. A depends_on on the wait would postpone
  # that to the apply whenever the wait changes, and Terraform would plan to replace the grants of the service
  # agents. So the id comes from the wait's triggers, which the state contains after the first apply.
  usable_project_id = (
    var.enable_apis
    ? split("/", time_sleep.apis[0].triggers["cloudresourcemanager.googleapis.com"])[0]
    : var.project_id
  )

  needs_project_number = length(local.notified_topics) > 0 || var.dead_letter_topic != null
  service_agents = {
    for service in ["secretmanager", "pubsub"] : service => join("", [
      "serviceAccount:service-${one(data.google_project.this[*].number)}",
      "@gcp-sa-${service}.iam.gserviceaccount.com",
    ]) if local.needs_project_number
  }
}

data "google_project" "this" {
  count = local.needs_project_number ? 1 : 0

  project_id = local.usable_project_id
}

resource "google_pubsub_topic" "requests" {
  project = var.project_id
  name    = basename(local.requests_topic)
  labels  = var.labels

  depends_on = [time_sleep.apis]
}

resource "google_pubsub_subscription" "requests" {
  project = var.project_id
  name    = google_pubsub_topic.requests.name
  topic   = google_pubsub_topic.requests.id
  labels  = var.labels

  # Secret Manager also sends an event for each version that the function adds. The filter drops these events, so they
  # don't start an instance.
  filter = "NOT attributes:eventType OR attributes.eventType = \"SECRET_ROTATE\""

  # Longer than the function's timeout. Otherwise Pub/Sub repeats a request that is still running.
  ack_deadline_seconds = min(600, var.function.timeout_seconds + 30)

  push_config {
    push_endpoint = google_cloudfunctions2_function.rotator.service_config[0].uri

    oidc_token {
      service_account_email = local.accounts.invoker
      audience              = google_cloudfunctions2_function.rotator.service_config[0].uri
    }
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  # By default Pub/Sub deletes a subscription without messages after 31 days.
  expiration_policy {
    ttl = ""
  }

  dynamic "dead_letter_policy" {
    for_each = var.dead_letter_topic[*]

    content {
      dead_letter_topic     = dead_letter_policy.value.id
      max_delivery_attempts = 100
    }
  }

  depends_on = [google_cloud_run_v2_service_iam_member.invoker]
}

resource "google_pubsub_topic_iam_member" "publishers" {
  for_each = var.publishers

  project = var.project_id
  topic   = google_pubsub_topic.requests.name
  role    = "roles/pubsub.publisher"
  member  = each.value
}

# Secret Manager publishes as its service agent, whose address contains the project's number.
resource "google_pubsub_topic_iam_member" "secret_manager" {
  for_each = local.notified_topics

  topic  = each.value
  role   = "roles/pubsub.publisher"
  member = local.service_agents.secretmanager

  depends_on = [google_pubsub_topic.requests]
}

resource "google_pubsub_topic_iam_member" "dead_letters" {
  count = var.dead_letter_topic == null ? 0 : 1

  topic  = var.dead_letter_topic.id
  role   = "roles/pubsub.publisher"
  member = local.service_agents.pubsub
}

resource "google_pubsub_subscription_iam_member" "dead_letters" {
  count = var.dead_letter_topic == null ? 0 : 1

  project      = var.project_id
  subscription = google_pubsub_subscription.requests.name
  role         = "roles/pubsub.subscriber"
  member       = local.service_agents.pubsub
}
