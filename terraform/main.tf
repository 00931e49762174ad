# One stack of CloudFormation, from the template that everybody else deploys, and what has to be there before it.
#
# Nothing of the service is described in Terraform: two descriptions would differ some day, and an update by CloudFormation
# ends with what was there before where a new image does not start.

locals {
  template    = "${path.module}/../${var.worker ? "template.yaml" : "templates/core.yaml"}"
  bucket      = var.bucket == null ? aws_s3_bucket.templates[0].id : var.bucket
  bucket_host = var.bucket == null ? aws_s3_bucket.templates[0].bucket_regional_domain_name : data.aws_s3_bucket.given[0].bucket_regional_domain_name

  service_linked_roles = {
    "ecs.amazonaws.com"                         = "AWSServiceRoleForECS"
    "ecs.application-autoscaling.amazonaws.com" = "AWSServiceRoleForApplicationAutoScaling_ECSService"
  }
}

# CloudFormation would make these roles itself when it first needs them, and go on before they can be used: the first stack
# of an account would fail.
resource "aws_iam_service_linked_role" "needed" {
  for_each = var.worker && var.create_service_linked_roles ? local.service_linked_roles : {}

  aws_service_name = each.key
}

check "service_linked_roles" {
  data "aws_iam_roles" "service_linked" {
    path_prefix = "/aws-service-role/"
  }

  assert {
    condition     = !var.worker || var.create_service_linked_roles || length(setsubtract(values(local.service_linked_roles), data.aws_iam_roles.service_linked.names)) == 0
    error_message = "The account lacks a service-linked role that the stack needs: set create_service_linked_roles, or make them (README.md)."
  }
}

data "aws_s3_bucket" "given" {
  count = var.bucket == null ? 0 : 1

  bucket = var.bucket
}

resource "aws_s3_bucket" "templates" {
  count = var.bucket == null ? 1 : 0

  bucket_prefix = "soci-index-builder-"
  force_destroy = true
  tags          = var.tags
}

resource "aws_s3_bucket_public_access_block" "templates" {
  count = var.bucket == null ? 1 : 0

  bucket                  = aws_s3_bucket.templates[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# The name tells what is in it: another template has another URL, by which the stack is known to need an update.
resource "aws_s3_object" "template" {
  bucket       = local.bucket
  key          = "soci-index-builder/${filesha256(local.template)}.yaml"
  source       = local.template
  source_hash  = filesha256(local.template)
  content_type = "application/yaml"

  depends_on = [aws_s3_bucket_public_access_block.templates]
}

resource "aws_cloudformation_stack" "stack" {
  name         = var.stack_name
  template_url = "https://${local.bucket_host}/${aws_s3_object.template.key}"
  parameters   = local.parameters
  capabilities = ["CAPABILITY_IAM"]
  tags         = var.tags

  # Where CloudFormation waits until old tasks are gone, these have an hour to finish.
  timeouts {
    create = "45m"
    update = "120m"
    delete = "120m"
  }

  depends_on = [aws_iam_service_linked_role.needed]
}
