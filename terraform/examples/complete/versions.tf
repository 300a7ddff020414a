terraform {
  required_version = ">= 1.5.7"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.33, < 9"
    }
  }
}

# For the resources of this example. The module names project and region itself.
provider "google" {
  project = var.project_id
  region  = var.region
}
