# The example, planned: what cannot be known before the image is there is not needed before.

mock_provider "aws" {
  mock_data "aws_iam_roles" {
    defaults = { names = ["AWSServiceRoleForECS", "AWSServiceRoleForApplicationAutoScaling_ECSService"] }
  }
}

run "it_can_be_planned_before_there_is_an_image" {
  command = plan

  variables {
    image_version = "1.2.3"
    filters       = ["canary-*:*"]
  }

  assert {
    condition     = length(var.filters) == 1
    error_message = "There are other filters."
  }
}
