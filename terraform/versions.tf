terraform {
  # 1.11 is the first version with write-only arguments, which keep the first credential out of the state.
  required_version = ">= 1.11"

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

# No provider block: as a root module this one runs with the provider's defaults (every resource names its project and
# region itself), and a child module with a provider block could not be used with count, for_each or depends_on.
