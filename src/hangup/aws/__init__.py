"""Adapters to AWS: the only place that sees boto3 and botocore, and the only one to catch them."""
