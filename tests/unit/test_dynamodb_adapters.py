"""The adapters of the tables, against a stub of AWS: what they send and what answers mean.

What the tables then hold is for ``tests/contract`` to say.
"""

from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

from hangup.aws.connections import DynamoDbConnections
from hangup.aws.retries import Deadline
from hangup.aws.sessions import DynamoDbSessions
from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.outcomes import ActivityOutcome
from hangup.core.timing import REPORT_MS, SCAN_MARGIN_MS
from hangup.errors import BackendError
from hangup.sessions.model import JoinOutcome, LeaveOutcome, Role, Session
from hangup.testing import FakeClock
from tests.support.aws_stub import AwsStub, Call, Failure

if TYPE_CHECKING:
    from collections.abc import Callable

NOW_MS = EpochMs(1_700_000_000_000)
LISTENER = Connection(
    connection_id="c1=",
    session_id="s1",
    role=Role.LISTENER,
    connected_at_ms=NOW_MS,
    last_activity_ms=NOW_MS,
)
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
            lambda: connections.release(LISTENER, noticed_at_ms=None),
            lambda: connections.record_activity("c1", now_ms=NOW_MS, resolution_ms=DurationMs(0)),
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
        list(connections.scan_candidates(cutoff_ms=NOW_MS, segment=2, total_segments=7))
        request = aws.calls("Scan")[0]
        assert (request["Segment"], request["TotalSegments"]) == (2, 7)
        assert request["ExpressionAttributeValues"][":cutoff"] == {"N": str(NOW_MS)}
        projected = [
            request["ExpressionAttributeNames"][alias]
            for alias in request["ProjectionExpression"].split(", ")
        ]
        assert "lastActivityTime" in projected
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
            list(connections.scan_candidates(cutoff_ms=NOW_MS, segment=0, total_segments=1))
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
        assert outcomes == [ActivityOutcome.NO_RECORD, ActivityOutcome.ALREADY_RECORDED]

    def test_a_record_without_times_cannot_be_claimed(
        self, aws: AwsStub, connections: DynamoDbConnections
    ) -> None:
        nameless = Connection(connection_id="c1")
        assert not connections.claim(nameless, now_ms=NOW_MS, claim_expires_ms=NOW_MS)
        assert aws.log == []

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
            list(connections.scan_candidates(cutoff_ms=NOW_MS, segment=0, total_segments=1))
        assert not error.value.retryable

    def test_a_write_names_a_table_with_a_sort_key(
        self, aws: AwsStub, connections: DynamoDbConnections
    ) -> None:
        message = "The provided key element does not match the schema"
        aws.fail("UpdateItem", status=400, code="ValidationException", message=message)
        with pytest.raises(BackendError, match=rf"{message} \({MUST_HAVE}\)$"):
            connections.claim(LISTENER, now_ms=NOW_MS, claim_expires_ms=NOW_MS)


def cancelled(*codes: str) -> Failure:
    reasons = [{"Code": code} for code in codes]
    return Failure(status=400, code=CANCELLED, members={"CancellationReasons": reasons})


class TestTransactions:
    def test_a_conflict_is_tried_again_as_another_transaction(
        self, aws: AwsStub, sessions: DynamoDbSessions
    ) -> None:
        conflict = cancelled("None", "TransactionConflict")
        aws.answer("TransactWriteItems", conflict, conflict, {})
        assert sessions.leave(LISTENER, now_ms=NOW_MS) is LeaveOutcome.LISTENER_LEFT
        tokens = [call["ClientRequestToken"] for call in aws.calls("TransactWriteItems")]
        assert len(tokens) == len(set(tokens)) == 3

    def test_a_condition_of_the_session_that_fails_beside_a_conflict_is_tried_again_too(
        self, aws: AwsStub, sessions: DynamoDbSessions
    ) -> None:
        mixed = cancelled("TransactionConflict", "ConditionalCheckFailed")
        aws.answer("TransactWriteItems", mixed, {})
        assert sessions.leave(LISTENER, now_ms=NOW_MS) is LeaveOutcome.LISTENER_LEFT

    def test_a_record_that_is_gone_decides_whatever_the_session_conflicts_with(
        self, aws: AwsStub, sessions: DynamoDbSessions
    ) -> None:
        mixed = cancelled("ConditionalCheckFailed", "TransactionConflict")
        aws.answer("TransactWriteItems", mixed)
        assert sessions.leave(LISTENER, now_ms=NOW_MS) is LeaveOutcome.ALREADY_LEFT
        assert len(aws.calls("TransactWriteItems")) == 1

    def test_one_that_was_not_answered_is_repeated_as_the_same_transaction(
        self, aws: AwsStub, sessions: DynamoDbSessions
    ) -> None:
        aws.fail("TransactWriteItems", status=500, code="InternalServerError", times=2)
        assert sessions.leave(LISTENER, now_ms=NOW_MS) is LeaveOutcome.LISTENER_LEFT
        tokens = [call["ClientRequestToken"] for call in aws.calls("TransactWriteItems")]
        assert len(tokens) == 3
        assert len(set(tokens)) == 1

    def test_a_conflict_that_stays_is_an_error(
        self, aws: AwsStub, sessions: DynamoDbSessions, clock: FakeClock
    ) -> None:
        aws.answer("TransactWriteItems", cancelled("None", "TransactionConflict"))
        began_ms = clock.ms
        with pytest.raises(BackendError, match=CANCELLED) as error:
            sessions.join(LISTENER)
        assert error.value.retryable
        assert len(aws.calls("TransactWriteItems")) == 10
        assert clock.ms - began_ms <= 10_000

    def test_a_cancellation_for_another_reason_is_an_error_at_once(
        self, aws: AwsStub, sessions: DynamoDbSessions
    ) -> None:
        aws.answer("TransactWriteItems", cancelled("ValidationError", "None"))
        with pytest.raises(BackendError) as error:
            sessions.join(LISTENER)
        assert not error.value.retryable
        assert len(aws.calls("TransactWriteItems")) == 1

    @pytest.mark.parametrize(
        ("codes", "outcome"),
        [
            (("ConditionalCheckFailed", "None"), JoinOutcome.JOINED),
            (("ConditionalCheckFailed", "ConditionalCheckFailed"), JoinOutcome.JOINED),
            (("None", "ConditionalCheckFailed"), JoinOutcome.SESSION_NOT_ACTIVE),
        ],
    )
    def test_a_join_reads_why_it_was_cancelled(
        self,
        aws: AwsStub,
        sessions: DynamoDbSessions,
        codes: tuple[str, ...],
        outcome: JoinOutcome,
    ) -> None:
        aws.answer("TransactWriteItems", cancelled(*codes))
        assert sessions.join(LISTENER) is outcome

    def test_a_leave_with_nothing_to_settle_can_find_the_record_gone(
        self, aws: AwsStub, sessions: DynamoDbSessions
    ) -> None:
        aws.answer(
            "TransactWriteItems",
            cancelled("None", "ConditionalCheckFailed"),
            cancelled("ConditionalCheckFailed"),
        )
        assert sessions.leave(LISTENER, now_ms=NOW_MS) is LeaveOutcome.ALREADY_LEFT

    def test_an_outage_is_an_error_and_never_a_missing_session(
        self, aws: AwsStub, sessions: DynamoDbSessions
    ) -> None:
        for operation in ("GetItem", "Query"):
            aws.fail(operation, status=403, code="AccessDeniedException")
        with pytest.raises(BackendError, match="GetItem failed"):
            sessions.get("s1")
        with pytest.raises(BackendError, match="Query failed"):
            list(sessions.listeners("s1"))


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
                "listenerCount": {"N": "2"},
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
        ended = sessions.end(
            Connection(connection_id="c1", session_id="s1", role=Role.SPEAKER),
            now_ms=NOW_MS,
            claim_expires_ms=EpochMs(NOW_MS + 60_000),
        )
        assert isinstance(ended, Session)
        assert ended.listener_count == 2
