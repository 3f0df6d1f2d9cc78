"""Answers of AWS that the adapters have to understand whatever client reads them."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import pytest
from botocore.exceptions import ClientError
from botocore.utils import parse_timestamp

from hangup.aws.clients import client as botocore_client
from hangup.aws.errors import ServiceError, in_our_terms
from hangup.aws.gateway import ManagementApiGateway
from hangup.aws.http.services import DirectDynamoDb, DirectManagementApi
from hangup.aws.retries import Calls, Deadline
from hangup.core.outcomes import CloseOutcome, PostOutcome
from hangup.errors import BackendError
from hangup.testing import FakeClock
from tests.support.aws_stub import AwsStub
from tests.support.http_server import Server, serving

Way = Literal["boto3", "direct"]


@pytest.fixture(params=["boto3", "direct"])
def way(request: pytest.FixtureRequest) -> Way:
    chosen: Way = request.param
    return chosen


@pytest.fixture
def calls() -> Calls:
    clock = FakeClock()
    return Calls(clock, Deadline(clock))


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def management(url: str, way: Way) -> Any:
    if way == "direct":
        return DirectManagementApi(url=url)
    return botocore_client("apigatewaymanagementapi", url)


def dynamodb(way: Way) -> Any:
    return DirectDynamoDb() if way == "direct" else botocore_client("dynamodb")


def answering(server: Server, status: str, *headers: str, body: bytes = b"") -> None:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers])
    server.answer = lambda _request: head.encode() + b"\r\n\r\n" + body


class TestGone:
    """Status 410 is gone: seen without the error's name in the wild (aws-sdk-js#2591)."""

    @pytest.mark.usefixtures("aws")
    @pytest.mark.parametrize("header", [None, "UnknownError", "GoneException"])
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html><body>Gone</body></html>",
            b'{"message": null}',
            b'{"message": "Gone", "connectionId": "c1="}',
            b'{"__type": "InternalFailure"}',
        ],
    )
    def test_whatever_header_and_body_say(
        self, server: Server, calls: Calls, way: Way, header: str | None, body: bytes
    ) -> None:
        named = [] if header is None else [f"x-amzn-ErrorType: {header}"]
        answering(server, "410 Gone", *named, body=body)
        self.is_gone(management(server.url, way), calls)
        assert len(server.requests) == 3

    @pytest.mark.usefixtures("aws")
    @pytest.mark.parametrize("body", [b"[]", b'"gone"', b"\xff\xfe", b"[" * 100_000])
    def test_even_a_body_on_which_botocore_fails(
        self, server: Server, calls: Calls, body: bytes
    ) -> None:
        answering(server, "410 Gone", body=body)
        self.is_gone(management(server.url, "direct"), calls)

    @staticmethod
    def is_gone(client: Any, calls: Calls) -> None:
        gateway = ManagementApiGateway(client, calls)
        assert gateway.post_to_connection("c1=", {}) is PostOutcome.GONE
        assert gateway.delete_connection("c1=") is CloseOutcome.ALREADY_GONE
        with pytest.raises((ServiceError, ClientError)) as error:
            client.get_connection(ConnectionId="c1=")
        ours = in_our_terms(error.value)
        assert (ours.code, ours.is_retryable) == ("GoneException", False)

    @pytest.mark.usefixtures("aws")
    def test_no_other_status_without_a_name_is_taken_for_it(
        self, server: Server, calls: Calls, way: Way
    ) -> None:
        answering(server, "404 Not Found", body=b"<html>no such page</html>")
        with pytest.raises(BackendError):
            ManagementApiGateway(management(server.url, way), calls).delete_connection("c1=")


EXPIRED = "Signature expired: 20261128T100000Z is now earlier than 20261128T110000Z"
EARLY = "Signature not yet current: 20261128T120000Z is still later than 20261128T111500Z"


class TestTimeOfTheSignature:
    """A function that was frozen after it had signed a call signs it again, once."""

    @pytest.mark.parametrize(
        ("status", "code", "message"),
        [
            (400, "InvalidSignatureException", EXPIRED),
            (403, "InvalidSignatureException", EARLY),
            (403, "SignatureDoesNotMatch", EXPIRED),
            (403, "RequestTimeTooSkewed", "The difference between the times is too large."),
        ],
    )
    def test_is_made_good_once(
        self, aws: AwsStub, calls: Calls, way: Way, status: int, code: str, message: str
    ) -> None:
        aws.fail("Scan", status=status, code=code, message=message, times=1)
        client = dynamodb(way)

        def scan() -> Any:
            return client.scan(TableName="connections")

        assert calls("Scan", scan)["Items"] == []
        assert aws.operations == ["Scan", "Scan"]
        aws.fail("Scan", status=status, code=code, message=message)
        with pytest.raises(BackendError, match=code) as error:
            calls("Scan", scan)
        assert not error.value.retryable
        assert len(aws.operations) == 4

    def test_a_message_that_was_refused_for_it_is_sent_again(
        self, aws: AwsStub, calls: Calls, way: Way
    ) -> None:
        aws.fail(
            "PostToConnection",
            status=403,
            code="InvalidSignatureException",
            message=EXPIRED,
            times=1,
        )
        gateway = ManagementApiGateway(management(aws.management_endpoint, way), calls)
        assert gateway.post_to_connection("c1=", {}) is PostOutcome.POSTED

    @pytest.mark.parametrize("code", ["InvalidSignatureException", "SignatureDoesNotMatch"])
    def test_no_other_bad_signature_is_tried_again(
        self, aws: AwsStub, calls: Calls, code: str
    ) -> None:
        message = "The request signature we calculated does not match"
        aws.fail("Scan", status=403, code=code, message=message)
        with pytest.raises(BackendError, match=code):
            calls("Scan", lambda: DirectDynamoDb().scan(TableName="connections"))
        assert aws.operations == ["Scan"]

    def test_nothing_is_tried_again_without_time_for_it(self, aws: AwsStub) -> None:
        clock = FakeClock()
        deadline = Deadline(clock)
        aws.fail("Scan", status=403, code="InvalidSignatureException", message=EXPIRED)

        def slow() -> Any:
            clock.advance(seconds=60)
            return DirectDynamoDb().scan(TableName="connections")

        deadline.start(60_000)
        with pytest.raises(BackendError, match="InvalidSignatureException"):
            Calls(clock, deadline)("Scan", slow)
        assert aws.operations == ["Scan"]


@pytest.mark.usefixtures("aws")
class TestDate:
    """A page of a scan says what time it is at AWS."""

    def test_is_where_botocore_has_it(self, aws: AwsStub, way: Way) -> None:
        before = datetime.now(UTC).replace(microsecond=0)
        page = dynamodb(way).scan(TableName="connections")
        date = page["ResponseMetadata"]["HTTPHeaders"]["date"]
        assert before <= parsedate_to_datetime(date) <= datetime.now(UTC)
        assert (page["Items"], page["ScannedCount"]) == ([], 0)
        assert aws.operations == ["Scan"]

    def test_is_empty_where_the_answer_has_none(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        page = DirectDynamoDb().scan(TableName="connections")
        assert page["ResponseMetadata"]["HTTPHeaders"]["date"] == ""


class TestTimestamps:
    """botocore's clients here read times another way than botocore does, and to the same end."""

    @pytest.mark.parametrize(
        "value",
        [1_700_000_000, 1_700_000_000.5, "2023-11-14T22:13:20Z", "Tue, 14 Nov 2023 22:13:20 GMT"],
    )
    def test_are_what_botocore_makes_of_them(self, aws: AwsStub, value: Any) -> None:
        aws.answer("DescribeTable", {"Table": {"CreationDateTime": value}})
        table = dynamodb("boto3").describe_table(TableName="connections")["Table"]
        assert table["CreationDateTime"] == parse_timestamp(value)
        assert table["CreationDateTime"].tzinfo is not None

    def test_of_a_connection_are_not_read_by_botocores_slow_parser(
        self, aws: AwsStub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # dateutil's: two times of a connection take 70 us.
        monkeypatch.setattr("dateutil.parser.parse", None)
        aws.answer("GetConnection", TestConnection.COMPLETE)
        found = management(aws.management_endpoint, "boto3").get_connection(ConnectionId="c1=")
        assert found["LastActiveAt"].timestamp() == 1_700_000_001.5


class TestConnection:
    """What API Gateway knows of a connection, in botocore's form."""

    COMPLETE = {  # noqa: RUF012 - not changed
        "connectedAt": "2023-11-14T22:13:20.000Z",
        "lastActiveAt": "2023-11-14T22:13:21.500Z",
        "identity": {"sourceIp": "192.0.2.10", "userAgent": "unit-test"},
    }

    def test_is_the_same_for_both_clients(self, aws: AwsStub, way: Way) -> None:
        aws.answer("GetConnection", self.COMPLETE)
        found = management(aws.management_endpoint, way).get_connection(ConnectionId="c1=")
        found.pop("ResponseMetadata", None)
        assert found == {
            "ConnectedAt": datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
            "LastActiveAt": datetime(2023, 11, 14, 22, 13, 21, 500_000, tzinfo=UTC),
            "Identity": {"SourceIp": "192.0.2.10", "UserAgent": "unit-test"},
        }

    @pytest.mark.parametrize(
        ("member", "value", "left"),
        [
            ("connectedAt", None, None),
            ("connectedAt", "soon", None),
            ("connectedAt", "2023-11-14T22:13:20", None),  # which zone?
            ("connectedAt", 1_700_000_000, None),
            ("identity", None, None),
            ("identity", "192.0.2.10", None),
            ("identity", {}, {}),
            ("identity", {"sourceIp": 7, "userAgent": "u"}, {"UserAgent": "u"}),
        ],
    )
    def test_what_is_missing_or_malformed_is_left_out(
        self, aws: AwsStub, member: str, value: object, left: object
    ) -> None:
        aws.answer("GetConnection", {**self.COMPLETE, member: value})
        client = DirectManagementApi(url=aws.management_endpoint)
        found = client.get_connection(ConnectionId="c1=")
        assert found.get(member[0].upper() + member[1:]) == left
        assert found["LastActiveAt"].timestamp() == 1_700_000_001.5

    @pytest.mark.parametrize("value", ["soon", 7, "2023-11-14", "2023-11-14T22:13:20", "", []])
    def test_nothing_rests_on_a_last_activity_that_is_malformed(
        self, aws: AwsStub, value: object
    ) -> None:
        aws.answer("GetConnection", {**self.COMPLETE, "lastActiveAt": value})
        with pytest.raises(ServiceError, match="lastActiveAt is not a time") as error:
            DirectManagementApi(url=aws.management_endpoint).get_connection(ConnectionId="c1=")
        assert error.value.code == "MalformedAnswer"
        assert error.value.is_retryable

    def test_one_that_is_missing_is_missing(self, aws: AwsStub) -> None:
        aws.answer("GetConnection", {})
        client = DirectManagementApi(url=aws.management_endpoint)
        assert json.dumps(client.get_connection(ConnectionId="c1=")) == "{}"
