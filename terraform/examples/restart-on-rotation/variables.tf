variable "project_id" {
  description = "The Google Cloud project."
  type        = string
}

variable "region" {
  description = "Region of the function, the workflow and the service."
  type        = string
  default     = "us-west1"
}

variable "role" {
  description = "Id of the role of minted keys, such as r-abcdefg."
  type        = string
}

variable "service" {
  description = "Name of a Cloud Run service whose first container gets the key from an environment variable."
  type        = string
}

variable "service_account" {
  description = "E-mail address of the account that the service runs as."
  type        = string
}

variable "variable" {
  description = "Name of the environment variable that contains the key."
  type        = string
  default     = "MOMENTO_API_KEY"
}

variable "roll_out_minutes" {
  description = "How long one roll-out can take until the new revision serves. Then the workflow stops waiting."
  type        = number
  default     = 15

  validation {
    condition     = var.roll_out_minutes >= 1 && var.roll_out_minutes == floor(var.roll_out_minutes)
    error_message = "roll_out_minutes must be a whole number of at least 1."
  }
}

variable "grace_period_minutes" {
  description = "How long the rotator keeps a superseded key alive: longer than two roll-outs and ten minutes."
  type        = number
  default     = 1440

  validation {
    condition     = var.grace_period_minutes >= 0 && var.grace_period_minutes == floor(var.grace_period_minutes)
    error_message = "grace_period_minutes must be a whole number."
  }
}
