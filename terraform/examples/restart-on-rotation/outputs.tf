output "store_management_key_command" {
  description = "First store a v2 key that can manage keys. The command reads standard input."
  value       = module.momento_key_rotator.store_management_key_command
}

output "rotate_command" {
  description = "Then rotate. The workflow deploys the new version."
  value       = module.momento_key_rotator.rotate_command
}

output "watch_command" {
  description = "Shows the newest lines of the rotator's log."
  value       = module.momento_key_rotator.watch_command
}

output "executions_command" {
  description = "Shows the latest roll-outs and their results."
  value = join(" ", [
    "gcloud workflows executions list ${google_workflows_workflow.restart.name}",
    "--location=${var.region} --project=${var.project_id}",
  ])
}
