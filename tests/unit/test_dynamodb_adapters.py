"""The adapters of the tables, against a stub of AWS: what they send and what answers mean.

What the tables then hold is for ``tests/contract`` to say.
"""

import time
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

from hangup.aws.clients import client as botocore_client
from hangup.aws.connections import DynamoDbConnections, date_of
from hangup.aws.http.services import DirectDynamoDb
from hangup.aws.retries import Calls, Deadline
from hangup.aws.schema import DEFAULT_SCHEMA, TableSchema
from hangup.aws.sessions import DynamoDbSessions
from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.outcomes import NotRecorded
from hangup.core.timing import ATTEMPT_MS, REPORT_MS, SCAN_MARGIN_MS
from hangup.errors import BackendError
from hangup.sessions.model import JoinOutcome, Role
from hangup.testing import FakeClock
from tests.support.aws_stub import AwsStub, Call, Failure
from tests.support.schemas import SHAPES

if TYPE_CHECKING:
    from collections.abc import Callable

    from hangup.aws.table import DynamoDb

NOW_MS = EpochMs(1_700_000_000_000)
LISTENER = Connection(
    connection_id="c1=",
    session_id="s1",
    role=Role.LISTENER,
    connected_at_ms=NOW_MS,
    last_activity_ms=NOW_MS,
)
SPEAKER = replace(LISTENER, role=Role.SPEAKER)
RETRYABLE = [
    (500, "InternalServerError", True),
    (503, "ServiceUnavailable", True),
    (429, "LimitExceededException", True),
    (429, "SomethingNew", True),
    (400, "ThrottlingException", True),
    (400, "ProvisionedThroughputExceededException", True),
    (403, "AccessDeniedException", False),
    (400, "ValidationException", False),
    (404, "ResourceNotFoundException", False),
]
MUST_HAVE = r"table connections must have the partition key connectionId \(string\) and no sort key"
CANCELLED = "TransactionCanceledException"


@pytest.mark.parametrize("connections", ["boto3", "direct"], indirect=True)
class TestConnections:
    @pytest.mark.parametrize(("status", "code", "retryable"), RETRYABLE)
    def test_an_outage_is_an_error_and_never_an_empty_table(
        self,
        aws: AwsStub,
        connections: DynamoDbConnections,
        status: int,
        code: str,
        retryable: bool,
    ) -> None:
        for operation in ("GetItem", "Scan", "UpdateItem"):
            aws.fail(operation, status=status, code=code)
        actions: list[Callable[[], object]] = [
            lambda: connections.get("c1"),
            lambda: list(connections.scan_all_connections()),
            lambda: connections.claim(LISTENER, now_ms=NOW_MS, claim_expires_ms=NOW_MS),
            lambda: connections.release(LISTENER, noticed_at_ms=None, is_handed_over=False),
            lambda: connections.record_activity("c1", now_ms=NOW_MS, resolution_ms=DurationMs(0)),
            lambda: connections.record_gateway_activity(LISTENER, active_ms=NOW_MS, now_ms=NOW_MS),
            lambda: connections.sample_records(20),
        ]
        for act in actions:
            with pytest.raises(BackendError, match=code) as error:
                act()
            assert error.value.retryable is retryable

    def test_an_error_on_a_later_page_is_an_error_too(
        self, aws: AwsStub, connections: DynamoDbConnections
    ) -> None:
        first = {
            "Items": [{"connectionId": {"S": "c1"}}],
            "ScannedCount": 1,
            "LastEvaluatedKey": {"connectionId": {"S": "c1"}},
        }
        aws.answer("Scan", first)
        pages = connections.scan_all_connections()
        assert next(pages).connection_id == "c1"
        aws.fail("Scan", status=400, code="ResourceNotFoundException")
        with pytest.raises(BackendError, match="Scan failed"):
            next(pages)

    def test_reads_what_was_last_written(
        self, aws: AwsStub, connections: DynamoDbConnections
    ) -> None:
        assert connections.get("c1=") is None
        assert aws.calls("GetItem")[0]["ConsistentRead"] is True

    def test_asks_for_candidates_and_what_the_sweep_reads_alone(
        self, aws: AwsStub, connections: DynamoDbConnections
    ) -> None:
        list(
            connections.scan_candidates(
                cutoff_ms=NOW_MS, now_ms=NOW_MS, segment=2, total_segments=7
            )
        )
        request = aws.calls("Scan")[0]
        assert (request["Segment"], request["TotalSegments"]) == (2, 7)
        values = request["ExpressionAttributeValues"]
        assert values[":cutoff"] == {"N": str(NOW_MS)}
        assert values[":from_now"] == {"N": str(NOW_MS + 1)}
        projected = [
            request["ExpressionAttributeNames"][alias]
            for alias in request["ProjectionExpression"].split(", ")
        ]
        assert {"lastActivityTime", "gatewayActiveAt", "handovers"} <= set(projected)
        assert "targetLanguage" not in projected

    @pytest.mark.parametrize(("spare_ms", "reads"), [(5_000, 6), (49, 1), (-1, 1)])
    def test_a_page_is_not_read_again_when_it_is_too_late_for_one(
        self,
        aws: AwsStub,
        connections: DynamoDbConnections,
        deadline: Deadline,
        spare_ms: int,
        reads: int,
    ) -> None:
        deadline.start(REPORT_MS + SCAN_MARGIN_MS + spare_ms)
        aws.fail("Scan", status=500, code="InternalServerError", times=6)
        with (
            # The longest of pauses, so that none is as short as the time that is left.
            patch("hangup.aws.retries.random.randint", lambda _least, most: most),
            pytest.raises(BackendError, match="Scan failed with InternalServerError"),
        ):
            list(
                connections.scan_candidates(
                    cutoff_ms=NOW_MS, now_ms=NOW_MS, segment=0, total_segments=1
                )
            )
        assert len(aws.calls("Scan")) == reads

    def test_knows_an_orphan_by_the_record_that_a_refusal_brings_along(
        self, aws: AwsStub, connections: DynamoDbConnections
    ) -> None:
        code = "ConditionalCheckFailedException"
        record = {"Item": {"connectionId": {"S": "c1"}}}
        aws.answer(
            "UpdateItem",
            Failure(status=400, code=code),
            Failure(status=400, code=code, members=record),
        )
        outcomes = [
            connections.record_activity("c1", now_ms=NOW_MS, resolution_ms=DurationMs(0))
            for _ in range(2)
        ]
        assert outcomes == [NotRecorded.NO_RECORD, NotRecorded.ALREADY_RECORDED]

    def test_a_record_without_times_cannot_be_claimed(
        self, aws: AwsStub, connections: DynamoDbConnections
    ) -> None:
        nameless = Connection(connection_id="c1")
        assert not connections.claim(nameless, now_ms=NOW_MS, claim_expires_ms=NOW_MS)
        assert aws.log == []

    def test_a_sample_is_one_page_from_a_random_place(
        self, aws: AwsStub, connections: DynamoDbConnections
    ) -> None:
        aws.answer("Scan", page_of("c1", "c2"))
        for _ in range(2):
            sample = connections.sample_records(2)
            assert [record.connection_id for record in sample.records] == ["c1", "c2"]
        first, second = aws.calls("Scan")
        assert first["Limit"] == 2
        assert "FilterExpression" not in first
        assert "targetLanguage" not in first["ExpressionAttributeNames"].values()
        assert first["ExclusiveStartKey"].keys() == {"connectionId"}
        assert first["ExclusiveStartKey"] != second["ExclusiveStartKey"]

    def test_a_sample_that_meets_the_end_goes_on_from_the_beginning(
        self, aws: AwsStub, connections: DynamoDbConnections
    ) -> None:
        aws.answer("Scan", page_of("c4", "c5"), page_of("c1", "c2", "c3", "c4"))
        sample = connections.sample_records(4)
        assert [record.connection_id for record in sample.records] == ["c4", "c5", "c1", "c2"]
        assert [("ExclusiveStartKey" in call) for call in aws.calls("Scan")] == [True, False]

    def test_what_a_sample_meets_twice_counts_once(
        self, aws: AwsStub, connections: DynamoDbConnections
    ) -> None:
        aws.answer("Scan", page_of("c2", "c3"), page_of("c1", "c2", "c3"))
        sample = connections.sample_records(20)
        assert [record.connection_id for record in sample.records] == ["c2", "c3", "c1"]

    def test_an_error_names_the_table(self, aws: AwsStub, connections: DynamoDbConnections) -> None:
        message = "Requested resource not found"
        aws.fail("Scan", status=400, code="ResourceNotFoundException", message=message)
        with pytest.raises(BackendError) as error:
            list(connections.scan_all_connections())
        assert str(error.value) == (
            "Scan failed with ResourceNotFoundException: Requested resource not found"
            " (table connections)"
        )

    @pytest.mark.parametrize("item", [{"id": {"S": "c1"}}, {"connectionId": {"N": "1"}}, {}])
    def test_a_scan_names_a_table_with_another_key(
        self, aws: AwsStub, connections: DynamoDbConnections, item: dict[str, object]
    ) -> None:
        aws.answer("Scan", {"Items": [item], "Count": 1, "ScannedCount": 1})
        with pytest.raises(BackendError, match="Scan failed with OtherKey: " + MUST_HAVE) as error:
            list(
                connections.scan_candidates(
                    cutoff_ms=NOW_MS, now_ms=NOW_MS, segment=0, total_segments=1
                )
            )
        assert not error.value.retryable
        with pytest.raises(BackendError, match="Scan failed with OtherKey"):
            connections.sample_records(1)

    def test_a_write_names_a_table_with_a_sort_key(
        self, aws: AwsStub, connections: DynamoDbConnections
    ) -> None:
        message = "The provided key element does not match the schema"
        aws.fail("UpdateItem", status=400, code="ValidationException", message=message)
        with pytest.raises(BackendError, match=rf"{message} \({MUST_HAVE}\)$"):
            connections.claim(LISTENER, now_ms=NOW_MS, claim_expires_ms=NOW_MS)


def page_of(*ids: str) -> dict[str, object]:
    """Return a page of a scan with more behind it."""
    items = [{"connectionId": {"S": connection_id}} for connection_id in ids]
    return {"Items": items, "ScannedCount": len(ids), "LastEvaluatedKey": items[-1]}


class TestTimeOfTheAnswer:
    """A sample says by AWS's clock when it was read: the header ``Date`` of the answer."""

    @pytest.mark.parametrize("client", [lambda: botocore_client("dynamodb"), DirectDynamoDb])
    @pytest.mark.parametrize(
        ("operation", "schema"),
        [
            ("Scan", DEFAULT_SCHEMA),
            ("Query", SHAPES["C, by partition"]),
        ],
    )
    def test_is_that_of_the_answer(
        self,
        aws: AwsStub,
        calls: Calls,
        client: "Callable[[], DynamoDb]",
        operation: str,
        schema: TableSchema,
    ) -> None:
        before_s = int(time.time())
        adapter = DynamoDbConnections(client(), calls, "connections", schema)
        answered_at_ms = adapter.sample_records(1).answered_at_ms
        assert set(aws.operations) == {operation}
        assert answered_at_ms is not None
        assert before_s * 1000 <= answered_at_ms <= time.time() * 1000


@pytest.mark.parametrize(
    ("date", "ms"),
    [
        ("Tue, 14 Nov 2023 22:13:20 GMT", 1_700_000_000_000),
        ("Thu, 29 Feb 2024 00:00:00 GMT", 1_709_164_800_000),
        ("Fri, 01 Dec 2023 09:05:07 GMT", 1_701_421_507_000),
        # One that a proxy has added.
        ("Tue, 14 Nov 2023 22:13:20 GMT, Tue, 14 Nov 2023 22:13:21 GMT", 1_700_000_000_000),
        ("Tuesday, 14-Nov-23 22:13:20 GMT", None),
        ("Tue, 14 Brumaire 2023 22:13:20 GMT", None),
        ("Tue, 14 Nov 2023 25:13:20 GMT", None),
        ("", None),
        (None, None),
    ],
)
def test_a_date_that_cannot_be_read_is_none(date: str | None, ms: int | None) -> None:
    headers = {} if date is None else {"date": date}
    assert date_of({"ResponseMetadata": {"HTTPHeaders": headers}}) == ms


def test_an_answer_without_headers_has_no_date() -> None:
    assert date_of({}) is None


def cancelled(*codes: str) -> Failure:
    reasons = [{"Code": code} for code in codes]
    return Failure(status=400, code=CANCELLED, members={"CancellationReasons": reasons})


class TestStart:
    def test_a_conflict_is_tried_again_as_another_transaction(
        self, aws: AwsStub, sessions: DynamoDbSessions
    ) -> None:
        conflict = cancelled("None", "TransactionConflict")
        aws.answer("TransactWriteItems", conflict, conflict, {})
        assert sessions.start(SPEAKER) is JoinOutcome.JOINED
        tokens = [call["ClientRequestToken"] for call in aws.calls("TransactWriteItems")]
        assert len(tokens) == len(set(tokens)) == 3

    def test_a_condition_of_the_session_that_fails_beside_a_conflict_is_tried_again_too(
        self, aws: AwsStub, sessions: DynamoDbSessions
    ) -> None:
        mixed = cancelled("TransactionConflict", "ConditionalCheckFailed")
        aws.answer("TransactWriteItems", mixed, {})
        assert sessions.start(SPEAKER) is JoinOutcome.JOINED

    def test_one_that_was_not_answered_is_repeated_as_the_same_transaction(
        self, aws: AwsStub, sessions: DynamoDbSessions
    ) -> None:
        aws.fail("TransactWriteItems", status=500, code="InternalServerError", times=2)
        assert sessions.start(SPEAKER) is JoinOutcome.JOINED
        tokens = [call["ClientRequestToken"] for call in aws.calls("TransactWriteItems")]
        assert len(tokens) == 3
        assert len(set(tokens)) == 1

    def test_a_conflict_that_stays_is_an_error(
        self, aws: AwsStub, sessions: DynamoDbSessions, clock: FakeClock
    ) -> None:
        aws.answer("TransactWriteItems", cancelled("None", "TransactionConflict"))
        began_ms = clock.ms
        with pytest.raises(BackendError, match=CANCELLED) as error:
            sessions.start(SPEAKER)
        assert error.value.retryable
        assert len(aws.calls("TransactWriteItems")) == 6
        assert clock.ms - began_ms <= 2_000

    def test_a_cancellation_for_another_reason_is_an_error_at_once(
        self, aws: AwsStub, sessions: DynamoDbSessions
    ) -> None:
        aws.answer("TransactWriteItems", cancelled("ValidationError", "None"))
        with pytest.raises(BackendError) as error:
            sessions.start(SPEAKER)
        assert not error.value.retryable
        assert len(aws.calls("TransactWriteItems")) == 1

    @pytest.mark.parametrize(
        ("codes", "record", "outcome"),
        [
            (("ConditionalCheckFailed", "None"), SPEAKER, JoinOutcome.JOINED),
            (("ConditionalCheckFailed", "ConditionalCheckFailed"), SPEAKER, JoinOutcome.JOINED),
            (("ConditionalCheckFailed", "TransactionConflict"), SPEAKER, JoinOutcome.JOINED),
            (("ConditionalCheckFailed", "None"), LISTENER, JoinOutcome.ID_TAKEN),
            (("ConditionalCheckFailed", "None"), None, JoinOutcome.ID_TAKEN),
            (("None", "ConditionalCheckFailed"), None, JoinOutcome.SPEAKER_PRESENT),
        ],
    )
    def test_reads_why_it_was_cancelled(
        self,
        aws: AwsStub,
        sessions: DynamoDbSessions,
        codes: tuple[str, ...],
        record: Connection | None,
        outcome: JoinOutcome,
    ) -> None:
        aws.answer("TransactWriteItems", cancelled(*codes))
        aws.answer("GetItem", {"Item": DEFAULT_SCHEMA.encode(record)} if record else {})
        assert sessions.start(SPEAKER) is outcome
        assert len(aws.calls("TransactWriteItems")) == 1


class TestSessions:
    def test_reads_are_consistent(self, aws: AwsStub, sessions: DynamoDbSessions) -> None:
        assert sessions.get("s1") is None
        (read,) = aws.calls("GetItem")
        assert read["ConsistentRead"] is True

    def test_listeners_are_counted_without_being_sent(
        self, aws: AwsStub, sessions: DynamoDbSessions
    ) -> None:
        key = {"connectionId": {"S": "c1"}}
        aws.answer("Query", {"Count": 700, "LastEvaluatedKey": key}, {"Count": 1})
        assert sessions.count_listeners("s1") == 701
        first, _ = aws.calls("Query")
        assert (first["Select"], first["IndexName"]) == ("COUNT", "sessionId-role-index")

    @pytest.mark.parametrize("seconds", [60, 300])
    def test_an_end_is_tried_again_until_the_deadline(
        self,
        aws: AwsStub,
        sessions: DynamoDbSessions,
        clock: FakeClock,
        deadline: Deadline,
        seconds: int,
    ) -> None:
        aws.fail("UpdateItem", status=400, code="TransactionConflictException")
        deadline.start(seconds * 1_000)
        began_ms = clock.ms
        with pytest.raises(BackendError, match="UpdateItem failed with TransactionConflict"):
            sessions.end(SPEAKER, now_ms=NOW_MS, claim_expires_ms=NOW_MS)
        # What a last attempt would have needed, after the longest of pauses.
        left_ms = seconds * 1_000 - (clock.ms - began_ms)
        assert 0 <= left_ms - REPORT_MS <= ATTEMPT_MS + 2_000
        assert len(aws.calls("UpdateItem")) > 30

    def test_an_end_that_is_not_allowed_is_not_tried_again(
        self, aws: AwsStub, sessions: DynamoDbSessions
    ) -> None:
        aws.fail("UpdateItem", status=400, code="AccessDeniedException")
        with pytest.raises(BackendError, match="AccessDenied"):
            sessions.end(SPEAKER, now_ms=NOW_MS, claim_expires_ms=NOW_MS)
        assert len(aws.calls("UpdateItem")) == 1

    def test_an_outage_is_an_error_and_never_a_missing_session(
        self, aws: AwsStub, sessions: DynamoDbSessions
    ) -> None:
        for operation in ("GetItem", "Query"):
            aws.fail(operation, status=403, code="AccessDeniedException")
        with pytest.raises(BackendError, match="GetItem failed"):
            sessions.get("s1")
        with pytest.raises(BackendError, match="Query failed"):
            list(sessions.listener_ids("s1"))


class TestOwnClaim:
    """A conditional write whose answer was lost is refused by itself when it is repeated."""

    def refused_by_the_first_attempt(self, aws: AwsStub) -> None:
        def answer_late(call: Call) -> Failure:
            values = call.content["ExpressionAttributeValues"]
            item = {
                "connectionId": {"S": "c1"},
                "sessionId": {"S": "s1"},
                "isActive": {"BOOL": False},
                "speakerConnectionId": {"S": "c1"},
                "startedAt": {"N": "1700000000000"},
                "claimExpiresAt": values[":claim"],
                "claimToken": values[":token"],
            }
            return Failure(
                status=400, code="ConditionalCheckFailedException", members={"Item": item}
            )

        lost = Failure(status=503, code="ServiceUnavailable")
        aws.answer("UpdateItem", lost, answer_late)

    def test_a_claim_is_had_all_the_same(
        self, aws: AwsStub, connections: DynamoDbConnections
    ) -> None:
        self.refused_by_the_first_attempt(aws)
        assert connections.claim(
            Connection(connection_id="c1", last_activity_ms=NOW_MS),
            now_ms=NOW_MS,
            claim_expires_ms=EpochMs(NOW_MS + 60_000),
        )

    def test_an_ended_session_is_had_all_the_same(
        self, aws: AwsStub, sessions: DynamoDbSessions
    ) -> None:
        self.refused_by_the_first_attempt(aws)
        refusal = sessions.end(
            Connection(connection_id="c1", session_id="s1", role=Role.SPEAKER),
            now_ms=NOW_MS,
            claim_expires_ms=EpochMs(NOW_MS + 60_000),
        )
        assert refusal is None
