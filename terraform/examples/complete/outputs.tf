output "store_credential_commands" {
  description = "Store the first credentials, for each secret without a role that is empty."
  value       = module.momento_key_rotator.store_credential_commands
}

output "store_management_key_command" {
  description = "Store a v2 key that may manage keys (it is read from standard input)."
  value       = module.momento_key_rotator.store_management_key_command
}

output "run_commands" {
  description = "Then rotate, the secrets of each job."
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
