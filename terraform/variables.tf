# What is about the stack itself. Its parameters are in parameters.tf.

variable "stack_name" {
  description = "Name of the stack."
  type        = string
  default     = "soci"
  nullable    = false
}

variable "worker" {
  description = "Whether there is a worker on Fargate beside the functions (template.yaml). Without one it is templates/core.yaml, which takes the parameters that are about functions and queues."
  type        = bool
  default     = true
  nullable    = false
}

variable "bucket" {
  description = "Bucket that the template goes through, as it is longer than what CloudFormation takes in a request. Null for one that is made."
  type        = string
  default     = null
}

variable "create_service_linked_roles" {
  description = "Whether the service-linked roles of ECS and Application Auto Scaling are made. New accounts lack them, and creation fails where they are there."
  type        = bool
  default     = false
  nullable    = false
}

variable "tags" {
  description = "Tags of the stack, which CloudFormation gives to what it makes, and of what is made beside it."
  type        = map(string)
  default     = {}
  nullable    = false
}
