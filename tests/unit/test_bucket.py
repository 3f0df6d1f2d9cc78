"""A bucket that does not fit is said before anything is made; what is there is not put again."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, cast

import pytest
from botocore.config import Config
from botocore.stub import Stubber

from hangup.aws.bucket import Bucket, Caller
from hangup.aws.clients import session
from hangup.aws.runtime import calls
from hangup.errors import BackendError, ConfigurationError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CALLER: Final = Caller(account="123456789012", partition="aws", region="eu-west-1")
MINE: Final = {"Bucket": "artifacts", "ExpectedBucketOwner": CALLER.account}
OBJECT: Final = {**MINE, "Key": "code.zip"}
PUT: Final = {**OBJECT, "Body": b"code", "ChecksumAlgorithm": "SHA256", "IfNoneMatch": "*"}


@pytest.fixture
def s3() -> Iterator[Stubber]:
    client = session().create_client(
        "s3", CALLER.region, aws_access_key_id="test", aws_secret_access_key="test"
    )
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.fixture
def bucket(s3: Stubber) -> Bucket:
    return Bucket(cast("S3Client", s3.client), calls, name="artifacts", caller=CALLER)


def test_one_of_this_account_and_region_fits(s3: Stubber, bucket: Bucket) -> None:
    s3.add_response("head_bucket", {"BucketRegion": "eu-west-1"}, MINE)
    bucket.check()


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("404", 404, "there is no bucket artifacts: create it in eu-west-1, or name another"),
        ("403", 403, "the bucket artifacts is not of account 123456789012, or these credentials"),
    ],
)
def test_one_that_cannot_be_used_is_said(
    s3: Stubber, bucket: Bucket, code: str, status: int, said: str
) -> None:
    s3.add_client_error("head_bucket", code, http_status_code=status, expected_params=MINE)
    with pytest.raises(ConfigurationError, match=said):
        bucket.check()


def test_one_of_another_region_is_said(s3: Stubber, bucket: Bucket) -> None:
    s3.add_response("head_bucket", {"BucketRegion": "us-east-2"}, MINE)
    with pytest.raises(ConfigurationError, match=r"is in us-east-2, .* use --region us-east-2, or"):
        bucket.check()


@pytest.mark.parametrize("region", ["eu-west-1", "cn-north-1", "us-gov-west-1"])
def test_the_url_of_an_object(s3: Stubber, region: str) -> None:
    client = session().create_client("s3", region, config=Config(s3={"addressing_style": "path"}))
    bucket = Bucket(
        cast("S3Client", s3.client), calls, name="b", caller=CALLER._replace(region=region)
    )
    assert bucket.url("a.json") == f"{client.meta.endpoint_url}/b/a.json"


def test_what_nobody_expected_stays_what_it_is(s3: Stubber, bucket: Bucket) -> None:
    for operation in (bucket.check, bucket.exists):
        s3.add_client_error("head_bucket", "400", http_status_code=400)
        with pytest.raises(BackendError, match="HeadBucket"):
            operation()


def test_what_is_there_is_not_put_again(s3: Stubber, bucket: Bucket) -> None:
    s3.add_response("head_object", {}, OBJECT)
    assert not bucket.upload(b"code", "code.zip")


# 403: for an object that is not there, S3 says so to whoever may not list the bucket.
@pytest.mark.parametrize("status", [404, 403])
def test_what_is_not_there_is_put(s3: Stubber, bucket: Bucket, status: int) -> None:
    s3.add_client_error("head_object", str(status), http_status_code=status)
    s3.add_response("put_object", {}, PUT)
    assert bucket.upload(b"code", "code.zip")


def test_what_is_there_unseen_is_not_overwritten(s3: Stubber, bucket: Bucket) -> None:
    s3.add_client_error("head_object", "403", http_status_code=403)
    s3.add_client_error(
        "put_object", "PreconditionFailed", http_status_code=412, expected_params=PUT
    )
    assert not bucket.upload(b"code", "code.zip")


def test_who_may_not_put_is_told_what_is_needed(s3: Stubber, bucket: Bucket) -> None:
    s3.add_client_error("head_object", "404", http_status_code=404)
    s3.add_client_error("put_object", "AccessDenied", http_status_code=403, expected_params=PUT)
    with pytest.raises(ConfigurationError, match="s3:PutObject on its objects"):
        bucket.upload(b"code", "code.zip")
