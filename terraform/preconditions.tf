# Settings that would cause an outage, or that Google refuses only during the apply.

locals {
  # By rule, the secrets that break it.
  refused = {
    replicas = [
      for key, secret in var.secrets :
      key if length(secret.replicas) > 0 && (secret.location != null || secret.kms_key != null)
    ]
    existing = [
      for key, secret in var.secrets : key if !coalesce(secret.create, !startswith(key, "projects/")) && (
        length(secret.replicas) > 0 || secret.kms_key != null || length(secret.labels) > 0 ||
        length(secret.topics) > 0 || secret.version_destroy_ttl != null || secret.rotation_period != null
      )
    ]
    full_name = [
      for key, secret in var.secrets :
      key if startswith(key, "projects/") && (secret.create == true || secret.location != null)
    ]
    topics = [
      for key, secret in var.secrets : key if anytrue([
        for topic in values(secret.topics) : !can(regex("^projects/[^/]+/topics/[^/]+$", topic))
      ])
    ]
    role = [
      for key, secret in var.secrets :
      key if !can(regex("^[A-Za-z0-9_.-]{1,100}$", secret.role == null ? "-" : secret.role))
    ]
    payload = [
      for key, secret in var.secrets :
      key if !contains(["json", "key"], secret.payload) || (secret.payload == "key" && secret.role == null)
    ]
    no_rotation_days = [
      for key, secret in var.secrets : key if(
        secret.no_rotation_days == null ? false :
        secret.no_rotation_days < 1 || secret.no_rotation_days > 400 ||
        floor(secret.no_rotation_days) != secret.no_rotation_days
      )
    ]
    minted = [
      for key, secret in var.secrets :
      key if var.management_key == null && (secret.role != null || secret.lifetime != null)
    ]
    due_at_once = [
      for key, left in local.left_when_due :
      key if !local.every_run && left >= local.seconds[var.secrets[key].lifetime]
    ]
    expired_before_run = [
      for key, left in local.left_when_due : key if left <= (local.every_run ? 0 : local.run_gaps[key])
    ]
    expired_in_grace = [for key, left in local.left_when_due : key if local.seconds[local.grace_period] > left]
  }

  topics_by_key = distinct(concat(
    [{ key = "requests", topic = local.requests_topic }],
    flatten([for secret in values(var.secrets) : [for key, topic in secret.topics : { key = key, topic = topic }]]),
  ))

  # Names that must be unique, and what has each name.
  unique_names = {
    same_job = [for key, job in local.jobs : { name = job.name, has = trimprefix(key, "secret-") }]
    same_secret = concat(
      [for key, name in local.secret_names : { name = name, has = key }],
      [for key in local.unrotated_management_key : { name = key.name, has = "management_key" }],
    )
    # Each key of topics has one grant.
    same_topic_key = [for pair in local.topics_by_key : { name = pair.key, has = "${pair.key} = ${pair.topic}" }]
    same_topic     = [for pair in local.topics_by_key : { name = pair.topic, has = "${pair.key} = ${pair.topic}" }]
  }
  shared = {
    for rule, pairs in local.unique_names : rule => flatten([
      for users in values({ for pair in pairs : pair.name => pair.has... }) : users if length(users) > 1
    ])
  }
  topic_conflicts = distinct(concat(local.shared.same_topic_key, local.shared.same_topic))

  affected = { for rule, keys in merge(local.refused, local.shared) : rule => "Affected: ${join(", ", keys)}." }
}

# One precondition for each rule. Then a value that isn't known when planning postpones only the rules that read it.
resource "terraform_data" "preconditions" {
  lifecycle {
    precondition {
      condition = length(local.refused.replicas) == 0
      error_message = join(" ", [
        "replicas excludes location and kms_key. Each replica can have its own kms_key.", local.affected.replicas,
      ])
    }

    precondition {
      condition = length(local.refused.existing) == 0
      error_message = join(" ", [
        "Only a secret that the module creates can have replicas, kms_key, labels, topics,",
        "version_destroy_ttl or rotation_period.", local.affected.existing,
      ])
    }

    precondition {
      condition = length(local.refused.full_name) == 0
      error_message = join(" ", [
        "The module can't create a secret whose key is a full name, and a full name contains the location.",
        "Remove create and location.",
        local.affected.full_name,
      ])
    }

    precondition {
      condition = length(local.refused.topics) == 0
      error_message = join(" ", [
        "topics must have full names as values, such as google_pubsub_topic.x.id.", local.affected.topics,
      ])
    }

    precondition {
      condition = length(local.topic_conflicts) == 0
      error_message = join(" ", [
        "Use one key for each topic, and one topic for each key, in all secrets. The key requests is that of the",
        "module's own topic. Affected: ${join(", ", local.topic_conflicts)}.",
      ])
    }

    precondition {
      condition = length(local.refused.role) == 0
      error_message = join(" ", [
        "role must be the id of a role at Momento, such as \"r-abcdefg\".", local.affected.role,
      ])
    }

    precondition {
      condition = length(local.refused.payload) == 0
      error_message = join(" ", [
        "payload must be \"json\" or \"key\". With \"key\", set role, because a bare key doesn't contain its role.",
        local.affected.payload,
      ])
    }

    precondition {
      condition     = length(local.refused.no_rotation_days) == 0
      error_message = "no_rotation_days must be a whole number from 1 to 400. ${local.affected.no_rotation_days}"
    }

    precondition {
      condition = length(local.refused.minted) == 0
      error_message = join(" ", [
        "Only a management key mints keys with a role or a lifetime of your choice.",
        "Set management_key = {}, or remove role and lifetime.", local.affected.minted,
      ])
    }

    precondition {
      condition     = !var.rotation.revoke || var.management_key != null
      error_message = "rotation.revoke needs a management key, which revokes keys. Set management_key = {}."
    }

    precondition {
      condition = !var.rotation.revoke || var.rotation.verify
      error_message = join(" ", [
        "rotation.revoke needs rotation.verify = true.",
        "Otherwise an old key could be revoked although the new one doesn't work.",
      ])
    }

    precondition {
      condition     = !var.rotation.revoke || local.seconds[local.grace_period] >= 3600
      error_message = "rotation.grace_period must be at least \"1h\" with revoke. Applications must read the new key."
    }

    precondition {
      condition = (
        local.destroy_after == null ? true : local.seconds[local.destroy_after] >= local.seconds[local.grace_period]
      )
      error_message = "rotation.destroy_after must not be shorter than the grace period, ${local.grace_period}."
    }

    precondition {
      condition     = length(local.shared.same_secret) == 0
      error_message = "Two entries name the same secret. Use one of the names. ${local.affected.same_secret}"
    }

    precondition {
      condition     = length(local.shared.same_job) == 0
      error_message = "An id and a full name give two jobs one name. Remove one schedule. ${local.affected.same_job}"
    }

    precondition {
      condition = length(local.secrets_setting) <= 32768
      error_message = join(" ", [
        "The names of the secrets exceed 32 KiB, Google's limit for a variable.",
        "Move some secrets to a second module call with another name.",
      ])
    }

    precondition {
      condition = length(local.refused.due_at_once) == 0
      error_message = join(" ", [
        "A lifetime must be longer than renew_before, ${var.rotation.renew_before}. Otherwise every run rotates.",
        "Shorten renew_before, or set it to \"always\" if that is intended.", local.affected.due_at_once,
      ])
    }

    precondition {
      condition = length(local.refused.expired_before_run) == 0
      error_message = join(" ", [
        "A key must not expire before the run that renews it. The time between two runs is longer than the time",
        "that the key has left when its renewal is due.",
        "Lengthen the lifetime, let renew_before begin earlier, or run more often.",
        local.affected.expired_before_run,
      ])
    }

    precondition {
      condition = length(local.refused.expired_in_grace) == 0
      error_message = join(" ", [
        "A superseded key must outlive its grace period, ${local.grace_period}. Applications might still use it.",
        "Shorten grace_period, lengthen the lifetime, or let renew_before begin earlier.",
        local.affected.expired_in_grace,
      ])
    }
  }
}
