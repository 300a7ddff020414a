terraform {
  required_version = ">= 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.33, < 9"
    }
  }
}

# Everything in the module names its project and region; this is for the resources of this example.
provider "google" {
  project = var.project_id
  region  = var.region
}
