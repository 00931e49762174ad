# Written by terraform/generate of template.yaml. Change that, not this file.

output "logs_url" {
  description = "What the functions, the worker and the operator's commands say"
  value       = lookup(aws_cloudformation_stack.stack.outputs, "LogsUrl", null)
}

output "queue_url" {
  description = "The live queue"
  value       = lookup(aws_cloudformation_stack.stack.outputs, "QueueUrl", null)
}

output "small_images_queue_url" {
  description = "The queue of the index Lambda"
  value       = lookup(aws_cloudformation_stack.stack.outputs, "SmallImagesQueueUrl", null)
}

output "backfill_queue_url" {
  description = "The queue of jobs that can wait"
  value       = lookup(aws_cloudformation_stack.stack.outputs, "BackfillQueueUrl", null)
}

output "dead_letter_queue_url" {
  description = "The queue of what failed for good"
  value       = lookup(aws_cloudformation_stack.stack.outputs, "DeadLetterQueueUrl", null)
}

output "archive_arn" {
  description = "The archive of events, for aws events start-replay"
  value       = lookup(aws_cloudformation_stack.stack.outputs, "ArchiveArn", null)
}

output "security_group_id" {
  description = "Security group of the tasks. Allow port 8080 in it to scrape /metrics"
  value       = lookup(aws_cloudformation_stack.stack.outputs, "SecurityGroupId", null)
}

output "task_failure_log_group_name" {
  description = "Log group that says why tasks stopped"
  value       = lookup(aws_cloudformation_stack.stack.outputs, "TaskFailureLogGroupName", null)
}

output "backfill_command" {
  description = "Enqueues all images that the filters match and that have no index. Runs replay, queue and dead-letters as well"
  value       = lookup(aws_cloudformation_stack.stack.outputs, "BackfillCommand", null)
}

output "dashboard_url" {
  description = "Jobs, bytes, durations, backlog and tasks at a glance"
  value       = lookup(aws_cloudformation_stack.stack.outputs, "DashboardUrl", null)
}
