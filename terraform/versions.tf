terraform {
  # Cloud Shell and Infrastructure Manager have Terraform 1.5.7.
  required_version = ">= 1.5.7"

  required_providers {
    google = {
      source = "hashicorp/google"
      # Tested with 7.45 and 8.0.
      version = ">= 7.33, < 9"
    }
    archive = {
      source  = "hashicorp/archive"
      version = "~> 2.7"
    }
    time = {
      source  = "hashicorp/time"
      version = "~> 0.13"
    }
  }
}

# There is no provider block. Every resource names its project and region, so the module works as a root module with the
# provider's defaults. A child module with a provider block couldn't be used with count, for_each or depends_on.
