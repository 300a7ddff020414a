variable "project_id" {
  description = "The Google Cloud project."
  type        = string
}

variable "region" {
  description = "The region of the function and of the application: best the one where the cache is near."
  type        = string
  default     = "us-west1"
}

variable "image" {
  description = "The application's container image. It must exist before the first apply: see README.md."
  type        = string
}

variable "cache" {
  description = "The name of the cache at Momento."
  type        = string
}

variable "momento_endpoint" {
  description = "Host of the cache's region, such as cell-4-us-west-2-1.prod.a.momentohq.com."
  type        = string
}

variable "role" {
  description = "Id of a role that can use this cache only, such as r-abcdefg."
  type        = string
}
