# One secret with the defaults. A daily run renews the key when half of its lifetime is over.

terraform {
  required_version = ">= 1.5.7"
}

variable "project_id" {
  description = "The Google Cloud project."
  type        = string
}

module "momento_key_rotator" {
  source = "../.." # elsewhere: "git::https://HOST/REPOSITORY.git//terraform?ref=TAG"

  project_id = var.project_id
}

output "store_credential_commands" {
  description = "First store the credential that Momento's console downloaded."
  value       = module.momento_key_rotator.store_credential_commands
}

output "rotate_command" {
  description = "Then rotate."
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
