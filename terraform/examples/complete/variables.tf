variable "project_id" {
  description = "The Google Cloud project."
  type        = string
}

variable "region" {
  description = "The region of the function and of the secrets that stay in one place."
  type        = string
  default     = "europe-west1"
}

variable "oncall_email" {
  description = "Who is told when something goes wrong."
  type        = string
}

variable "kms_key" {
  description = "A key of Cloud KMS in the region, for the secrets that need one."
  type        = string
}

variable "batch_role" {
  description = "The id of the role that keys get which are minted for the batch jobs, such as r-abcdefg."
  type        = string
}

variable "initial_credentials" {
  description = "First credentials by secret id, for one apply. Ephemeral all the way: TF_VAR_initial_credentials in the environment."
  type        = map(string)
  default     = {}
  ephemeral   = true
}

variable "initial_credential_for" {
  description = "The ids of the secrets that initial_credentials has credentials for, in the same apply."
  type        = set(string)
  default     = []
}
