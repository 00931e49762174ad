# Written by terraform/generate of templates/registry.yaml. Change that, not this file.

variable "repository_name" {
  description = "Name of the repository. An account has one of it in a region. Default: soci-index-builder."
  type        = string
  default     = null

  validation {
    condition     = var.repository_name == null ? true : length(var.repository_name) <= 256
    error_message = "It has at most 256 characters."
  }

  validation {
    condition     = var.repository_name == null ? true : length(var.repository_name) >= 2
    error_message = "It has at least 2 characters."
  }

  validation {
    condition     = var.repository_name == null ? true : can(regex("^[a-z0-9]+([._/-]+[a-z0-9]+)*$", var.repository_name))
    error_message = "The template's AllowedPattern does not take it."
  }
}

variable "kms_key_arn" {
  description = "Customer managed key for the images. Empty for a key of AWS. It cannot be changed later. Default: \"\"."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null ? true : can(regex("^(arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+)?$", var.kms_key_arn))
    error_message = "The template's AllowedPattern does not take it."
  }
}

variable "organization_id" {
  description = "Organization whose accounts may pull the image as well. Empty for this account only. Default: \"\"."
  type        = string
  default     = null

  validation {
    condition     = var.organization_id == null ? true : can(regex("^(o-[a-z0-9]{10,32})?$", var.organization_id))
    error_message = "The template's AllowedPattern does not take it."
  }
}

locals {
  required = {
  }
  optional = {
    RepositoryName = var.repository_name
    KmsKeyArn      = var.kms_key_arn
    OrganizationId = var.organization_id
  }
  parameters = merge(local.required, { for name, value in local.optional : name => value if value != null })
}
