"""A bucket of the caller's own, for what CloudFormation and Lambda fetch."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple, TypedDict

from hangup.aws.http.endpoints import endpoint_url
from hangup.aws.retries import Calls
from hangup.errors import BackendError, ConfigurationError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sts import STSClient

ABSENT: Final = frozenset({"404", "NotFound", "NoSuchBucket"})
"""Codes of a bucket that is not there."""

_NO_OBJECT: Final = ABSENT | {"NoSuchKey"}
_THERE: Final = frozenset({"412", "PreconditionFailed"})
_REFUSED: Final = frozenset({"403", "AccessDenied"})


class Caller(NamedTuple):
    """Whose credentials these are, and where."""

    account: str
    partition: str
    region: str


def caller_of(client: "STSClient", calls: Calls, *, region: str) -> Caller:
    """Return whose the credentials are. Raises ``BackendError``."""
    who = calls("GetCallerIdentity", client.get_caller_identity)
    return Caller(account=who["Account"], partition=who["Arn"].split(":")[1], region=region)


class _Mine(TypedDict):
    Bucket: str
    ExpectedBucketOwner: str


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
        self._mine: Final[_Mine] = {"Bucket": name, "ExpectedBucketOwner": caller.account}

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
        try:
            with self._refusal_explained():
                self._calls(
                    "PutObject",
                    lambda: self._client.put_object(
                        **self._mine,
                        Key=key,
                        Body=content,
                        ChecksumAlgorithm="SHA256",
                        IfNoneMatch="*",
                    ),
                )
        except BackendError as error:
            if error.code in _THERE:
                return False
            raise
        return True

    def url(self, key: str) -> str:
        """Return the https URL of an object, as ``TemplateURL`` takes it."""
        return f"{endpoint_url('s3', self.caller.region)}/{self.name}/{key}"

    def _region(self) -> str | None:
        """Return the bucket's Region; None where there is no bucket."""
        try:
            head = self._calls("HeadBucket", lambda: self._client.head_bucket(**self._mine))
        except BackendError as error:
            if error.code in ABSENT:
                return None
            raise
        return head.get("BucketRegion", self.caller.region)

    def _has(self, key: str) -> bool:
        try:
            self._calls("HeadObject", lambda: self._client.head_object(**self._mine, Key=key))
        except BackendError as error:
            # S3 refuses also where there is no such object, and the caller may not list them.
            if error.code in _NO_OBJECT | _REFUSED:
                return False
            raise
        return True

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
