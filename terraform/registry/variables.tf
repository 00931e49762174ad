# What is about the stack itself. Its parameters are in parameters.tf.

variable "stack_name" {
  description = "Name of the stack. `./deploy` calls it the same."
  type        = string
  default     = "soci-index-builder-registry"
  nullable    = false
}

variable "tags" {
  description = "Tags of the stack and of the repository."
  type        = map(string)
  default     = {}
  nullable    = false
}
