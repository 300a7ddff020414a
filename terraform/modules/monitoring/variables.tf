variable "project_id" {
  description = "The project of the function."
  type        = string
}

variable "region" {
  description = "The region of the function."
  type        = string
}

variable "name" {
  description = "Prefix of the names of the metrics and alerts."
  type        = string
}

variable "labels" {
  description = "Labels of the alerts."
  type        = map(string)
}

variable "function_name" {
  description = "Name of the function's Cloud Run service."
  type        = string
}

variable "every_run" {
  description = "Every run rotates. Otherwise the time since a key's renewal was due counts."
  type        = bool
}

variable "secrets" {
  description = "The full names of the secrets, and the days of their alerts."
  type        = map(object({ name = string, expiry_days = number, no_rotation_days = number }))
}

variable "scheduler" {
  description = "The region of the jobs, the calls of one run, and the longest time they take."
  type        = object({ region = string, calls = number, longest_run_seconds = number })
}

variable "commands" {
  description = "Commands in the texts of the alerts, and what a new deployment has to store."
  type        = object({ rotate = string, watch = string, describe_jobs = string, store = string })
}

variable "settings" {
  description = "The variable monitoring of the root module."
  type = object({
    dashboard             = bool
    notification_channels = list(string)
    auto_close            = string
    repository_url        = optional(string)
    no_rotation_days      = number
    expiry_days           = number
    alerts = map(object({
      enabled               = bool
      notification_channels = optional(list(string))
    }))
  })
}
