"""A bucket of the caller's own, for what CloudFormation and Lambda fetch."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Self

from hangup.aws.clients import client, session
from hangup.aws.retries import Calls
from hangup.errors import BackendError, ConfigurationError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_REFUSED: Final = frozenset({"403", "AccessDenied"})
_MISSING: Final = frozenset({"404", "NoSuchBucket", "NotFound"})


class Bucket:
    """A bucket of this account, in the Region of the caller. Each call says who must own it."""

    def __init__(self, calls: Calls, s3: "S3Client", name: str, owner: str, region: str) -> None:
        self._calls = calls
        self._s3 = s3
        self._owner = owner
        self.name = name
        self.region = region

    @classmethod
    def find(cls, calls: Calls, name: str) -> Self:
        """Return the bucket, with the caller's credentials.

        Raise ``ConfigurationError`` where there is none, it is somebody else's or in another
        Region, and ``BackendError`` for what nobody expected.
        """
        # Made in the call, so that a missing Region is an error like any other.
        s3: S3Client = calls("HeadBucket", lambda: client("s3"))
        identity = calls("GetCallerIdentity", lambda: client("sts").get_caller_identity())
        bucket = cls(calls, s3, name, identity["Account"], s3.meta.region_name)
        head = bucket._call(
            "HeadBucket",
            lambda: s3.head_bucket(Bucket=name, ExpectedBucketOwner=bucket._owner),
        )
        there = head.get("BucketRegion", bucket.region)
        if there != bucket.region:
            raise ConfigurationError(
                f"the bucket {name} is in {there}, and Lambda takes code only from a bucket of its"
                f" own Region: use --region {there}, or a bucket in {bucket.region}"
            )
        return bucket

    def put(self, key: str, content: bytes) -> None:
        """Upload an object; raise as ``find`` does."""
        self._call(
            "PutObject",
            lambda: self._s3.put_object(
                Bucket=self.name, Key=key, Body=content, ExpectedBucketOwner=self._owner
            ),
        )

    def url(self, key: str) -> str:
        """Return the https URL of an object, as ``TemplateURL`` takes it."""
        resolver = session().get_component("endpoint_resolver")
        suffix = resolver.construct_endpoint("s3", self.region)["dnsSuffix"]
        return f"https://s3.{self.region}.{suffix}/{self.name}/{key}"

    def _call(self, operation: str, call: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        try:
            return self._calls(operation, call)
        except BackendError as error:
            if error.code in _MISSING:
                raise ConfigurationError(
                    f"there is no bucket {self.name}: create it in {self.region}, or name another"
                ) from error
            if error.code in _REFUSED:
                raise ConfigurationError(
                    f"the bucket {self.name} is not of account {self._owner}, or these credentials"
                    " may not use it: s3:ListBucket on the bucket and s3:PutObject on its objects"
                    " are needed"
                ) from error
            raise
