# The repository for the image of soci-index-builder, as a stack of its own: the image has to be there before the functions,
# and stays when the service goes. An account needs it once in a region, for all stacks.

resource "aws_cloudformation_stack" "stack" {
  name          = var.stack_name
  template_body = file("${path.module}/../../templates/registry.yaml")
  parameters    = local.parameters
  tags          = var.tags
}
