terraform {
  required_version = ">= 1.9" # a variable's validation may name another variable

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

resource "aws_cloudformation_stack" "timeout" {
  name         = var.name
  template_url = var.template_url
  parameters   = local.parameters
  capabilities = ["CAPABILITY_IAM"]
  tags         = var.tags
}
