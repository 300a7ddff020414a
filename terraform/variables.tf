# ---- where and under which name ----

variable "project_id" {
  description = "The Google Cloud project that everything is created in. Its id, not its number."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be a project's id: 6 to 30 lowercase letters, digits and hyphens, starting with a letter and not ending with a hyphen, such as \"my-project\" (not its number, not its display name)."
  }
}

variable "region" {
  description = "The region of the function, its bucket and the jobs."
  type        = string
  default     = "us-central1"
  nullable    = false

  validation {
    condition     = can(regex(local.region_pattern, var.region))
    error_message = "region must be a region such as \"us-central1\" or \"europe-west1\" (not a zone such as us-central1-a, not a multi-region such as \"eu\")."
  }
}

variable "name" {
  description = "Prefix of the names of everything that is created. Two deployments in one project need different ones."
  type        = string
  default     = "momento-key-rotator"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,98}[a-z0-9])?$", var.name)) && !strcontains(var.name, "google")
    error_message = "name must be 1 to 100 lowercase letters, digits and hyphens, starting with a letter and not ending with a hyphen, and must not contain \"google\" (bucket names may not). It is shortened where Google allows less."
  }
}

variable "labels" {
  description = "Labels of the function, the bucket, the secrets and the alert policies."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition = length(var.labels) <= 32 && alltrue([
      for key, value in var.labels :
      can(regex(local.label_key_pattern, key)) && can(regex(local.label_value_pattern, value))
    ])
    error_message = "labels must be at most 32; a key has 1 to 63 lowercase letters, digits, underscores and hyphens and starts with a letter, a value has up to 63 of them."
  }
}

variable "enable_apis" {
  description = "Whether to enable the APIs that are needed. Off, where somebody else does that for the project."
  type        = bool
  default     = true
  nullable    = false
}

# ---- what is rotated ----

variable "secrets" {
  description = "The secrets that are rotated, by their ids in Secret Manager. The README describes every attribute."
  type = map(object({
    create   = optional(bool, true)
    location = optional(string)
    replicas = optional(map(object({
      kms_key = optional(string)
    })), {})
    kms_key             = optional(string)
    labels              = optional(map(string), {})
    version_destroy_ttl = optional(string)
    deletion_protection = optional(bool, true)
    topics              = optional(list(string), [])
    role                = optional(string)
    lifetime            = optional(string)
    payload             = optional(string, "json")
    schedule            = optional(string)
    no_rotation_days    = optional(number)
  }))
  default  = { "momento-api-key" = {} }
  nullable = false

  validation {
    condition     = length(var.secrets) >= 1 && length(var.secrets) <= 100
    error_message = "secrets must name 1 to 100 secrets: one run rotates all those on the common schedule and has to end within the function's timeout."
  }

  validation {
    condition     = alltrue([for id in keys(var.secrets) : can(regex("^[A-Za-z0-9_-]{1,255}$", id))])
    error_message = "The keys of secrets must be secret ids: 1 to 255 letters, digits, hyphens and underscores. Give the id alone, not projects/PROJECT/secrets/ID."
  }

  validation {
    condition = alltrue([
      for secret in values(var.secrets) : secret.location == null || can(regex(local.region_pattern, secret.location))
    ])
    error_message = "location makes a regional secret and must be a region such as \"europe-west1\"; leave it out for a global secret."
  }

  validation {
    condition = alltrue(flatten([
      for secret in values(var.secrets) : [for location in keys(secret.replicas) : can(regex(local.region_pattern, location))]
    ]))
    error_message = "The keys of replicas must be regions such as \"europe-west1\"; leave replicas out for automatic replication."
  }

  validation {
    condition = alltrue([
      for secret in values(var.secrets) : length(secret.replicas) == 0 || (secret.location == null && secret.kms_key == null)
    ])
    error_message = "replicas goes with neither location (a regional secret has no replicas) nor kms_key (each replica has its own: replicas = { \"europe-west1\" = { kms_key = ... } })."
  }

  validation {
    condition = alltrue(flatten([
      for secret in values(var.secrets) : [
        for key in concat(secret.kms_key[*], flatten([for replica in values(secret.replicas) : replica.kms_key[*]])) :
        can(regex(local.kms_key_pattern, key))
      ]
    ]))
    error_message = "kms_key must be the full name of a key, projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY, without a version."
  }

  validation {
    condition = alltrue(flatten([
      for secret in values(var.secrets) : concat(
        [for key in secret.kms_key[*] : strcontains(key, "/locations/${coalesce(secret.location, "global")}/")],
        [for location, replica in secret.replicas : replica.kms_key == null || strcontains(coalesce(replica.kms_key, "-"), "/locations/${location}/")],
      )
    ]))
    error_message = "A kms_key must lie where the secret does: in \"global\" for automatic replication, in the replica's region for a replica, in the secret's location for a regional secret."
  }

  validation {
    condition = alltrue(flatten([
      for secret in values(var.secrets) : [
        for key, value in secret.labels :
        can(regex(local.label_key_pattern, key)) && can(regex(local.label_value_pattern, value))
      ]
    ]))
    error_message = "A secret's labels: a key has 1 to 63 lowercase letters, digits, underscores and hyphens and starts with a letter, a value has up to 63 of them."
  }

  validation {
    condition = alltrue([
      for secret in values(var.secrets) : secret.version_destroy_ttl == null || try(
        alltrue([
          for ttl in [tonumber(regex("^([0-9]{1,8})[smhd]$", secret.version_destroy_ttl)[0]) * local.unit_seconds[substr(secret.version_destroy_ttl, -1, 1)]] :
          ttl >= 86400 && ttl <= 86400000
        ]),
        false,
      )
    ])
    error_message = "version_destroy_ttl must be a duration from 1d to 1000d: a whole number and one of s, m, h, d, such as \"7d\"."
  }

  validation {
    condition = alltrue([
      for secret in values(var.secrets) : secret.schedule == null || can(regex(local.cron_pattern, secret.schedule))
    ])
    error_message = "A secret's schedule must be a cron line of five fields (minute, hour, day of month, month, day of week), such as \"17 3 * * 1\"; leave it out for the common schedule."
  }

  validation {
    condition = alltrue([
      for secret in values(var.secrets) : secret.no_rotation_days == null || try(
        secret.no_rotation_days >= 1 && secret.no_rotation_days <= 400 && floor(secret.no_rotation_days) == secret.no_rotation_days,
        false,
      )
    ])
    error_message = "A secret's no_rotation_days must be a whole number of days from 1 to 400; leave it out for that of alerts."
  }

  validation {
    condition = alltrue([
      for secret in values(var.secrets) : secret.create || (
        length(secret.replicas) == 0 && secret.kms_key == null && length(secret.labels) == 0 && secret.version_destroy_ttl == null &&
        length(secret.topics) == 0
      )
    ])
    error_message = "A secret with create = false belongs to somebody else: replicas, kms_key, labels, version_destroy_ttl and topics cannot be set here."
  }

  validation {
    condition = alltrue(flatten([
      for secret in values(var.secrets) : [
        for topic in secret.topics : can(regex("^projects/[a-z][a-z0-9-]{4,28}[a-z0-9]/topics/[A-Za-z][A-Za-z0-9_.~+%-]{2,254}$", topic))
      ]
    ]))
    error_message = "topics must be full names of Pub/Sub topics, with the project's id: projects/PROJECT/topics/TOPIC."
  }

  validation {
    condition     = alltrue([for secret in values(var.secrets) : length(secret.topics) <= 10 && length(distinct(secret.topics)) == length(secret.topics)])
    error_message = "A secret has at most 10 topics, each of them once."
  }

  validation {
    condition = alltrue([
      for secret in values(var.secrets) : secret.role == null || can(regex("^[A-Za-z0-9_.-]{1,100}$", secret.role))
    ])
    error_message = "role must be the id of a role at Momento, such as \"r-viewer\" or \"r-abcdefg\" (not its display name): 1 to 100 letters, digits, underscores, dots and hyphens."
  }

  validation {
    condition = alltrue([
      for secret in values(var.secrets) : secret.lifetime == null || can(regex("^0*[1-9][0-9]*[smhd]$", secret.lifetime)) && length(coalesce(secret.lifetime, "-")) <= 7
    ])
    error_message = "lifetime must be a duration, a whole number above 0 (at most 6 digits) and one of s, m, h, d, such as \"30d\"; leave it out for that of the current key."
  }

  validation {
    condition     = alltrue([for secret in values(var.secrets) : contains(["json", "key"], secret.payload)])
    error_message = "payload must be \"json\" (what Momento's API prints) or \"key\" (the bare key and nothing else)."
  }

  validation {
    condition     = var.management_key != null || alltrue([for secret in values(var.secrets) : secret.role == null])
    error_message = "role needs a management_key: keys of a role that you choose are minted, and that is what mints them. (Without one, a key is renewed by its own refresh token, and keeps its role.)"
  }

  validation {
    condition     = var.management_key != null || alltrue([for secret in values(var.secrets) : secret.lifetime == null])
    error_message = "lifetime needs a management_key: only keys that are minted get a lifetime that you choose. (Without one, a key is renewed by its own refresh token, and keeps its lifetime.)"
  }

  validation {
    condition     = alltrue([for secret in values(var.secrets) : secret.payload != "key" || secret.role != null])
    error_message = "payload = \"key\" needs a role: it is the form of a first key, and only a secret with a role gets that minted. Every other key keeps the form in which you store it."
  }
}

variable "management_key" {
  description = "The secret of the key by which other keys are minted and revoked: its id, and the module creates it, empty and protected; its full name where it exists already; or one of secrets, so that it renews itself. null: keys are renewed by their refresh tokens."
  type = object({
    secret              = optional(string, "momento-management-key")
    create              = optional(bool)
    deletion_protection = optional(bool, true)
  })
  default = null

  validation {
    condition = alltrue([
      for key in var.management_key[*] :
      can(regex("^(projects/[a-z][a-z0-9-]{4,28}[a-z0-9]/(locations/[a-z]+-[a-z]+[0-9]{1,2}/)?secrets/)?[A-Za-z0-9_-]{1,255}$", key.secret))
    ])
    error_message = "management_key.secret must be the id of a secret in this project, or a full name with the project's id (not its number) and without a version: projects/PROJECT/secrets/ID or projects/PROJECT/locations/REGION/secrets/ID."
  }

  validation {
    condition     = alltrue([for key in var.management_key[*] : key.create != true || !startswith(key.secret, "projects/")])
    error_message = "management_key.create goes with an id: a full name is that of a secret which exists already."
  }
}

variable "initial_credentials" {
  description = "First credentials as Momento gave them, by secret id; that of the management key, too. Never in the plan or the state. For one apply, together with initial_credential_for."
  type        = map(string)
  default     = {}
  nullable    = false
  ephemeral   = true

  validation {
    condition     = toset(keys(var.initial_credentials)) == var.initial_credential_for
    error_message = "initial_credentials must have an entry for each secret of initial_credential_for, and no others. Both are for one apply: afterwards leave both out."
  }

  validation {
    condition = alltrue([
      for credential in values(var.initial_credentials) : length(credential) <= 65536 && (
        var.management_key != null && can(regex("^\\s*[A-Za-z0-9_.+/=-]+\\s*$", credential)) ||
        anytrue([
          for field in ["apiKey", "authToken", "apiToken", "api_key"] : try(length(jsondecode(credential)[field]) > 0, false)
        ]) &&
        (var.management_key != null || anytrue([
          for field in ["refreshToken", "refresh_token"] : try(length(jsondecode(credential)[field]) > 0, false)
        ]))
      )
    ])
    error_message = "Each of initial_credentials must be what Momento's console, API or CLI gave, as it is, at most 64 KiB: a JSON object with the key (apiKey, or api_key) and its refresh token (refreshToken, or refresh_token). With a management_key it needs no refresh token, and may be the bare key."
  }
}

variable "initial_credential_for" {
  description = "The ids of the secrets that get their first credential from initial_credentials in this apply. (A separate variable, because Terraform must know them, and must not know the credentials.)"
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for id in var.initial_credential_for : try(local.created_secrets[id].location == null, false)])
    error_message = "initial_credential_for may only name global secrets that this module creates: an existing secret has its credential, and the provider's regional secret version would write it into the state (outputs store_credential_commands and store_management_key_command have the commands instead)."
  }

  validation {
    condition     = alltrue([for id in var.initial_credential_for : try(var.secrets[id].payload, "json") == "json"])
    error_message = "initial_credential_for may not name a secret with payload = \"key\": that is the form of a first key that is minted. What is stored here keeps the form that it has, through every rotation; so leave payload out, and give the bare key if readers want that."
  }
}

# ---- when ----

variable "schedule" {
  description = "When the secrets without a schedule of their own are rotated, as a cron line. Daily, off the full hour, at which Google's schedulers are busiest: if a day's run fails, there are more before any sensible expiry."
  type        = string
  default     = "17 3 * * *"
  nullable    = false

  validation {
    condition     = can(regex(local.cron_pattern, var.schedule))
    error_message = "schedule must be a cron line of five fields (minute, hour, day of month, month, day of week), such as \"17 3 * * *\" for daily at 03:17."
  }
}

variable "time_zone" {
  description = "The time zone of all schedules, as in the tz database."
  type        = string
  default     = "Etc/UTC"
  nullable    = false

  validation {
    condition     = can(regex("^(UTC|GMT|[A-Z][A-Za-z_]+(/[A-Z][A-Za-z0-9_+-]*){1,2})$", var.time_zone))
    error_message = "time_zone must be a name from the tz database, such as \"Etc/UTC\" or \"Europe/Berlin\" (not an abbreviation such as CET, not an offset such as +01:00)."
  }
}

variable "scheduler_region" {
  description = "The region of the jobs, if not that of the function (Cloud Scheduler is not in every region)."
  type        = string
  default     = null

  validation {
    condition     = var.scheduler_region == null || can(regex(local.region_pattern, var.scheduler_region))
    error_message = "scheduler_region must be a region such as \"us-central1\", or left out for that of the function."
  }
}

variable "paused" {
  description = "Whether the scheduled jobs are paused. What run_commands has still works."
  type        = bool
  default     = false
  nullable    = false
}

# ---- how ----

variable "renew_before" {
  description = "Rotate only if this little of a key's life remains: a duration (14d), a share of its lifetime (33%), or both (50%,48h), of which the larger counts. A share alone is completed by twice the time between two runs. null: every run rotates."
  type        = string
  default     = "50%"

  validation {
    condition = var.renew_before == null || (
      can(regex("^([1-9][0-9]?%|([1-9][0-9]?%,)?[0-9]{1,6}[smhd])$", var.renew_before)) &&
      !can(regex("(^|,)0+[smhd]$", var.renew_before))
    )
    error_message = "renew_before must be a duration such as \"14d\", a share of the key's lifetime from \"1%\" to \"99%\", or both such as \"50%,48h\". A duration is a whole number above 0 (at most 6 digits) and one of s, m, h, d. null rotates in every run."
  }
}

variable "grace_period" {
  description = "How long a superseded version stays enabled, and with revoke its key good. null: 7d with revoke, else 1h. Secret Manager may take minutes until every reader of latest gets the new one; with 0, such a reader fails until then."
  type        = string
  default     = null

  validation {
    condition     = var.grace_period == null || can(regex("^(0|[0-9]{1,6}[smhd])$", var.grace_period))
    error_message = "grace_period must be \"0\" or a duration, a whole number (at most 6 digits) and one of s, m, h, d, such as \"36h\"; null is 7d with revoke, and 1h without."
  }

  validation {
    condition = var.grace_period == null || !var.revoke || try(
      tonumber(regex("^[0-9]+", var.grace_period)) * lookup(local.unit_seconds, substr(var.grace_period, -1, 1), 0) >= 3600,
      true,
    )
    error_message = "grace_period must be at least \"1h\" with revoke: a key that is revoked is good only for so long after its successor came, and readers need time to get that one."
  }
}

variable "destroy_after" {
  description = "Destroy a disabled version this long after it was superseded. null: never; each one costs $0.06 a month."
  type        = string
  default     = "30d"

  validation {
    condition     = var.destroy_after == null || can(regex("^(0|[0-9]{1,6}[smhd])$", var.destroy_after))
    error_message = "destroy_after must be \"0\" or a duration, a whole number (at most 6 digits) and one of s, m, h, d, such as \"30d\"; null keeps versions for ever."
  }

  validation {
    condition = var.destroy_after == null || try(
      tonumber(regex("^[0-9]+", var.destroy_after)) * lookup(local.unit_seconds, substr(var.destroy_after, -1, 1), 0) >=
      tonumber(regex("^[0-9]+", local.grace_period)) * lookup(local.unit_seconds, substr(local.grace_period, -1, 1), 0),
      true,
    )
    error_message = "destroy_after must not be shorter than grace_period (7d with revoke, 1h without, unless you set it), during which a version stays enabled."
  }
}

variable "verify" {
  description = "Whether to prove a new key with Momento before it is stored."
  type        = bool
  default     = true
  nullable    = false
}

variable "revoke" {
  description = "Whether keys that were minted are revoked at Momento once no enabled version holds them any more. Otherwise they end at their own expiry."
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = !var.revoke || var.management_key != null
    error_message = "revoke needs a management_key: it is what revokes keys."
  }

  validation {
    condition     = !var.revoke || var.verify
    error_message = "revoke needs verify: an old key is ended only when the new one is proved to work."
  }
}

variable "momento_endpoint" {
  description = "The host that verifies v2 keys whose secret names no endpoint. null: Momento's HTTP API for keys verifies them."
  type        = string
  default     = null

  validation {
    condition = var.momento_endpoint == null || (
      can(regex("^[A-Za-z0-9-]{1,63}(\\.[A-Za-z0-9-]{1,63})+$", var.momento_endpoint)) &&
      !can(regex("^(?i:cache|control|token)\\.", var.momento_endpoint)) && length(coalesce(var.momento_endpoint, "-")) <= 253
    )
    error_message = "momento_endpoint must be a host such as \"cell-4-us-west-2-1.prod.a.momentohq.com\", without a scheme, a port, a path, or a prefix cache., control. or token."
  }
}

variable "momento_refresh_path" {
  description = "The path at which v2 keys are refreshed, on the host of Momento's HTTP API for keys. null: /api-keys/refresh, as Momento documents it. Minted keys don't need it."
  type        = string
  default     = null

  validation {
    condition     = var.momento_refresh_path == null || can(regex("^(/[A-Za-z0-9_.~-]+)+$", var.momento_refresh_path))
    error_message = "momento_refresh_path must be a path such as \"/api-keys/refresh\", without a host."
  }
}

# ---- the function ----

variable "timeout_seconds" {
  description = "The longest that one run may take."
  type        = number
  default     = 540
  nullable    = false

  validation {
    condition     = var.timeout_seconds >= 120 && var.timeout_seconds <= 1800 && floor(var.timeout_seconds) == var.timeout_seconds
    error_message = "timeout_seconds must be a whole number from 120 (a refresh alone can take 60 s, and its answer has to be stored) to 1800 (Cloud Scheduler waits no longer)."
  }
}

variable "memory" {
  description = "The memory of the function. A rotation was measured to take 87 MiB at its peak; the default leaves room for many secrets at once."
  type        = string
  default     = "256Mi"
  nullable    = false

  validation {
    condition = try(
      alltrue([
        for part in [regex("^([1-9][0-9]{0,4})(Mi|Gi)$", var.memory)] :
        part[0] * { Mi = 1, Gi = 1024 }[part[1]] >= 256 && part[0] * { Mi = 1, Gi = 1024 }[part[1]] <= 4096
      ]),
      false,
    )
    error_message = "memory must be a whole number with the unit Mi or Gi, from 256Mi to 4Gi, such as \"512Mi\"."
  }
}

variable "cpu" {
  description = "The vCPUs of the function. At least one: Google serves requests concurrently only then, and the answer to a second call has to come from the instance that is busy with the first."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = contains([1, 2], var.cpu)
    error_message = "cpu must be 1 or 2: below 1 there is no concurrency, and above 2 Google asks for more memory than this function can use."
  }
}

variable "ingress" {
  description = "Where calls may come from. Whoever calls needs roles/run.invoker in any case."
  type        = string
  default     = "ALLOW_INTERNAL_ONLY"
  nullable    = false

  validation {
    condition     = contains(["ALLOW_INTERNAL_ONLY", "ALLOW_INTERNAL_AND_GCLB", "ALLOW_ALL"], var.ingress)
    error_message = "ingress must be ALLOW_INTERNAL_ONLY, ALLOW_INTERNAL_AND_GCLB or ALLOW_ALL."
  }
}

variable "vpc_connector" {
  description = "A Serverless VPC Access connector for outgoing calls, where an organisation policy asks for one."
  type        = string
  default     = null

  validation {
    condition     = var.vpc_connector == null || can(regex("^projects/[^/]+/locations/[^/]+/connectors/[a-z]([a-z0-9-]{0,23}[a-z0-9])?$", var.vpc_connector))
    error_message = "vpc_connector must be the full name of a connector, projects/PROJECT/locations/REGION/connectors/CONNECTOR."
  }
}

variable "vpc_egress" {
  description = "Which outgoing calls go through vpc_connector. With ALL_TRAFFIC its network needs a way to the internet (Cloud NAT), where Momento is."
  type        = string
  default     = "PRIVATE_RANGES_ONLY"
  nullable    = false

  validation {
    condition     = contains(["PRIVATE_RANGES_ONLY", "ALL_TRAFFIC"], var.vpc_egress)
    error_message = "vpc_egress must be PRIVATE_RANGES_ONLY or ALL_TRAFFIC."
  }

  validation {
    condition     = var.vpc_egress == "PRIVATE_RANGES_ONLY" || var.vpc_connector != null
    error_message = "vpc_egress = \"ALL_TRAFFIC\" needs a vpc_connector."
  }
}

variable "build_worker_pool" {
  description = "A Cloud Build private pool for the build, where an organisation policy asks for one. It must reach the npm registry."
  type        = string
  default     = null

  validation {
    condition     = var.build_worker_pool == null || can(regex("^projects/[^/]+/locations/[^/]+/workerPools/[^/]+$", var.build_worker_pool))
    error_message = "build_worker_pool must be the full name of a pool, projects/PROJECT/locations/REGION/workerPools/POOL."
  }
}

# ---- watching it ----

variable "notification_channels" {
  description = "The Cloud Monitoring channels that alerts are sent to. None: incidents only show in the console."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for channel in var.notification_channels : can(regex("^projects/[^/]+/notificationChannels/[^/]+$", channel))])
    error_message = "notification_channels must be full names, projects/PROJECT/notificationChannels/ID, as `gcloud beta monitoring channels list` shows them (not e-mail addresses)."
  }

  validation {
    condition     = length(var.notification_channels) <= 16 && length(distinct(var.notification_channels)) == length(var.notification_channels)
    error_message = "notification_channels must be at most 16, each of them once."
  }
}

variable "alerts" {
  description = "Which alert policies there are: all of them (enabled), a failed run (failed_run), a job that failed for good (failed_job), a key that is so many days late, and no success at all in as many (no_rotation_days, 0 = off), a key that expires within so many days (expiry_days, 0 = off)."
  type = object({
    enabled          = optional(bool, true)
    failed_run       = optional(bool, true)
    failed_job       = optional(bool, true)
    no_rotation_days = optional(number, 3)
    expiry_days      = optional(number, 7)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.alerts.no_rotation_days >= 0 && var.alerts.no_rotation_days <= 400 && floor(var.alerts.no_rotation_days) == var.alerts.no_rotation_days
    error_message = "alerts.no_rotation_days must be a whole number of days from 1 to 400, or 0 for no such alert. It must be longer than the time between two scheduled runs."
  }

  validation {
    condition     = var.alerts.expiry_days >= 0 && var.alerts.expiry_days <= 3650
    error_message = "alerts.expiry_days must be a number of days up to 3650, or 0 for no such alert."
  }

  validation {
    condition = try(
      var.alerts.expiry_days * 86400 < tonumber(regex("^([0-9]+)[smhd]$", var.renew_before)[0]) * local.unit_seconds[substr(var.renew_before, -1, 1)],
      true,
    )
    error_message = "alerts.expiry_days must be less than renew_before: a key that is not due yet raises no alarm, so this one would come later than it says."
  }
}

variable "dashboard" {
  description = "Whether there is a dashboard."
  type        = bool
  default     = true
  nullable    = false
}
