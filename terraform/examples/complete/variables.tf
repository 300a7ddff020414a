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
  description = "E-mail address that gets the alerts."
  type        = string
}

variable "kms_key" {
  description = "A key of Cloud KMS in the region, for the secrets that need one."
  type        = string
}

variable "batch_role" {
  description = "Id of the role of the batch jobs' keys, such as r-abcdefg."
  type        = string
}

variable "shop_project" {
  description = "Another project, one of whose secrets is rotated."
  type        = string
}
