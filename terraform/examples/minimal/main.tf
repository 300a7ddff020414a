# One secret, looked at daily and renewed when half of its life is over: what most people need.

terraform {
  required_version = ">= 1.11"
}

variable "project_id" {
  description = "The Google Cloud project."
  type        = string
}

module "momento_key_rotator" {
  source = "../.." # elsewhere: "git::https://HOST/REPOSITORY.git//terraform?ref=v1.0.0"

  project_id = var.project_id
}

output "store_credential_commands" {
  description = "First store the credential that Momento's console downloaded."
  value       = module.momento_key_rotator.store_credential_commands
}

output "run_commands" {
  description = "Then rotate it."
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
