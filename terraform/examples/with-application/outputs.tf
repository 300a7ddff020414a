output "store_management_key_command" {
  description = "First store a v2 key that may manage keys (it is read from standard input)."
  value       = module.momento_key_rotator.store_management_key_command
}

output "run_commands" {
  description = "Then mint the first key. The application takes it within REREAD_EVERY."
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

output "application" {
  description = "The address of the application. It is not public: callers need roles/run.invoker on the service, and a token."
  value       = google_cloud_run_v2_service.application.uri
}
