"""AWS over libcurl: many calls at once on one thread, for a fraction of botocore's CPU time."""
