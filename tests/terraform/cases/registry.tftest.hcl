# The repository's stack.

mock_provider "aws" {
  mock_resource "aws_cloudformation_stack" {
    defaults = {
      outputs = { RepositoryUri = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/tools/soci" }
    }
  }
}

run "what_is_not_given_has_the_templates_default" {
  assert {
    condition     = aws_cloudformation_stack.stack.parameters != null && length(aws_cloudformation_stack.stack.parameters) == 0 && aws_cloudformation_stack.stack.name == "soci-index-builder-registry"
    error_message = "The stack has other parameters or another name than that of ./deploy."
  }

  assert {
    condition     = aws_cloudformation_stack.stack.template_body == file("../../templates/registry.yaml")
    error_message = "The stack has another template."
  }

  assert {
    condition     = output.repository_uri == "123456789012.dkr.ecr.eu-west-1.amazonaws.com/tools/soci" && output.repository_name == "tools/soci"
    error_message = "Outputs are not those of the stack."
  }
}

run "every_parameter_arrives" {
  command = plan

  variables {
    repository_name = "tools/soci"
    kms_key_arn     = "arn:aws:kms:eu-west-1:123456789012:key/0a1b"
    organization_id = "o-0123456789"
  }

  assert {
    condition = aws_cloudformation_stack.stack.parameters == tomap({
      RepositoryName = "tools/soci"
      KmsKeyArn      = "arn:aws:kms:eu-west-1:123456789012:key/0a1b"
      OrganizationId = "o-0123456789"
    })
    error_message = "The stack gets other parameters than were given."
  }
}

run "what_cloudformation_would_refuse_shows_in_the_plan" {
  command = plan

  variables {
    repository_name = "Soci"
    organization_id = "123456789012"
  }

  expect_failures = [var.repository_name, var.organization_id]
}
