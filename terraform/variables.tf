# ---- the project ----

variable "project_id" {
  description = "The id of the Google Cloud project, not its number."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id must be a project's id such as \"my-project\", not its number or its display name."
  }
}

variable "region" {
  description = "The region of the function, its bucket and its jobs."
  type        = string
  default     = "us-central1"
  nullable    = false
}

variable "name" {
  description = "Prefix of all names except those of secrets. Two deployments in one project need different prefixes."
  type        = string
  default     = "momento-key-rotator"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,78}[a-z0-9])?$", var.name)) && !strcontains(var.name, "google")
    error_message = "name must be 1 to 80 lowercase letters, digits and inner hyphens, without \"google\"."
  }
}

variable "labels" {
  description = "Labels of all resources that can have them."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "enable_apis" {
  description = "Enable the APIs that the module needs. The module never disables an API."
  type        = bool
  default     = true
  nullable    = false
}

variable "wait_for_propagation" {
  description = "Seconds that Terraform waits after new grants, and a third of it after enabling APIs."
  type        = number
  default     = 180
  nullable    = false

  validation {
    condition     = var.wait_for_propagation >= 0 && floor(var.wait_for_propagation) == var.wait_for_propagation
    error_message = "wait_for_propagation must be a whole number of seconds, 0 or more. With 0, Terraform doesn't wait."
  }
}

# ---- the keys ----

variable "secrets" {
  description = "The rotated secrets, by their ids, or by their full names for secrets of other projects."
  type = map(object({
    create   = optional(bool)        # the module creates the secret; default: true for an id, false for a full name
    location = optional(string)      # region of a regional secret
    replicas = optional(map(object({ # regions of a global secret
      kms_key = optional(string)     # CMEK of this replica
    })), {})
    kms_key             = optional(string)          # CMEK of automatic replication or of a region
    labels              = optional(map(string), {}) # added to the common labels
    version_destroy_ttl = optional(string)          # how long destroyed versions can be restored
    deletion_protection = optional(bool, true)      # the provider refuses to delete the secret
    topics              = optional(map(string), {}) # topics for notifications: { KEY = FULL_NAME }
    rotation_period     = optional(string)          # Secret Manager's own rotation schedule, such as 30d
    role                = optional(string)          # id of minted keys' role at Momento; default: the current key's
    lifetime            = optional(string)          # lifetime of minted keys, such as 30d; default: the current key's
    payload             = optional(string, "json")  # format of a first key, json or key
    schedule            = optional(string)          # cron line of a job of its own
    no_rotation_days    = optional(number)          # as in monitoring, for this secret; default: that of monitoring
  }))
  default  = { "momento-api-key" = {} }
  nullable = false

  validation {
    condition     = length(var.secrets) >= 1 && length(var.secrets) <= 500
    error_message = "secrets must have 1 to 500 entries."
  }

  validation {
    condition = alltrue([
      for key in keys(var.secrets) : can(regex(
        "^(projects/[a-z][a-z0-9-]{4,28}[a-z0-9]/(locations/[a-z0-9-]+/)?secrets/)?[A-Za-z0-9_-]{1,255}$", key
      ))
    ])
    error_message = join(" ", [
      "The keys of the map secrets must be ids (\"momento-api-key\"), or full names with a project's id.",
      "Affected: ${join(", ", [
        for key in keys(var.secrets) : key if !can(regex(
          "^(projects/[a-z][a-z0-9-]{4,28}[a-z0-9]/(locations/[a-z0-9-]+/)?secrets/)?[A-Za-z0-9_-]{1,255}$", key
        ))
      ])}.",
    ])
  }

  validation {
    condition = alltrue(flatten([
      for secret in values(var.secrets) : [
        for duration in concat(secret.version_destroy_ttl[*], secret.rotation_period[*], secret.lifetime[*]) :
        can(regex("^[1-9][0-9]{0,5}[smhd]$", duration))
      ]
    ]))
    error_message = join(" ", [
      "version_destroy_ttl, rotation_period and lifetime must be durations above 0 such as \"30d\".",
      "Affected: ${join(", ", flatten([
        for key, secret in var.secrets : [
          for duration in concat(secret.version_destroy_ttl[*], secret.rotation_period[*], secret.lifetime[*]) :
          "${key} (${duration})" if !can(regex("^[1-9][0-9]{0,5}[smhd]$", duration))
        ]
      ]))}.",
    ])
  }
}

variable "management_key" {
  description = "The secret of the key that mints and revokes keys. null: keys are renewed by their refresh tokens."
  type = object({
    secret              = optional(string, "momento-management-key") # id, full name, or a key of secrets
    create              = optional(bool)                             # the module creates it; default: as for secrets
    deletion_protection = optional(bool, true)                       # the provider refuses to delete the secret
  })
  default = null

  validation {
    condition = alltrue([
      for key in var.management_key[*] : can(regex(
        "^(projects/[a-z][a-z0-9-]{4,28}[a-z0-9]/(locations/[a-z0-9-]+/)?secrets/)?[A-Za-z0-9_-]{1,255}$", key.secret
      )) && (key.create != true || !startswith(key.secret, "projects/"))
    ])
    error_message = "management_key.secret must be an id, or the full name of an existing secret with its project's id."
  }
}

variable "rotation" {
  description = "When keys are renewed, and what happens to superseded versions."
  type = object({
    renew_before  = optional(string, "50%") # a duration, a share, both, or always: every run rotates
    grace_period  = optional(string)        # how long old versions stay enabled; default: 7d with revoke, else 1h
    destroy_after = optional(string, "30d") # when disabled versions are destroyed, or never
    verify        = optional(bool, true)    # verify a new key before it is stored
    revoke        = optional(bool, false)   # revoke minted keys that no enabled version contains
  })
  default  = {}
  nullable = false

  validation {
    condition = can(regex(
      "^(always|[1-9][0-9]?%(,[1-9][0-9]{0,5}[smhd])?|[1-9][0-9]{0,5}[smhd])$", var.rotation.renew_before
    ))
    error_message = "rotation.renew_before must be a duration (\"14d\"), a share (\"50%\"), both, or \"always\"."
  }

  validation {
    condition = (
      can(regex("^(0|[0-9]{1,6}[smhd])$", coalesce(var.rotation.grace_period, "0"))) &&
      can(regex("^(0|never|[0-9]{1,6}[smhd])$", var.rotation.destroy_after))
    )
    error_message = "grace_period and destroy_after must be \"0\" or durations (\"36h\"), destroy_after also \"never\"."
  }
}

variable "momento" {
  description = "Addresses of Momento, where they differ from the defaults."
  type = object({
    endpoint     = optional(string) # host that verifies v2 keys whose payload names none
    refresh_path = optional(string) # path of the refresh; default: the function's
  })
  default  = {}
  nullable = false

  validation {
    condition = alltrue([
      for host in var.momento.endpoint[*] :
      can(regex("^[A-Za-z0-9-]+(\\.[A-Za-z0-9-]+)+$", host)) && !can(regex("^(?i:cache|control|token)\\.", host))
    ])
    error_message = "momento.endpoint must be a host alone, without the prefix cache., control. or token."
  }

  validation {
    condition     = alltrue([for path in var.momento.refresh_path[*] : can(regex("^(/[A-Za-z0-9_.~-]+)+$", path))])
    error_message = "momento.refresh_path must be a path such as \"/api-keys/refresh\"."
  }
}

# ---- when and by whom ----

variable "schedule" {
  description = "The common schedule of the secrets."
  type = object({
    cron      = optional(string, "17 3 * * *") # cron line of the job. Daily runs leave more runs before an expiry
    time_zone = optional(string, "Etc/UTC")    # time zone of all jobs
    region    = optional(string)               # region of all jobs, if region has no Cloud Scheduler; default: region
    paused    = optional(bool, false)          # pause all jobs. Operator requests still work
  })
  default  = {}
  nullable = false
}

variable "publishers" {
  description = "IAM members that can publish operator requests, by keys of your choice. Owners and editors always can."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition = alltrue([
      for member in values(var.publishers) : can(regex("^(user|group|serviceAccount|principal|principalSet):", member))
    ])
    error_message = "publishers must be users, groups, service accounts or principals: { a = \"group:a@example.com\" }."
  }
}

variable "dead_letter_topic" {
  description = "The topic for requests that fail 100 times: { id = FULL_NAME }. null: Pub/Sub drops them after a week."
  type = object({
    id = string # full name, projects/PROJECT/topics/TOPIC
  })
  default = null

  validation {
    condition = alltrue([
      for topic in var.dead_letter_topic[*] : can(regex("^projects/[^/]+/topics/[^/]+$", topic.id))
    ])
    error_message = "dead_letter_topic.id must be a full name: projects/PROJECT/topics/TOPIC."
  }
}

# ---- the function ----

variable "function" {
  description = "Timeout, memory, CPU, ingress and build pool of the function."
  type = object({
    timeout_seconds   = optional(number, 540)                   # timeout of a request, 120 to 570
    memory            = optional(string, "256Mi")               # 256Mi to 4Gi
    cpu               = optional(number, 1)                     # 1 or 2. Below 1, Google serves one request at a time
    ingress           = optional(string, "ALLOW_INTERNAL_ONLY") # where calls can come from
    build_worker_pool = optional(string)                        # full name of a private pool of Cloud Build
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.function.timeout_seconds >= 120 && var.function.timeout_seconds <= 570
    error_message = "function.timeout_seconds must be 120 to 570, because Pub/Sub waits at most 600 s for an answer."
  }

  validation {
    condition = can(regex(
      "^((25[6-9]|2[6-9][0-9]|[3-9][0-9]{2}|[1-3][0-9]{3}|40[0-8][0-9]|409[0-6])Mi|[1-4]Gi)$", var.function.memory
    ))
    error_message = "function.memory must be 256Mi to 4Gi, in whole Mi or Gi."
  }

  validation {
    condition     = contains([1, 2], var.function.cpu)
    error_message = "function.cpu must be 1 or 2. With less than 1, Google serves only one call at a time."
  }
}

variable "network" {
  description = "How the function reaches a VPC: through a connector, or with direct VPC egress. Default: no VPC."
  type = object({
    connector  = optional(string)           # full name of a Serverless VPC Access connector
    network    = optional(string)           # direct VPC egress: name of a network of this project
    subnetwork = optional(string)           # direct VPC egress: name, or full name for a Shared VPC
    tags       = optional(list(string), []) # network tags of direct VPC egress
    all_egress = optional(bool, false)      # all calls, not only private ranges. The VPC then needs Cloud NAT
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.network.connector == null || (var.network.network == null && var.network.subnetwork == null)
    error_message = "network must not have a connector together with a network or a subnetwork."
  }

  validation {
    condition = (
      (!var.network.all_egress && length(var.network.tags) == 0) ||
      length(compact([var.network.connector, var.network.network, var.network.subnetwork])) > 0
    )
    error_message = "network.all_egress and network.tags need a connector, a network or a subnetwork."
  }
}

variable "service_accounts" {
  description = "Existing service accounts, { email = ADDRESS }, instead of those that the module creates."
  type = object({
    runtime = optional(object({ email = string })) # runs the function, in this project; default: a new account
    build   = optional(object({ email = string })) # builds the function, in this project; default: a new account
    invoker = optional(object({ email = string })) # calls the function, in this project; default: a new account
  })
  default  = {}
  nullable = false

  validation {
    condition = alltrue([
      for account in values(var.service_accounts) : can(regex("^[^:@]+@[^:@]+$", account.email)) if account != null
    ])
    error_message = "The emails of service_accounts must be addresses without the prefix serviceAccount:."
  }
}

variable "source_archive" {
  description = "Path of a release's zip, which is deployed instead of the repository around the module."
  type        = string
  default     = null

  validation {
    condition     = var.source_archive == null ? true : fileexists(var.source_archive)
    error_message = "source_archive must be the path of a file. Download the zip of a release."
  }
}

# ---- monitoring ----

variable "monitoring" {
  description = "Log-based metrics, alerts and a dashboard."
  type = object({
    enabled               = optional(bool, true)       # create metrics, alerts and the dashboard
    dashboard             = optional(bool, true)       # create the dashboard
    notification_channels = optional(list(string), []) # full names of the channels of all alerts
    auto_close            = optional(string, "86400s") # incidents without data close after this time
    repository_url        = optional(string)           # root of this repository's pages, to which alerts link
    no_rotation_days      = optional(number, 3)        # days after a due renewal, 1 to 400
    expiry_days           = optional(number, 7)        # days before the expiry of a key that is due
    alerts = optional(map(object({                     # settings of single alerts, see Monitoring
      enabled               = optional(bool, true)     # create this alert
      notification_channels = optional(list(string))   # instead of the common channels
    })), {})
  })
  default  = {}
  nullable = false

  validation {
    condition = length(setsubtract(keys(var.monitoring.alerts), [
      "failed_run", "failed_job", "no_rotation", "no_success", "expiry", "not_contained",
    ])) == 0
    error_message = "The keys of monitoring.alerts must be names of alerts, such as failed_run: README, Monitoring."
  }

  validation {
    condition = (
      var.monitoring.no_rotation_days >= 1 && var.monitoring.no_rotation_days <= 400 &&
      floor(var.monitoring.no_rotation_days) == var.monitoring.no_rotation_days && var.monitoring.expiry_days > 0
    )
    error_message = "monitoring.no_rotation_days must be a whole number from 1 to 400, and expiry_days above 0."
  }
}
