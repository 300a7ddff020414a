# Secret Manager tells Pub/Sub topics what happens to a secret, for those who act on a new key instead of reading it again.

locals {
  topics = toset(flatten([for secret in values(local.created_secrets) : secret.topics]))
}

data "google_project" "this" {
  count = length(local.topics) == 0 ? 0 : 1

  project_id = var.project_id

  depends_on = [time_sleep.apis]
}

# It publishes as its own service agent, whose address is made of the project's number.
resource "google_pubsub_topic_iam_member" "secret_manager" {
  for_each = local.topics

  project = split("/", each.value)[1]
  topic   = basename(each.value)
  role    = "roles/pubsub.publisher"
  member  = "serviceAccount:service-${data.google_project.this[0].number}@gcp-sa-secretmanager.iam.gserviceaccount.com"
}

# A secret that is given a topic is refused if a test message cannot be published there. See time_sleep.grants.
resource "time_sleep" "topic_grants" {
  count = length(local.topics) == 0 ? 0 : 1

  create_duration = "180s"
  triggers        = { for topic, grant in google_pubsub_topic_iam_member.secret_manager : topic => grant.id }
}
