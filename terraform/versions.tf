terraform {
  # Checks, which this module has one of, came with 1.5. OpenTofu has had them from its first release on.
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0"
    }
  }
}
