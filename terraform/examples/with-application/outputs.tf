output "store_management_key" {
  description = "First store a v2 key that may manage keys (it is read from standard input)."
  value       = module.momento_key_rotator.store_management_key_command
}

output "rotate_now" {
  description = "Then mint the first key. The application takes it within REREAD_EVERY."
  value       = module.momento_key_rotator.run_commands
}

output "application" {
  description = "The address of the application. It is not public: callers need roles/run.invoker on the service, and a token."
  value       = google_cloud_run_v2_service.application.uri
}
