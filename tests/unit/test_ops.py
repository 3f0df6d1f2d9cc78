"""What check and redrive send to AWS, and what the answers mean to them, against a stub of AWS."""

from typing import Any

import pytest

from hangup.aws.clients import client as botocore_client
from hangup.aws.consistency import DynamoDbConsistencyStore
from hangup.aws.dead_letters import SqsDeadLetters
from hangup.aws.retries import Calls
from hangup.core.connection import Connection, EpochMs
from hangup.errors import BackendError
from hangup.sessions.invariants import StoredConnection, UnreadableSession
from hangup.sessions.model import Role, Session
from hangup.sessions.ports import DeadLetter
from tests.support.aws_stub import AwsStub

NOW_MS = EpochMs(1_700_000_000_000)
CONNECTION = {
    "connectionId": {"S": "c1"},
    "sessionId": {"S": "s1"},
    "role": {"S": "listener"},
    "connectedAt": {"N": str(NOW_MS)},
    "claimExpiresAt": {"N": str(NOW_MS + 1)},
}
STORED = StoredConnection(
    connection=Connection(
        connection_id="c1", session_id="s1", role=Role.LISTENER, connected_at_ms=NOW_MS
    ),
    claim_expires_ms=EpochMs(NOW_MS + 1),
)
SESSION = {
    "sessionId": {"S": "s1"},
    "isActive": {"BOOL": True},
    "speakerConnectionId": {"S": "c0"},
    "startedAt": {"N": str(NOW_MS)},
}
LETTER = DeadLetter(message_id="m1", receipt="r1", body="{}")


@pytest.fixture
def store(aws: AwsStub, calls: Calls) -> DynamoDbConsistencyStore:
    return DynamoDbConsistencyStore(
        botocore_client("dynamodb"),
        calls,
        connections_table="connections",
        sessions_table="sessions",
    )


@pytest.fixture
def letters(aws: AwsStub, calls: Calls) -> SqsDeadLetters:
    return SqsDeadLetters(botocore_client("sqs"), calls, "https://sqs.example/queue")


def spelled_out(request: dict[str, Any], expression: str) -> str:
    """Return an expression of a request with the names that its aliases stand for."""
    text: str = request[expression]
    for alias, name in request["ExpressionAttributeNames"].items():
        text = text.replace(alias, name)
    return text


class TestConsistencyStore:
    def test_reads_every_page_consistently(
        self, aws: AwsStub, store: DynamoDbConsistencyStore
    ) -> None:
        key = {"connectionId": {"S": "c1"}}
        plain = {"connectionId": {"S": "c2"}}
        aws.answer(
            "Scan",
            {"Items": [CONNECTION], "Count": 1, "ScannedCount": 1, "LastEvaluatedKey": key},
            {"Items": [plain], "Count": 1, "ScannedCount": 1},
        )
        assert list(store.connection_pages()) == [
            [STORED],
            [StoredConnection(connection=Connection(connection_id="c2"), claim_expires_ms=None)],
        ]
        first, second = aws.calls("Scan")
        assert first["ConsistentRead"] is True
        assert second == {**first, "ExclusiveStartKey": key}
        assert "claimExpiresAt" in spelled_out(first, "ProjectionExpression")

    def test_tells_sessions_from_other_records(
        self, aws: AwsStub, store: DynamoDbConsistencyStore
    ) -> None:
        odd = [
            {"sessionId": {"S": "s2"}},
            {**SESSION, "sessionId": {"S": "s3"}, "startedAt": {"N": "1.5"}},
            {**SESSION, "sessionId": {"S": "s4"}, "isActive": {"S": "yes"}},
        ]
        aws.answer("Scan", {"Items": [SESSION, *odd], "Count": 4, "ScannedCount": 4})
        assert list(store.session_pages()) == [
            [
                Session(
                    session_id="s1",
                    is_active=True,
                    speaker_connection_id="c0",
                    started_at_ms=NOW_MS,
                ),
                *(UnreadableSession(f"s{number}") for number in (2, 3, 4)),
            ]
        ]
        (scan,) = aws.calls("Scan")
        assert scan == {"TableName": "sessions", "ConsistentRead": True}

    @pytest.mark.parametrize(
        ("item", "expected"),
        [({}, None), ({"Item": CONNECTION}, STORED)],
    )
    def test_reads_one_record(
        self,
        aws: AwsStub,
        store: DynamoDbConsistencyStore,
        item: dict[str, Any],
        expected: StoredConnection | None,
    ) -> None:
        aws.answer("GetItem", item)
        assert store.connection("c1") == expected
        assert aws.calls("GetItem")[0]["ConsistentRead"] is True

    def test_reads_one_session(self, aws: AwsStub, store: DynamoDbConsistencyStore) -> None:
        aws.answer("GetItem", {}, {"Item": SESSION})
        assert store.session("s1") is None
        assert isinstance(store.session("s1"), Session)

    def test_drops_only_the_claim_that_was_seen(
        self, aws: AwsStub, store: DynamoDbConsistencyStore
    ) -> None:
        aws.answer("UpdateItem", {})
        assert store.drop_claim("c1", seen_ms=NOW_MS)
        (update,) = aws.calls("UpdateItem")
        assert update["TableName"] == "connections"
        assert spelled_out(update, "ConditionExpression") == (
            "attribute_exists(connectionId) AND claimExpiresAt = :claim"
        )
        assert (
            spelled_out(update, "UpdateExpression")
            == "REMOVE claimExpiresAt, claimToken, handovers"
        )

    def test_says_when_something_else_was_there(
        self, aws: AwsStub, store: DynamoDbConsistencyStore
    ) -> None:
        aws.fail("UpdateItem", status=400, code="ConditionalCheckFailedException")
        assert not store.drop_claim("c1", seen_ms=NOW_MS)

    def test_names_a_table_with_another_key(
        self, aws: AwsStub, store: DynamoDbConsistencyStore
    ) -> None:
        aws.answer("Scan", {"Items": [{"id": {"S": "c1"}}], "Count": 1, "ScannedCount": 1})
        with pytest.raises(BackendError, match="table connections must have the partition key con"):
            list(store.connection_pages())
        with pytest.raises(BackendError, match="table sessions must have the partition key sessio"):
            list(store.session_pages())

    def test_any_other_refusal_is_an_error(
        self, aws: AwsStub, store: DynamoDbConsistencyStore
    ) -> None:
        aws.fail("UpdateItem", status=400, code="AccessDeniedException")
        with pytest.raises(
            BackendError, match=r"UpdateItem failed with AccessDenied.* \(table connections\)"
        ):
            store.drop_claim("c1", seen_ms=NOW_MS)


class TestDeadLetters:
    def test_hides_what_it_receives_and_waits_for_all_servers(
        self, aws: AwsStub, letters: SqsDeadLetters
    ) -> None:
        aws.answer(
            "ReceiveMessage",
            {"Messages": [{"MessageId": "m1", "ReceiptHandle": "r1", "Body": "{}"}]},
        )
        assert letters.receive() == [LETTER]
        (receive,) = aws.calls("ReceiveMessage")
        assert receive == {
            "QueueUrl": "https://sqs.example/queue",
            "MaxNumberOfMessages": 10,
            "WaitTimeSeconds": 1,
            "VisibilityTimeout": 300,
        }

    def test_an_answer_without_messages_is_an_empty_queue(
        self, aws: AwsStub, letters: SqsDeadLetters
    ) -> None:
        aws.answer("ReceiveMessage", {})
        assert letters.receive() == []

    def test_deletes_and_gives_back_by_receipt(self, aws: AwsStub, letters: SqsDeadLetters) -> None:
        letters.delete(LETTER)
        letters.give_back(LETTER)
        (delete,), (change,) = aws.calls("DeleteMessage"), aws.calls("ChangeMessageVisibility")
        assert delete["ReceiptHandle"] == change["ReceiptHandle"] == "r1"
        assert change["VisibilityTimeout"] == 0
