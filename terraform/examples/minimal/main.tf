# One secret, looked at daily and renewed when half of its life is over: what most people need.

terraform {
  required_version = ">= 1.11"
}

variable "project_id" {
  description = "The Google Cloud project."
  type        = string
}

module "momento_key_rotator" {
  source = "../.." # elsewhere: "git::https://HOST/REPOSITORY.git//terraform?ref=TAG"

  project_id = var.project_id
}

output "store_credential" {
  description = "Store the first credential with this, then rotate it."
  value       = module.momento_key_rotator.store_credential_commands
}

output "rotate_now" {
  value = module.momento_key_rotator.run_commands
}
