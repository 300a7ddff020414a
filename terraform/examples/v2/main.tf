# One secret whose keys are minted, from the first one on, and revoked a week after they were replaced. What a new customer of
# Momento needs, whose keys are v2.

terraform {
  required_version = ">= 1.11"

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
  description = "The id of the role that your application's keys get, as Momento's console shows it, such as r-abcdefg."
  type        = string
}

module "momento_key_rotator" {
  source = "../.." # elsewhere: "git::https://HOST/REPOSITORY.git//terraform?ref=v1.0.0"

  project_id = var.project_id

  management_key = {}
  revoke         = true

  secrets = {
    momento-api-key = { role = var.role, lifetime = "30d" }
  }
}

output "store_management_key_command" {
  description = "First store a v2 key that may manage keys (it is read from standard input)."
  value       = module.momento_key_rotator.store_management_key_command
}

output "run_commands" {
  description = "Then mint the first key."
  value       = module.momento_key_rotator.run_commands
}

output "log_command" {
  description = "Then see that it worked."
  value       = module.momento_key_rotator.log_command
}

output "service_accounts" {
  description = "Whom to grant what is missing, and whom to cut off after a leak."
  value       = module.momento_key_rotator.service_accounts
}

output "source_object" {
  description = "What is deployed, to compare with a release."
  value       = module.momento_key_rotator.source_object
}
