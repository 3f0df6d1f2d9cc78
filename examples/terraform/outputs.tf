output "timeout_function_name" {
  description = "Name of the function that sweeps."
  value       = aws_cloudformation_stack.timeout.outputs["TimeoutFunctionName"]
}

output "metrics_namespace" {
  description = "Namespace of the metrics in CloudWatch."
  value       = aws_cloudformation_stack.timeout.outputs["MetricsNamespace"]
}

output "hangup_version" {
  description = "Version of Hangup that the deployed template is of."
  value       = aws_cloudformation_stack.timeout.outputs["HangupVersion"]
}
