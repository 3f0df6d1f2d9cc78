"""Adapters to AWS: the only place that sees botocore, and the only one to catch its errors."""
