# The module, planned and applied with values that stand in for AWS's.

mock_provider "aws" {
  mock_resource "aws_s3_bucket" {
    defaults = {
      id                          = "soci-index-builder-1"
      bucket_regional_domain_name = "soci-index-builder-1.s3.eu-west-1.amazonaws.com"
    }
  }

  mock_resource "aws_cloudformation_stack" {
    defaults = {
      id      = "arn:aws:cloudformation:eu-west-1:123456789012:stack/soci/1"
      outputs = { QueueUrl = "https://sqs.eu-west-1.amazonaws.com/123456789012/soci-Queue" }
    }
  }

  mock_data "aws_s3_bucket" {
    defaults = { bucket_regional_domain_name = "mine.s3.cn-north-1.amazonaws.com.cn" }
  }

  mock_data "aws_iam_roles" {
    defaults = { names = ["AWSServiceRoleForECS", "AWSServiceRoleForApplicationAutoScaling_ECSService", "AWSServiceRoleForSupport"] }
  }
}

variables {
  image_uri = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/soci-index-builder:1"
}

run "what_is_not_given_has_the_templates_default" {
  command = plan

  assert {
    condition     = aws_cloudformation_stack.stack.parameters == tomap({ ImageUri = var.image_uri })
    error_message = "Something else than the image is given to the stack."
  }

  assert {
    condition     = aws_cloudformation_stack.stack.name == "soci" && aws_cloudformation_stack.stack.capabilities == toset(["CAPABILITY_IAM"])
    error_message = "The stack has another name, or lacks the capability to make roles."
  }

  assert {
    condition     = length(aws_iam_service_linked_role.needed) == 0 && length(aws_s3_bucket.templates) == 1
    error_message = "Roles are made, or no bucket is."
  }
}

run "every_parameter_arrives" {
  command = plan

  variables {
    soci_repository_image_tag_filters  = ["prod*:v*", "team/*:*"]
    event_types                        = ["ECR Image Action", "ECR Replication Action"]
    platforms                          = ["linux/amd64", "linux/arm64"]
    soci_index_version                 = "V1"
    image_uri                          = "soci-index-builder@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    output_tag_suffix                  = ""
    span_size                          = "1MiB"
    min_layer_size                     = "0"
    compatible_with                    = "0.16"
    prefetch                           = "auto"
    reuse_ztocs                        = "process"
    remove_results                     = true
    architecture                       = "arm64"
    index_lambda_max_image_size        = "256MiB"
    index_lambda_memory                = 3008
    index_lambda_max_concurrency       = 2
    index_lambda_reserved_concurrency  = "5"
    filter_lambda_reserved_concurrency = 6
    log_retention_days                 = 3653
    log_level                          = "info,registry=debug"
    alarm_topic_arn                    = "arn:aws:sns:eu-west-1:123456789012:alarms"
    runbook_url                        = "https://wiki.example/runbook?a=$${b}"
    oldest_message_alarm_seconds       = 300
    backfill_archive_days              = 7
    kms_key_arn                        = "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/0a1b"
    iam_permissions_boundary_arn       = "arn:aws:iam::123456789012:policy/boundary"
    vpc_id                             = "vpc-0a1b"
    subnet_ids                         = ["subnet-0a", "subnet-0b"]
    assign_public_ip                   = "ENABLED"
    task_cpu                           = 4096
    task_memory                        = "8192"
    min_tasks                          = 1
    max_tasks                          = 1000000
    spot_share                         = "75"
    max_concurrent_images              = 8
    target_backlog_per_task            = 16
    event_bus                          = "images"
    queue_ages                         = true
    dead_letters_on_page               = false
    log_format                         = "text"
    otlp_endpoint                      = "http://collector.internal:4318"
    https_proxy                        = "http://proxy.internal:3128"
    no_proxy                           = "169.254.170.2"
  }

  assert {
    condition = aws_cloudformation_stack.stack.parameters == tomap({
      SociRepositoryImageTagFilters   = "prod*:v*,team/*:*"
      EventTypes                      = "ECR Image Action,ECR Replication Action"
      Platforms                       = "linux/amd64,linux/arm64"
      SociIndexVersion                = "V1"
      ImageUri                        = "soci-index-builder@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
      OutputTagSuffix                 = ""
      SpanSize                        = "1MiB"
      MinLayerSize                    = "0"
      CompatibleWith                  = "0.16"
      Prefetch                        = "auto"
      ReuseZtocs                      = "process"
      RemoveResults                   = "true"
      Architecture                    = "arm64"
      IndexLambdaMaxImageSize         = "256MiB"
      IndexLambdaMemory               = "3008"
      IndexLambdaMaxConcurrency       = "2"
      IndexLambdaReservedConcurrency  = "5"
      FilterLambdaReservedConcurrency = "6"
      LogRetentionDays                = "3653"
      LogLevel                        = "info,registry=debug"
      AlarmTopicArn                   = "arn:aws:sns:eu-west-1:123456789012:alarms"
      EventBus                        = "images"
      RunbookUrl                      = "https://wiki.example/runbook?a=$${b}"
      OldestMessageAlarmSeconds       = "300"
      BackfillArchiveDays             = "7"
      KmsKeyArn                       = "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/0a1b"
      IamPermissionsBoundaryArn       = "arn:aws:iam::123456789012:policy/boundary"
      VpcId                           = "vpc-0a1b"
      SubnetIds                       = "subnet-0a,subnet-0b"
      AssignPublicIp                  = "ENABLED"
      TaskCpu                         = "4096"
      TaskMemory                      = "8192"
      MinTasks                        = "1"
      MaxTasks                        = "1000000"
      SpotShare                       = "75"
      MaxConcurrentImages             = "8"
      TargetBacklogPerTask            = "16"
      QueueAges                       = "true"
      DeadLettersOnPage               = "false"
      LogFormat                       = "text"
      OtlpEndpoint                    = "http://collector.internal:4318"
      HttpsProxy                      = "http://proxy.internal:3128"
      NoProxy                         = "169.254.170.2"
    })
    error_message = "The stack gets other parameters than were given."
  }
}

run "the_template_goes_through_a_bucket_under_a_name_that_changes_with_it" {
  assert {
    condition = (aws_cloudformation_stack.stack.template_url ==
    "https://soci-index-builder-1.s3.eu-west-1.amazonaws.com/soci-index-builder/${filesha256("../template.yaml")}.yaml")
    error_message = "The stack has another template."
  }

  assert {
    condition     = aws_s3_object.template.bucket == "soci-index-builder-1" && endswith(aws_s3_object.template.source, "/template.yaml")
    error_message = "Another file is uploaded, or to another bucket."
  }

  assert {
    condition     = alltrue([for block in aws_s3_bucket_public_access_block.templates : block.block_public_acls && block.block_public_policy && block.ignore_public_acls && block.restrict_public_buckets])
    error_message = "The bucket may become public."
  }

  assert {
    condition     = output.queue_url == "https://sqs.eu-west-1.amazonaws.com/123456789012/soci-Queue" && output.archive_arn == null && startswith(output.stack_id, "arn:")
    error_message = "Outputs are not those of the stack."
  }
}

run "functions_alone_through_a_bucket_that_is_there" {
  variables {
    stack_name                  = "small"
    worker                      = false
    bucket                      = "mine"
    create_service_linked_roles = true
    tags                        = { team = "images" }
  }

  assert {
    condition = (aws_cloudformation_stack.stack.template_url ==
    "https://mine.s3.cn-north-1.amazonaws.com.cn/soci-index-builder/${filesha256("../templates/core.yaml")}.yaml")
    error_message = "The stack has another template."
  }

  assert {
    condition     = aws_s3_object.template.bucket == "mine" && length(aws_s3_bucket.templates) == 0 && length(aws_iam_service_linked_role.needed) == 0
    error_message = "A bucket is made beside the one that is given, or roles that nobody needs."
  }

  assert {
    condition     = aws_cloudformation_stack.stack.name == "small" && aws_cloudformation_stack.stack.tags == tomap({ team = "images" })
    error_message = "The stack has another name or other tags."
  }
}

run "roles_are_made_where_that_is_asked_for" {
  command = plan

  variables {
    create_service_linked_roles = true
  }

  assert {
    condition = ([for role in aws_iam_service_linked_role.needed : role.aws_service_name] ==
    ["ecs.amazonaws.com", "ecs.application-autoscaling.amazonaws.com"])
    error_message = "Other roles are made."
  }
}

run "a_role_that_is_missing_is_told" {
  command = plan

  override_data {
    target = data.aws_iam_roles.service_linked
    values = { names = ["AWSServiceRoleForECS"] }
  }

  expect_failures = [check.service_linked_roles]
}

run "what_cloudformation_would_refuse_shows_in_the_plan" {
  command = plan

  variables {
    image_uri                         = "docker.io/soci-index-builder:1"
    soci_repository_image_tag_filters = [for number in range(300) : "prod${number}:v*"]
    event_types                       = ["ECR Image Action", "ECR Image Scan"]
    task_cpu                          = 1000
    index_lambda_memory               = 128
    index_lambda_max_concurrency      = 1001
    log_retention_days                = 2
    subnet_ids                        = ["subnet-0a", "subnet-xyz"]
  }

  expect_failures = [
    var.image_uri, var.soci_repository_image_tag_filters, var.event_types, var.task_cpu, var.index_lambda_memory,
    var.index_lambda_max_concurrency, var.log_retention_days, var.subnet_ids,
  ]
}
