# Written by terraform/generate of templates/registry.yaml. Change that, not this file.

output "repository_uri" {
  description = "Where the image is pushed to"
  value       = lookup(aws_cloudformation_stack.stack.outputs, "RepositoryUri", null)
}
