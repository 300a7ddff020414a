# One secret. The rotator mints every key, also the first one, and revokes each key a week after it was superseded.

terraform {
  required_version = ">= 1.5.7"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.33, < 9"
    }
  }
}

variable "project_id" {
  description = "The Google Cloud project."
  type        = string
}

variable "role" {
  description = "Id of the role that the application's keys get, such as r-abcdefg."
  type        = string
}

variable "notification_channels" {
  description = "Full names of the notification channels of all alerts. Without one, alerts notify nobody."
  type        = list(string)
  default     = []
}

module "momento_key_rotator" {
  source = "../.." # elsewhere: "git::https://HOST/REPOSITORY.git//terraform?ref=TAG"

  project_id     = var.project_id
  management_key = {}
  rotation       = { revoke = true }
  monitoring     = { notification_channels = var.notification_channels }

  secrets = {
    momento-api-key = { role = var.role, lifetime = "30d" }

    # The management key renews itself, and the alerts watch its expiry.
    momento-management-key = { lifetime = "90d" }
  }
}

output "store_management_key_command" {
  description = "First store a v2 key that can manage keys. The command reads standard input."
  value       = module.momento_key_rotator.store_management_key_command
}

output "rotate_command" {
  description = "Then rotate. The first run mints the first key."
  value       = module.momento_key_rotator.rotate_command
}

output "compromised_command" {
  description = "By secret: replaces a leaked key and revokes it."
  value       = module.momento_key_rotator.compromised_command
}

output "watch_command" {
  description = "Shows the newest lines of the log."
  value       = module.momento_key_rotator.watch_command
}

output "service_accounts" {
  description = "E-mail addresses of the accounts runtime, build and invoker."
  value       = module.momento_key_rotator.service_accounts
}

output "source_object" {
  description = "The deployed source, to compare with a release."
  value       = module.momento_key_rotator.source_object
}
