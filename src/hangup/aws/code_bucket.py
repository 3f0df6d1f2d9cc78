"""The S3 bucket that holds the functions' code: made for it, or the user's own."""

import json
import re
import secrets
from typing import TYPE_CHECKING, Final

from hangup.aws.bucket import ABSENT, Bucket
from hangup.errors import BackendError

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef, TagTypeDef

_PREFIX: Final = "hangup-code-"
_NAME: Final = re.compile(rf"{_PREFIX}[0-9a-f]{{16}}")

_MARK: Final["TagTypeDef"] = {"Key": "hangup", "Value": "code"}
"""The tag of such a bucket. Without it none is emptied or deleted."""

_NO_TAGS: Final = ABSENT | {"NoSuchTagSet"}


def new_name() -> str:
    """Return a name that no bucket has."""
    return f"{_PREFIX}{secrets.token_hex(8)}"


def is_new_name(name: str) -> bool:
    """Return whether a name is of the form that ``new_name`` gives."""
    return _NAME.fullmatch(name) is not None


class CodeBucket(Bucket):
    """A bucket that ``hangup deploy`` makes for the functions' code, or the user's own."""

    def create(self) -> None:
        """Make the bucket: private, encrypted, versioned, reached by TLS alone.

        One that an interrupted run has made is finished.
        """
        if not self.exists():
            self._create()
        self._set_up()

    def _create(self) -> None:
        region = self.caller.region
        place = (
            {}
            if region == "us-east-1"  # the one Region that must not be named
            else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        )
        self._calls(
            "CreateBucket",
            lambda: self._client.create_bucket(
                Bucket=self.name,
                ObjectOwnership="BucketOwnerEnforced",
                **place,  # type: ignore[arg-type] # the Regions that botocore knows
            ),
        )

    def _set_up(self) -> None:
        self._calls(
            "PutBucketTagging",
            lambda: self._client.put_bucket_tagging(**self._mine, Tagging={"TagSet": [_MARK]}),
        )
        self._calls(
            "PutPublicAccessBlock",
            lambda: self._client.put_public_access_block(
                **self._mine,
                PublicAccessBlockConfiguration={
                    "BlockPublicAcls": True,
                    "IgnorePublicAcls": True,
                    "BlockPublicPolicy": True,
                    "RestrictPublicBuckets": True,
                },
            ),
        )
        self._calls(
            "PutBucketEncryption",
            lambda: self._client.put_bucket_encryption(
                **self._mine,
                ServerSideEncryptionConfiguration={
                    "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
                },
            ),
        )
        self._calls(
            "PutBucketVersioning",
            lambda: self._client.put_bucket_versioning(
                **self._mine, VersioningConfiguration={"Status": "Enabled"}
            ),
        )
        self._calls(
            "PutBucketPolicy",
            lambda: self._client.put_bucket_policy(
                **self._mine, Policy=_tls_only(self.name, self.caller.partition)
            ),
        )

    def is_made_for_code(self) -> bool:
        """Return whether ``hangup deploy`` made the bucket."""
        try:
            answer = self._calls(
                "GetBucketTagging",
                lambda: self._client.get_bucket_tagging(**self._mine),
            )
        except BackendError as error:
            if error.code in _NO_TAGS:
                return False
            raise
        return is_new_name(self.name) and _MARK in answer["TagSet"]

    def delete(self) -> None:
        """Delete a bucket that was made for the code, with all versions of what is in it."""
        while objects := self._some_objects():
            self._delete_objects(objects)
        self._calls("DeleteBucket", lambda: self._client.delete_bucket(**self._mine))

    def _some_objects(self) -> "list[ObjectIdentifierTypeDef]":
        """Return up to a thousand versions of objects in the bucket."""
        page = self._calls(
            "ListObjectVersions", lambda: self._client.list_object_versions(**self._mine)
        )
        return [
            {"Key": one["Key"], "VersionId": one["VersionId"]}
            for one in (*page.get("Versions", []), *page.get("DeleteMarkers", []))
        ]

    def _delete_objects(self, objects: "list[ObjectIdentifierTypeDef]") -> None:
        answer = self._calls(
            "DeleteObjects",
            lambda: self._client.delete_objects(
                **self._mine, Delete={"Objects": objects, "Quiet": True}
            ),
        )
        for failed in answer.get("Errors", []):
            raise BackendError("DeleteObjects", failed["Code"], failed["Message"], retryable=False)


def _tls_only(bucket: str, partition: str) -> str:
    arn = f"arn:{partition}:s3:::{bucket}"
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "TlsOnly",
                    "Effect": "Deny",
                    "Principal": "*",
                    "Action": "s3:*",
                    "Resource": [arn, f"{arn}/*"],
                    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                }
            ],
        }
    )
