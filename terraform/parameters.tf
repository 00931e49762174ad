# Written by terraform/generate of template.yaml. Change that, not this file.

variable "soci_repository_image_tag_filters" {
  description = "Which images get an index: one to twenty filters repository:tag, separated by commas. * stands for anything: prod*:* is all of repositories that begin with prod. Roles reach the repositories that the filters name and no other, which is why there is a limit. Default: *:*."
  type        = list(string)
  default     = null

  validation {
    condition     = var.soci_repository_image_tag_filters == null ? true : length(join(",", var.soci_repository_image_tag_filters)) <= 2400
    error_message = "It has at most 2400 characters."
  }
}

variable "event_types" {
  description = "Events that bring images, of pushes, replication and the pull-through cache. Default: \"ECR Image Action\"."
  type        = list(string)
  default     = null

  validation {
    condition     = var.event_types == null ? true : alltrue([for item in var.event_types : can(regex("^ECR (Image|Replication|Pull Through Cache) Action$", item))])
    error_message = "The template's AllowedPattern does not take it."
  }
}

variable "platforms" {
  description = "Platforms that are indexed, such as linux/amd64,linux/arm64. Empty for all. Default: \"\"."
  type        = list(string)
  default     = null

  validation {
    condition     = var.platforms == null ? true : can(regex("^(\\w+(/\\w+){1,2}(,\\w+(/\\w+){1,2})*)?$", join(",", var.platforms)))
    error_message = "The template's AllowedPattern does not take it."
  }
}

variable "soci_index_version" {
  description = "V2 pushes a converted image under a tag of its own, for Fargate and soci-snapshotter from 0.10 on. V1 attaches the index to the image. Fargate reads V1 only for accounts that used SOCI before V2 came; in others it does nothing there. Default: V2."
  type        = string
  default     = null

  validation {
    condition     = var.soci_index_version == null ? true : contains(["V1", "V2"], var.soci_index_version)
    error_message = "It is one of V1, V2."
  }
}

variable "image_uri" {
  description = "The image of soci-index-builder in a private repository of ECR in this region (docs/DEPLOY.md): a whole URI, or only NAME:TAG or NAME@DIGEST for the registry of the account and region that the stack is in, as stack sets need it."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^([0-9]{12}\\.dkr\\.ecr\\.[a-z0-9-]+\\.(amazonaws\\.com(\\.cn)?|amazonaws\\.eu|c2s\\.ic\\.gov|sc2s\\.sgov\\.gov|cloud\\.adc-e\\.uk|csp\\.hci\\.ic\\.gov)/[a-z0-9][a-z0-9._/-]*|[a-z0-9][a-z0-9_-]*(/[a-z0-9][a-z0-9._/-]*)?)(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?$", var.image_uri))
    error_message = "The template's AllowedPattern does not take it."
  }
}

variable "output_tag_suffix" {
  description = "V2 only. What is added to an image's tag for the converted image. Empty replaces the image, which Lambda cannot start then. Default: -soci."
  type        = string
  default     = null

  validation {
    condition     = var.output_tag_suffix == null ? true : can(regex("^[A-Za-z0-9._-]{0,64}$", var.output_tag_suffix))
    error_message = "The template's AllowedPattern does not take it."
  }
}

variable "span_size" {
  description = "Bytes between two points of a layer at which reading can begin, such as 4MiB. Part of every digest. Default: 4MiB."
  type        = string
  default     = null

  validation {
    condition     = var.span_size == null ? true : can(regex("^[1-9][0-9]{0,14}([KMG]iB)?$", var.span_size))
    error_message = "The template's AllowedPattern does not take it."
  }
}

variable "min_layer_size" {
  description = "Smaller layers are not indexed but downloaded whole. 0, or bytes in KiB, MiB or GiB. Default: 10MiB."
  type        = string
  default     = null

  validation {
    condition     = var.min_layer_size == null ? true : can(regex("^(0|[1-9][0-9]{0,14}([KMG]iB)?)$", var.min_layer_size))
    error_message = "The template's AllowedPattern does not take it."
  }
}

variable "reuse_ztocs" {
  description = "Whose ztocs are taken for layers that were indexed before. repository: also those that SOCI indexes in the image's own repository name, whoever pushed them. process: only those that the same task has built. Default: repository."
  type        = string
  default     = null

  validation {
    condition     = var.reuse_ztocs == null ? true : contains(["repository", "process", "never"], var.reuse_ztocs)
    error_message = "It is one of repository, process, never."
  }
}

variable "remove_results" {
  description = "Whether an image's result is deleted when the image is, or its tag. Needs ECR Image Action in EventTypes, and lets the roles delete images. Default: false."
  type        = bool
  default     = null
}

variable "compatible_with" {
  description = "Who reads the indexes: any soci-snapshotter (0.11), or those from 0.14 on (0.16). Default: 0.11."
  type        = string
  default     = null

  validation {
    condition     = var.compatible_with == null ? true : contains(["0.11", "0.16"], var.compatible_with)
    error_message = "It is one of 0.11, 0.16."
  }
}

variable "prefetch" {
  description = "What is fetched before a layer is mounted. With CompatibleWith 0.16 only. Default: none."
  type        = string
  default     = null

  validation {
    condition     = var.prefetch == null ? true : contains(["none", "label", "auto"], var.prefetch)
    error_message = "It is one of none, label, auto."
  }
}

variable "architecture" {
  description = "Processors of worker and functions, not of the images. Default: x86_64."
  type        = string
  default     = null

  validation {
    condition     = var.architecture == null ? true : contains(["x86_64", "arm64"], var.architecture)
    error_message = "It is one of x86_64, arm64."
  }
}

variable "index_lambda_max_image_size" {
  description = "Images of at most so many compressed bytes go to a Lambda function at once, and others to Fargate. 0 sends all there. Default: 512MiB."
  type        = string
  default     = null

  validation {
    condition     = var.index_lambda_max_image_size == null ? true : can(regex("^(0|[1-9][0-9]{0,12}([KMG]iB)?)$", var.index_lambda_max_image_size))
    error_message = "The template's AllowedPattern does not take it."
  }
}

variable "index_lambda_memory" {
  description = "Memory of the index Lambda in MiB. 1769 are one vCPU. Default: 1792."
  type        = number
  default     = null

  validation {
    condition     = var.index_lambda_memory == null ? true : var.index_lambda_memory >= 512
    error_message = "It is at least 512."
  }

  validation {
    condition     = var.index_lambda_memory == null ? true : var.index_lambda_memory <= 10240
    error_message = "It is at most 10240."
  }
}

variable "index_lambda_max_concurrency" {
  description = "Images that the index Lambda works on at most; others wait in its queue. ECR takes ten manifests a second from a whole account. Default: 5."
  type        = number
  default     = null

  validation {
    condition     = var.index_lambda_max_concurrency == null ? true : var.index_lambda_max_concurrency >= 2
    error_message = "It is at least 2."
  }

  validation {
    condition     = var.index_lambda_max_concurrency == null ? true : var.index_lambda_max_concurrency <= 1000
    error_message = "It is at most 1000."
  }
}

variable "index_lambda_reserved_concurrency" {
  description = "Reserved concurrency of the index Lambda, not below IndexLambdaMaxConcurrency; without a worker twice that and 2. Empty for none. Default: \"\"."
  type        = string
  default     = null

  validation {
    condition     = var.index_lambda_reserved_concurrency == null ? true : can(regex("^([1-9][0-9]{0,3})?$", var.index_lambda_reserved_concurrency))
    error_message = "The template's AllowedPattern does not take it."
  }
}

variable "filter_lambda_reserved_concurrency" {
  description = "Events that the filter Lambda works on at most. Empty for no limit. Default: \"\"."
  type        = string
  default     = null

  validation {
    condition     = var.filter_lambda_reserved_concurrency == null ? true : can(regex("^([1-9][0-9]{0,3})?$", var.filter_lambda_reserved_concurrency))
    error_message = "The template's AllowedPattern does not take it."
  }
}

variable "log_retention_days" {
  description = "Days that logs are kept, also when the stack is deleted. Default: 30."
  type        = number
  default     = null

  validation {
    condition     = var.log_retention_days == null ? true : contains([1, 3, 5, 7, 14, 30, 60, 90, 180, 365, 731, 1827, 3653], var.log_retention_days)
    error_message = "It is one of 1, 3, 5, 7, 14, 30, 60, 90, 180, 365, 731, 1827, 3653."
  }
}

variable "log_level" {
  description = "error, warn, info, debug, trace, or filters such as info,registry=debug. Default: info."
  type        = string
  default     = null

  validation {
    condition     = var.log_level == null ? true : can(regex("^[a-z_]+(=[a-z]+)?(,[a-z_]+(=[a-z]+)?)*$", var.log_level))
    error_message = "The template's AllowedPattern does not take it."
  }
}

variable "event_bus" {
  description = "Event bus that is told how each image ends, its name in this region and account or its ARN. Empty for none. Default: \"\"."
  type        = string
  default     = null

  validation {
    condition     = var.event_bus == null ? true : length(var.event_bus) <= 160
    error_message = "It has at most 160 characters."
  }

  validation {
    condition     = var.event_bus == null ? true : can(regex("^((arn:aws[a-z-]*:events:[a-z0-9-]+:[0-9]{12}:event-bus/)?[A-Za-z0-9._/-]+)?$", var.event_bus))
    error_message = "The template's AllowedPattern does not take it."
  }
}

variable "alarm_topic_arn" {
  description = "SNS topic that alarms are sent to. Empty for alarms that only show. Its policy has to let cloudwatch.amazonaws.com publish, and it may not be encrypted with the AWS managed key, or alarms get lost without a word (docs/NETWORK.md). Default: \"\"."
  type        = string
  default     = null

  validation {
    condition     = var.alarm_topic_arn == null ? true : can(regex("^(arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+)?$", var.alarm_topic_arn))
    error_message = "The template's AllowedPattern does not take it."
  }
}

variable "runbook_url" {
  description = "Where your people find docs/RUNBOOK.md. Alarms, dead letters and the status page lead to its sections. Default: docs/RUNBOOK.md."
  type        = string
  default     = null

  validation {
    condition     = var.runbook_url == null ? true : can(regex("^[!-~]{1,500}$", var.runbook_url))
    error_message = "The template's AllowedPattern does not take it."
  }
}

variable "oldest_message_alarm_seconds" {
  description = "Seconds that an image may wait and be worked on before an alarm tells of it. Default: 3600."
  type        = number
  default     = null

  validation {
    condition     = var.oldest_message_alarm_seconds == null ? true : var.oldest_message_alarm_seconds >= 300
    error_message = "It is at least 300."
  }
}

variable "backfill_archive_days" {
  description = "Days for which EventBridge keeps events of pushes for a replay. 0 for no archive. Default: 0."
  type        = number
  default     = null

  validation {
    condition     = var.backfill_archive_days == null ? true : var.backfill_archive_days >= 0
    error_message = "It is at least 0."
  }
}

variable "kms_key_arn" {
  description = "Customer managed key for queues and logs; docs/NETWORK.md has its policy. Empty for keys of AWS. Default: \"\"."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null ? true : can(regex("^(arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+)?$", var.kms_key_arn))
    error_message = "The template's AllowedPattern does not take it."
  }
}

variable "iam_permissions_boundary_arn" {
  description = "ARN of the permissions boundary of all roles, or none. Default: none."
  type        = string
  default     = null

  validation {
    condition     = var.iam_permissions_boundary_arn == null ? true : can(regex("^(none|arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/.+)$", var.iam_permissions_boundary_arn))
    error_message = "The template's AllowedPattern does not take it."
  }
}

variable "vpc_id" {
  description = "VPC of the worker. Empty for a small one of its own with an internet gateway, public subnets in the first two zones, which have to have Fargate, and no NAT gateway. Default: \"\"."
  type        = string
  default     = null

  validation {
    condition     = var.vpc_id == null ? true : can(regex("^(vpc-[0-9a-f]+)?$", var.vpc_id))
    error_message = "The template's AllowedPattern does not take it."
  }
}

variable "subnet_ids" {
  description = "Subnets of that VPC for the worker, separated by commas without blanks. Default: \"\"."
  type        = list(string)
  default     = null

  validation {
    condition     = var.subnet_ids == null ? true : can(regex("^(subnet-[0-9a-f]+(,subnet-[0-9a-f]+)*)?$", join(",", var.subnet_ids)))
    error_message = "The template's AllowedPattern does not take it."
  }
}

variable "assign_public_ip" {
  description = "Whether tasks in those subnets get public addresses. Without they need a NAT gateway or VPC endpoints (docs/NETWORK.md). Default: DISABLED."
  type        = string
  default     = null

  validation {
    condition     = var.assign_public_ip == null ? true : contains(["DISABLED", "ENABLED"], var.assign_public_ip)
    error_message = "It is one of DISABLED, ENABLED."
  }
}

variable "task_cpu" {
  description = "CPU units of a worker's task; 1024 are one vCPU. A layer takes one vCPU. Default: 2048."
  type        = string
  default     = null

  validation {
    condition     = var.task_cpu == null ? true : contains(["256", "512", "1024", "2048", "4096", "8192", "16384"], var.task_cpu)
    error_message = "It is one of 256, 512, 1024, 2048, 4096, 8192, 16384."
  }
}

variable "task_memory" {
  description = "Memory of a worker's task in MiB, such as 4096. Fargate has some for each CPU. Default: 4096."
  type        = string
  default     = null
}

variable "min_tasks" {
  description = "Tasks that always run. With 0 the first image waits for a task. Default: 0."
  type        = number
  default     = null

  validation {
    condition     = var.min_tasks == null ? true : var.min_tasks >= 0
    error_message = "It is at least 0."
  }
}

variable "max_tasks" {
  description = "Tasks that run at most. Default: 4."
  type        = number
  default     = null

  validation {
    condition     = var.max_tasks == null ? true : var.max_tasks >= 1
    error_message = "It is at least 1."
  }
}

variable "spot_share" {
  description = "Per cent of the tasks that run on Fargate Spot. An interrupted task gives its images back. Default: 0."
  type        = string
  default     = null

  validation {
    condition     = var.spot_share == null ? true : contains(["0", "25", "50", "75", "100"], var.spot_share)
    error_message = "It is one of 0, 25, 50, 75, 100."
  }
}

variable "max_concurrent_images" {
  description = "Images that a task works on. Default: 4."
  type        = number
  default     = null

  validation {
    condition     = var.max_concurrent_images == null ? true : var.max_concurrent_images >= 1
    error_message = "It is at least 1."
  }
}

variable "target_backlog_per_task" {
  description = "Images, waiting or in work, by task. Default: 8."
  type        = number
  default     = null

  validation {
    condition     = var.target_backlog_per_task == null ? true : var.target_backlog_per_task >= 1
    error_message = "It is at least 1."
  }
}

variable "queue_ages" {
  description = "Whether workers ask CloudWatch each minute how old the queues' oldest messages are, for a dollar a month each. Default: false."
  type        = bool
  default     = null
}

variable "dead_letters_on_page" {
  description = "Whether the status page lists dead letters, for which workers may receive from their queue. Default: false."
  type        = bool
  default     = null
}

variable "log_format" {
  description = "How tasks log. The dashboard and its queries read JSON. Default: json."
  type        = string
  default     = null

  validation {
    condition     = var.log_format == null ? true : contains(["json", "text"], var.log_format)
    error_message = "It is one of json, text."
  }
}

variable "otlp_endpoint" {
  description = "Collector that tasks send traces to by OTLP over HTTP, such as http://collector.internal:4318. Empty for none. Default: \"\"."
  type        = string
  default     = null

  validation {
    condition     = var.otlp_endpoint == null ? true : can(regex("^(https?://[!-~]{1,300})?$", var.otlp_endpoint))
    error_message = "The template's AllowedPattern does not take it."
  }
}

variable "https_proxy" {
  description = "Proxy through which the program in tasks reaches AWS, such as http://proxy.internal:3128. Empty for none. Fargate fetches the task's image and writes its logs without it, so endpoints for ECR, S3 and logs are needed all the same. Default: \"\"."
  type        = string
  default     = null

  validation {
    condition     = var.https_proxy == null ? true : can(regex("^(https?://[!-~]{1,300})?$", var.https_proxy))
    error_message = "The template's AllowedPattern does not take it."
  }
}

variable "no_proxy" {
  description = "What tasks reach without the proxy. The addresses of ECS have to be among them, as credentials come from there. Default: 169.254.170.2,169.254.170.23,169.254.169.254,localhost,127.0.0.1."
  type        = string
  default     = null

  validation {
    condition     = var.no_proxy == null ? true : can(regex("^[!-~]{1,500}$", var.no_proxy))
    error_message = "The template's AllowedPattern does not take it."
  }
}

locals {
  required = {
    ImageUri = var.image_uri
  }
  optional = {
    SociRepositoryImageTagFilters   = var.soci_repository_image_tag_filters == null ? null : join(",", var.soci_repository_image_tag_filters)
    EventTypes                      = var.event_types == null ? null : join(",", var.event_types)
    Platforms                       = var.platforms == null ? null : join(",", var.platforms)
    SociIndexVersion                = var.soci_index_version
    OutputTagSuffix                 = var.output_tag_suffix
    SpanSize                        = var.span_size
    MinLayerSize                    = var.min_layer_size
    ReuseZtocs                      = var.reuse_ztocs
    RemoveResults                   = var.remove_results == null ? null : tostring(var.remove_results)
    CompatibleWith                  = var.compatible_with
    Prefetch                        = var.prefetch
    Architecture                    = var.architecture
    IndexLambdaMaxImageSize         = var.index_lambda_max_image_size
    IndexLambdaMemory               = var.index_lambda_memory == null ? null : tostring(var.index_lambda_memory)
    IndexLambdaMaxConcurrency       = var.index_lambda_max_concurrency == null ? null : tostring(var.index_lambda_max_concurrency)
    IndexLambdaReservedConcurrency  = var.index_lambda_reserved_concurrency
    FilterLambdaReservedConcurrency = var.filter_lambda_reserved_concurrency
    LogRetentionDays                = var.log_retention_days == null ? null : tostring(var.log_retention_days)
    LogLevel                        = var.log_level
    EventBus                        = var.event_bus
    AlarmTopicArn                   = var.alarm_topic_arn
    RunbookUrl                      = var.runbook_url
    OldestMessageAlarmSeconds       = var.oldest_message_alarm_seconds == null ? null : tostring(var.oldest_message_alarm_seconds)
    BackfillArchiveDays             = var.backfill_archive_days == null ? null : tostring(var.backfill_archive_days)
    KmsKeyArn                       = var.kms_key_arn
    IamPermissionsBoundaryArn       = var.iam_permissions_boundary_arn
    VpcId                           = var.vpc_id
    SubnetIds                       = var.subnet_ids == null ? null : join(",", var.subnet_ids)
    AssignPublicIp                  = var.assign_public_ip
    TaskCpu                         = var.task_cpu
    TaskMemory                      = var.task_memory
    MinTasks                        = var.min_tasks == null ? null : tostring(var.min_tasks)
    MaxTasks                        = var.max_tasks == null ? null : tostring(var.max_tasks)
    SpotShare                       = var.spot_share
    MaxConcurrentImages             = var.max_concurrent_images == null ? null : tostring(var.max_concurrent_images)
    TargetBacklogPerTask            = var.target_backlog_per_task == null ? null : tostring(var.target_backlog_per_task)
    QueueAges                       = var.queue_ages == null ? null : tostring(var.queue_ages)
    DeadLettersOnPage               = var.dead_letters_on_page == null ? null : tostring(var.dead_letters_on_page)
    LogFormat                       = var.log_format
    OtlpEndpoint                    = var.otlp_endpoint
    HttpsProxy                      = var.https_proxy
    NoProxy                         = var.no_proxy
  }
  parameters = merge(local.required, { for name, value in local.optional : name => value if value != null })
}
