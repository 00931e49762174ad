# What is about the stack itself. Its outputs are in stack_outputs.tf; those of a resource that is not there are null.

output "stack_id" {
  description = "ARN of the stack"
  value       = aws_cloudformation_stack.stack.id
}
