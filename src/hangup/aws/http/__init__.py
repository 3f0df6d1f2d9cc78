"""AWS over libcurl: what all functions use. A call takes a fraction of botocore's CPU time."""
