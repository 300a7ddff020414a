output "store_management_key_command" {
  description = "First store a v2 key that can manage keys. The command reads standard input."
  value       = module.momento_key_rotator.store_management_key_command
}

output "rotate_command" {
  description = "Then rotate. The application reads the new key within REREAD_EVERY."
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

output "application" {
  description = "The application's address. It isn't public: callers need roles/run.invoker and a token."
  value       = google_cloud_run_v2_service.application.uri
}
