"""What the CloseQueue port promises: on the fake, and on MiniStack's SQS in real time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol
from uuid import uuid4

import pytest

from hangup.aws.close_queue import SqsCloseQueue
from hangup.aws.http.services import DirectSqs
from hangup.aws.retries import Calls, Deadline
from hangup.aws.runtime import SystemClock
from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.scheduled_close import ScheduledClose, parse_scheduled_close
from hangup.local.ministack.engine import Engine
from hangup.ports import Clock, CloseQueue
from hangup.sessions.model import Role
from hangup.testing import FakeClock, InMemoryCloseQueue
from tests.support.engines import transport_to

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

HIDDEN_S: Final = 3


@dataclass(frozen=True)
class Delivery:
    """A message, and when it came."""

    close: ScheduledClose
    receipt: str
    at_ms: int


class Ends(Protocol):
    """A queue and its other end. ``wait`` lets time pass."""

    @property
    def queue(self) -> CloseQueue: ...

    @property
    def clock(self) -> Clock: ...

    def receive(self) -> list[Delivery]: ...


class FakeEnds:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.queue = InMemoryCloseQueue(self.clock, hidden_s=HIDDEN_S)

    def receive(self) -> list[Delivery]:
        return [
            Delivery(parse_scheduled_close(received.body), received.receipt, self.clock.now_ms())
            for received in self.queue.receive()
        ]


class SqsEnds:
    def __init__(self, client: "SQSClient", direct: DirectSqs | None) -> None:
        self.clock = SystemClock()
        self._client = client
        self._url = client.create_queue(
            QueueName=f"closes-{uuid4().hex}", Attributes={"VisibilityTimeout": str(HIDDEN_S)}
        )["QueueUrl"]
        calls = Calls(self.clock, Deadline(self.clock))
        self.queue = SqsCloseQueue(direct or client, calls, self.clock, self._url)

    def receive(self) -> list[Delivery]:
        answer = self._client.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10)
        return [
            Delivery(
                parse_scheduled_close(message["Body"]),
                message["ReceiptHandle"],
                self.clock.now_ms(),
            )
            for message in answer.get("Messages", [])
        ]


@pytest.fixture(scope="module")
def sqs() -> Iterator["SQSClient"]:
    with Engine.start(enforce_iam=False) as engine:
        yield engine.client("sqs")


REAL = [
    pytest.param(engine, marks=[pytest.mark.integration, pytest.mark.lateness])
    for engine in ("ministack", "ministack, direct")
]


@pytest.fixture(params=["fake", *REAL])
def ends(request: pytest.FixtureRequest) -> Ends:
    if request.param == "fake":
        return FakeEnds()
    client: SQSClient = request.getfixturevalue("sqs")
    if request.param == "ministack":
        return SqsEnds(client, None)
    transport = transport_to(client.meta.endpoint_url, service="sqs")
    return SqsEnds(client, DirectSqs(lambda: transport))


def close(ends: Ends, number: int, *, in_ms: int) -> ScheduledClose:
    now_ms = ends.clock.now_ms()
    return ScheduledClose(
        silence_ms=DurationMs(120_000),
        judged_at_ms=EpochMs(1_700_000_000_000),
        connection=Connection(
            connection_id=f"c{number}=",
            session_id="s1",
            role=Role.SPEAKER,
            connected_at_ms=EpochMs(now_ms - 600_000),
            last_activity_ms=EpochMs(now_ms + in_ms - 120_000),
        ),
        deadline_ms=EpochMs(now_ms + in_ms),
        correlation_id="tick-1",
    )


def deliveries(ends: Ends, *, within_ms: int) -> list[Delivery]:
    """Return what comes within this time."""
    until_ms = ends.clock.now_ms() + within_ms
    came: list[Delivery] = []
    while ends.clock.now_ms() < until_ms:
        came += ends.receive()
        ends.clock.sleep(DurationMs(50))
    return came


def test_brings_what_was_sent_as_it_was_sent(ends: Ends) -> None:
    sent = [close(ends, number, in_ms=-1) for number in range(10)]
    assert ends.queue.send(sent) is None
    came = [delivery.close for delivery in deliveries(ends, within_ms=1_000)]
    assert sorted(came, key=lambda d: d.connection.connection_id) == sent


def test_brings_each_within_a_second_before_it_is_idle_or_when_it_can(ends: Ends) -> None:
    sent = [
        close(ends, number, in_ms=in_ms) for number, in_ms in enumerate((-5_000, 0, 700, 1_999))
    ]
    assert ends.queue.send(sent) is None
    came = deliveries(ends, within_ms=3_000)
    assert len(came) >= len(sent)
    for delivery in came[: len(sent)]:
        late_ms = delivery.at_ms - delivery.close.deadline_ms
        # The millisecond after the deadline it is idle. The rest is for a machine that has other
        # things to do than to look every 50 ms.
        assert -1_000 < late_ms <= 1_000 or delivery.close.deadline_ms <= sent[0].deadline_ms


def test_a_message_that_was_received_is_hidden_and_comes_again(ends: Ends) -> None:
    ends.queue.send([close(ends, 1, in_ms=-1)])
    (first,) = deliveries(ends, within_ms=300)
    assert deliveries(ends, within_ms=1_000) == []
    (again,) = deliveries(ends, within_ms=HIDDEN_S * 1_000)
    assert again.close == first.close


@pytest.mark.parametrize("delay_s", [0, 1])
def test_a_postponed_message_comes_again_after_its_delay(ends: Ends, delay_s: int) -> None:
    ends.queue.send([close(ends, 1, in_ms=-1)])
    (first,) = deliveries(ends, within_ms=300)
    postponed_ms = ends.clock.now_ms()
    ends.queue.postpone(first.receipt, delay_s=delay_s)
    (again,) = deliveries(ends, within_ms=1_800)
    assert again.close == first.close
    # The engine's clock and ours are one; a few milliseconds are for the way there.
    assert again.at_ms - postponed_ms >= delay_s * 1_000 - 20


def test_a_session_of_a_size_that_no_request_holds_stops_no_other(ends: Ends) -> None:
    sent = [close(ends, number, in_ms=-1) for number in range(10)]
    huge = Connection(
        connection_id="c" * 128,
        session_id="\u2603" * 100_000,
        role=None,
        last_activity_ms=EpochMs(ends.clock.now_ms() - 200_000),
    )
    sent[3] = ScheduledClose(
        silence_ms=DurationMs(120_000),
        judged_at_ms=EpochMs(1_700_000_000_000),
        connection=huge,
        deadline_ms=sent[3].deadline_ms,
        correlation_id="tick-1",
    )
    assert ends.queue.send(sent) is None
    came = {delivery.close.connection.connection_id for delivery in deliveries(ends, within_ms=500)}
    assert came == {one.connection.connection_id for one in sent}
