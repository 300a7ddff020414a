locals {
  # The function logs one such line for each secret and run. A test compares the filter and the fields with a real
  # line.
  rotation_filter = "resource.type=\"cloud_run_revision\" AND jsonPayload.event=\"rotation\""
  rotation_fields = {
    secret       = "jsonPayload.secret"
    outcome      = "jsonPayload.outcome"
    trigger      = "jsonPayload.trigger"
    error_code   = "jsonPayload.error.code"
    help         = "jsonPayload.error.help"
    days_left    = "jsonPayload.daysLeft"
    key_age_days = "jsonPayload.keyAgeDays"
    overdue_days = "jsonPayload.overdueDays"
    duration_ms  = "jsonPayload.durationMs"
    contained    = "jsonPayload.contained"
  }

  deployment_filter = join(" AND ", [
    local.rotation_filter,
    "resource.labels.service_name=\"${var.function_name}\"",
    "resource.labels.location=\"${var.region}\"",
  ])

  # Cloud Scheduler's line for one call. It doesn't show whether retries are left.
  scheduler_filter = join(" AND ", [
    "resource.type=\"cloud_scheduler_job\"",
    "log_id(\"cloudscheduler.googleapis.com/executions\")",
    "jsonPayload.\"@type\"=\"type.googleapis.com/google.cloud.scheduler.logging.AttemptFinished\"",
    "resource.labels.location=\"${var.scheduler.region}\"",
    "resource.labels.job_id=~\"^${var.name}(-PART[0-9]+)?(_.+)?$\"",
  ])

  # A key that isn't due can be old, if its lifetime is long. So the alert counts the days since a renewal was due. If
  # every run rotates, the alert counts the days of the key's age.
  late_field = local.rotation_fields[var.every_run ? "key_age_days" : "overdue_days"]

  # The filter compares the days. A distribution has buckets and not exact days, and its average over a day with a
  # renewal describes neither the old nor the new key.
  comparisons = {
    expiring = {
      field  = "${local.rotation_fields.days_left}<"
      common = var.settings.expiry_days
      days   = { for key, secret in var.secrets : key => secret.expiry_days }
    }
    late = {
      field  = "${local.late_field}>="
      common = var.settings.no_rotation_days
      days   = { for key, secret in var.secrets : key => secret.no_rotation_days }
    }
  }
  # Secrets whose number of days differs from the common one, grouped by that number.
  own_days = {
    for kind, comparison in local.comparisons : kind => {
      for key, days in comparison.days : days => "${local.rotation_fields.secret}=\"${var.secrets[key].name}\""...
      if days != comparison.common
    }
  }
  common_terms = {
    for kind, comparison in local.comparisons : kind => join(" AND NOT ", concat(
      ["${comparison.field}${comparison.common}"],
      [for names in values(local.own_days[kind]) : "(${join(" OR ", names)})"],
    ))
  }
  own_terms = {
    for kind, comparison in local.comparisons : kind => [
      for days, names in local.own_days[kind] : "${comparison.field}${days} AND (${join(" OR ", names)})"
    ]
  }
  day_filters = {
    for kind, terms in local.own_terms :
    kind => "(${join(" OR ", [for term in concat([local.common_terms[kind]], terms) : "(${term})"])})"
  }

  # Terraform prints the values that a refused condition refers to. A filter would fill the screen.
  filter_lengths = { for kind, metric in local.metrics : kind => length(metric.filter) }

  metrics = {
    runs = {
      description = "Runs of the rotator, one for each secret."
      filter      = local.deployment_filter
      labels      = ["secret", "outcome", "error_code", "help", "trigger"]
    }
    days-left = {
      description = "Days until the newest key of a secret expires, as each run saw it."
      filter      = "${local.deployment_filter} AND ${local.rotation_fields.days_left}:*"
      labels      = ["secret"]
      value       = local.rotation_fields.days_left
      unit        = "d"
    }
    duration = {
      description = "Duration of the runs."
      filter      = local.deployment_filter
      labels      = ["outcome"]
      value       = local.rotation_fields.duration_ms
      unit        = "ms"
    }
    expiring = {
      description = "Runs after which the newest key expires soon."
      labels      = ["secret"]
      # A key that isn't due raises no alert, however short-lived it is.
      filter = join(" AND ", concat(
        [local.deployment_filter, local.day_filters.expiring],
        var.every_run ? [] : ["${local.rotation_fields.overdue_days}>0"],
      ))
    }
    late = {
      description = "Runs that left a key in place that ${local.late_since} days ago."
      filter      = "${local.deployment_filter} AND ${local.day_filters.late}"
      labels      = ["secret"]
    }
    not-contained = {
      description = "Compromise responses after which an old key still works."
      filter      = "${local.deployment_filter} AND ${local.rotation_fields.contained}=false"
      labels      = ["secret"]
    }
    failed-calls = {
      description = "Calls of Cloud Scheduler that failed, retries included."
      filter      = "${local.scheduler_filter} AND severity>=ERROR"
      labels      = []
    }
    good-calls = {
      description = "Calls of Cloud Scheduler that succeeded."
      filter      = "${local.scheduler_filter} AND severity<ERROR"
      labels      = []
    }
  }

  late_since = var.every_run ? "was stored" : "was due to be renewed"

  # The metrics under their names in PromQL.
  promql = {
    for kind in keys(local.metrics) : kind => "logging_googleapis_com:user_${replace("${var.name}-${kind}", "-", "_")}"
  }
}

# If the name of a metric changes, the provider creates another metric and forgets the old one. So a new name replaces
# the metrics.
resource "terraform_data" "name" {
  input = var.name
}

resource "google_logging_metric" "created" {
  for_each = local.metrics

  project          = var.project_id
  name             = "${var.name}-${each.key}"
  description      = each.value.description
  filter           = each.value.filter
  value_extractor  = can(each.value.value) ? "EXTRACT(${each.value.value})" : null
  label_extractors = { for label in each.value.labels : label => "EXTRACT(${local.rotation_fields[label]})" }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = can(each.value.value) ? "DISTRIBUTION" : "INT64"
    unit        = try(each.value.unit, "1")

    dynamic "labels" {
      for_each = each.value.labels

      content {
        key        = labels.value
        value_type = "STRING"
      }
    }
  }

  dynamic "bucket_options" {
    for_each = [for unit in ["d", "ms"] : unit if unit == try(each.value.unit, "1")]

    content {
      dynamic "explicit_buckets" {
        for_each = bucket_options.value == "d" ? [[0, 1, 2, 3, 5, 7, 10, 14, 21, 30, 45, 60, 90, 180, 365]] : []

        content {
          bounds = explicit_buckets.value
        }
      }

      dynamic "exponential_buckets" {
        for_each = bucket_options.value == "ms" ? [50] : []

        content {
          num_finite_buckets = 24
          growth_factor      = 1.6
          scale              = exponential_buckets.value
        }
      }
    }
  }

  lifecycle {
    replace_triggered_by = [terraform_data.name]

    precondition {
      condition = local.filter_lengths[each.key] <= 20000
      error_message = join(" ", [
        "Too many secrets have their own alert days, so a metric's filter exceeds 20,000 characters.",
        "Give secrets the same lifetime and no_rotation_days.",
      ])
    }
  }
}
