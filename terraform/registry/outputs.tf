# Where the image is pushed to is in stack_outputs.tf.

output "repository_name" {
  description = "Name of the repository"
  value       = regex("/(.+)$", aws_cloudformation_stack.stack.outputs["RepositoryUri"])[0]
}
