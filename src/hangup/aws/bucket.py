"""A bucket of the caller's own, for what CloudFormation and Lambda fetch.

A ``CodeBucket`` is one that was made for the functions' code, or the user's own.
"""

import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hangup.aws.http.endpoints import endpoint_url
from hangup.aws.retries import Calls, none_for
from hangup.errors import BackendError, ConfigurationError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef, TagTypeDef
    from mypy_boto3_sts import STSClient

_ABSENT: Final = frozenset({"404", "NotFound", "NoSuchBucket"})
"""Codes of a bucket that is not there."""

_NO_OBJECT: Final = _ABSENT | {"NoSuchKey"}
_THERE: Final = frozenset({"412", "PreconditionFailed"})
_REFUSED: Final = frozenset({"403", "AccessDenied"})

_PREFIX: Final = "hangup-code-"
_NAME: Final = re.compile(rf"{_PREFIX}[0-9a-f]{{16}}")

_MARK: Final["TagTypeDef"] = {"Key": "hangup", "Value": "code"}
"""The tag of such a bucket. Without it none is emptied or deleted."""

_NO_TAGS: Final = _ABSENT | {"NoSuchTagSet"}


class Caller(NamedTuple):
    """Whose credentials these are, and where."""

    account: str
    partition: str
    region: str


def caller_of(client: "STSClient", calls: Calls, *, region: str) -> Caller:
    """Return whose the credentials are. Raises ``BackendError``."""
    who = calls("GetCallerIdentity", client.get_caller_identity)
    return Caller(account=who["Account"], partition=who["Arn"].split(":")[1], region=region)


class Bucket:
    """One bucket of this account. Every method raises ``BackendError``.

    Each call names the account as the owner that is expected, so that a bucket of this name that
    somebody else made meanwhile is refused.
    """

    def __init__(self, client: "S3Client", calls: Calls, *, name: str, caller: Caller) -> None:
        self.name = name
        self.caller = caller
        self._client = client
        self._calls = calls
        self._mine: Final[dict[str, Any]] = {
            "Bucket": name,
            "ExpectedBucketOwner": caller.account,
        }

    def exists(self) -> bool:
        """Return whether the bucket is there, and this account's."""
        return self._region() is not None

    def check(self) -> None:
        """Raise ``ConfigurationError`` unless Lambda could take code from the bucket.

        That is where there is none, it is somebody else's, or in another Region.
        """
        region = self.caller.region
        with self._refusal_explained():
            there = self._region()
        if there is None:
            raise ConfigurationError(
                f"there is no bucket {self.name}: create it in {region}, or name another"
            )
        if there != region:
            raise ConfigurationError(
                f"the bucket {self.name} is in {there}, and Lambda takes code only from a bucket of"
                f" its own Region: use --region {there}, or a bucket in {region}"
            )

    def upload(self, content: bytes, key: str) -> bool:
        """Put an object, unless the bucket has one of this key; return whether it was put.

        What is there is never overwritten, also where the caller may not see it. Raise
        ``ConfigurationError`` where that is not allowed.
        """
        if self._has(key):
            return False
        with self._refusal_explained():
            put = none_for(
                _THERE,
                self._calls,
                "PutObject",
                lambda: self._client.put_object(
                    **self._mine,
                    Key=key,
                    Body=content,
                    ChecksumAlgorithm="SHA256",
                    IfNoneMatch="*",
                ),
            )
        return put is not None

    def url(self, key: str) -> str:
        """Return the https URL of an object, as ``TemplateURL`` takes it."""
        return f"{endpoint_url('s3', self.caller.region)}/{self.name}/{key}"

    def _region(self) -> str | None:
        """Return the bucket's Region; None where there is no bucket."""
        head = none_for(
            _ABSENT, self._calls, "HeadBucket", lambda: self._client.head_bucket(**self._mine)
        )
        return None if head is None else head.get("BucketRegion", self.caller.region)

    def _has(self, key: str) -> bool:
        head = none_for(
            # S3 refuses also where there is no such object, and the caller may not list them.
            _NO_OBJECT | _REFUSED,
            self._calls,
            "HeadObject",
            lambda: self._client.head_object(**self._mine, Key=key),
        )
        return head is not None

    @contextmanager
    def _refusal_explained(self) -> Iterator[None]:
        try:
            yield
        except BackendError as error:
            if error.code not in _REFUSED:
                raise
            raise ConfigurationError(
                f"the bucket {self.name} is not of account {self.caller.account}, or these"
                " credentials may not use it: s3:ListBucket on the bucket and s3:PutObject on its"
                " objects are needed"
            ) from error


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

    def is_made_for_code(self) -> bool:
        """Return whether ``hangup deploy`` made the bucket."""
        tags = none_for(
            _NO_TAGS,
            self._calls,
            "GetBucketTagging",
            lambda: self._client.get_bucket_tagging(**self._mine)["TagSet"],
        )
        return is_new_name(self.name) and _MARK in (tags or ())

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
