output "store_credential_commands" {
  description = "By secret: stores a first credential. Secrets with a role need none."
  value       = module.momento_key_rotator.store_credential_commands
}

output "store_management_key_command" {
  description = "First store a v2 key that can manage keys. The command reads standard input."
  value       = module.momento_key_rotator.store_management_key_command
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
