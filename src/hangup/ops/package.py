"""Put what a deployment with CloudFormation needs into an S3 bucket: the zip and the template.

Both are named by their content: what is there already is not uploaded again, and a stack is updated
only where something has changed.
"""

import hashlib
from dataclasses import dataclass

from hangup.aws.bucket import Bucket
from hangup.ops.template import timeout_template


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """Where both are: the bucket, the zip's key there, and the URL of the template."""

    bucket: str
    region: str
    code_key: str
    template_url: str


def upload(lambda_zip: bytes, bucket: Bucket, *, architecture: str) -> Uploaded:
    """Upload the zip of the functions, and the template.

    Raise ``BackendError``, and ``ConfigurationError`` where the bucket does not fit.
    """
    template = timeout_template().encode()
    code_key = f"hangup-lambda-{architecture}-{_hash(lambda_zip)}.zip"
    template_key = f"hangup-timeout-{_hash(template)}.template.json"
    bucket.check()
    bucket.upload(lambda_zip, code_key)
    bucket.upload(template, template_key)
    return Uploaded(
        bucket=bucket.name,
        region=bucket.caller.region,
        code_key=code_key,
        template_url=bucket.url(template_key),
    )


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
