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
  description = "Whether every run rotates. If not, no_rotation counts the days since a key's renewal was due."
  type        = bool
}

variable "secrets" {
  description = "The full names of the secrets, and the days of their alerts."
  type        = map(object({ name = string, expiry_days = number, no_rotation_days = number }))
}

variable "scheduler" {
  description = "The region of the jobs, the number of calls with retries, and the longest time that all calls take."
  type        = object({ region = string, calls = number, longest_run_seconds = number })
}

variable "commands" {
  description = "Commands in the texts of the alerts, and the first payload that you store on a new deployment."
  type        = object({ rotate = string, watch = string, describe_jobs = string, store = string })
}

variable "settings" {
  description = "The variable monitoring of the root module, which has the defaults. Only that module calls this one."
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
