output "rotator" {
  description = "All outputs of the module: commands, jobs, accounts."
  value       = module.momento_key_rotator
}
