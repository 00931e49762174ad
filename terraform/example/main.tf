# The whole: the repository, the image in it, and the service. It needs the program soci-index-builder of the release
# (README.md, "Install it"), which copies the image without Docker, with the credentials that the provider has.

terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0"
    }
  }
}

variable "filters" {
  description = "Which images get an index."
  type        = list(string)
  default     = ["prod*:*"]
}

variable "image" {
  description = "The released image, without its tag."
  type        = string
  default     = "ghcr.io/soci-index-builder/soci-index-builder"
}

variable "image_version" {
  description = "The release, such as 1.2.3."
  type        = string
}

# Elsewhere the sources are git::https://github.com/soci-index-builder/soci-index-builder//terraform?ref=vVERSION, and
# the same with //terraform/registry.
module "registry" {
  source = "../registry"
}

resource "terraform_data" "image" {
  triggers_replace = [var.image, var.image_version, module.registry.repository_uri]

  provisioner "local-exec" {
    command = "soci-index-builder copy ${var.image}:${var.image_version} ${module.registry.repository_uri}:${var.image_version}-x86_64 --platform linux/amd64"
  }
}

# Functions and tasks name the digest.
data "aws_ecr_image" "builder" {
  repository_name = module.registry.repository_name
  image_tag       = "${var.image_version}-x86_64"

  depends_on = [terraform_data.image]
}

module "soci" {
  source = "./.."

  image_uri                         = data.aws_ecr_image.builder.image_uri
  soci_repository_image_tag_filters = var.filters
  max_tasks                         = 8
}

output "dashboard_url" {
  description = "The service at a glance"
  value       = module.soci.dashboard_url
}
