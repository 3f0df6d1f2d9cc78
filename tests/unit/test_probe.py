"""The doctor's probe by a client, an API and a table that are stubs."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from hangup.core.connection import ConnectionInfo, EpochMs, JsonObject, NoConnection
from hangup.core.outcomes import PostOutcome
from hangup.errors import ProbeError
from hangup.ops.doctor_case import Finding
from hangup.ops.probe import Closed, Probe, ProbeClient
from tests.support.doctor_stub import NOW_MS, Clock, StubbedInspection, World

AGENT = "hangup-doctor/1"
ID = "AAAAAAAAAAAAAAA="
NOTICE = json.dumps({"type": "connectionTimeout"})


class Fake:
    """API Gateway, the client and the record, as one story. Its parts are changed by the tests."""

    def __init__(self, *settings: str, closes_at_s: int | None = 130) -> None:
        self.world = World(*settings)
        assert self.world.state is not None
        self.world.state = replace(
            self.world.state, parameters={**self.world.state.parameters, "Mode": "close"}
        )
        since: Any = {"N": str(NOW_MS)}
        self.item: Any = {"id": {"S": ID}, "since": since}
        self.world.items = [{"id": {"S": "BBBBBBBBBBBBBBB="}, "since": since}, self.item]
        self.case = self.world.anew()
        self.clock: Clock = self.world.clock
        self.closes_at_s = closes_at_s
        self.counts_both = False
        self.arrives = True
        self.notices = True
        self.removed_after_s: int | None = 5
        self.refused = False
        self.posted_ms: int | None = None
        self.inbox: list[str] = []
        assert isinstance(self.case.inspection, StubbedInspection)
        self.case.inspection.connections_at = lambda _endpoint: self  # type: ignore[method-assign, assignment, return-value]
        self.world.answers["GetItem"] = lambda _request: {} if self.is_removed else {"Item": {}}
        self.said: list[str] = []

    @property
    def passed_s(self) -> float:
        return (self.clock.now_ms() - NOW_MS) / 1000

    @property
    def is_removed(self) -> bool:
        end_s, after_s = self.closes_at_s, self.removed_after_s
        return end_s is not None and after_s is not None and self.passed_s >= end_s + after_s

    # -- API Gateway
    def get_connection(self, connection_id: str) -> ConnectionInfo | NoConnection:
        active_ms = NOW_MS
        if self.counts_both and self.posted_ms is not None:
            active_ms = EpochMs(self.posted_ms)
        agent = AGENT if connection_id == ID else "another"
        return ConnectionInfo(last_active_ms=active_ms, user_agent=agent)

    def post_to_connection(self, connection_id: str, message: JsonObject) -> PostOutcome:
        assert connection_id == ID
        self.posted_ms = self.clock.now_ms()
        if self.arrives:
            self.inbox.append(json.dumps(message))
        return PostOutcome.POSTED

    # -- the client
    def receive(self, within_s: float) -> str | Closed | None:
        if self.inbox:
            return self.inbox.pop()
        self.clock.slept_ms += round(within_s * 1000)
        if self.closes_at_s is None or self.passed_s < self.closes_at_s:
            return None
        if self.notices:
            self.notices = False
            return NOTICE
        return Closed(code=1000, reason="")

    @contextmanager
    def opened(self) -> Iterator[ProbeClient]:
        if self.refused:
            raise ProbeError("wss://a answers 401: the client may not connect")
        yield self

    def probed(self) -> dict[str, Finding]:
        probe = Probe(
            case=self.case, open_client=self.opened, user_agent=AGENT, progress=self.said.append
        )
        return {one.name: one for one in probe.findings()}

    def not_well(self) -> dict[str, Finding]:
        return {name: one for name, one in self.probed().items() if not one.is_well}


def test_it_is_followed_to_the_removal_of_its_record() -> None:
    fake = Fake("timeout.last_active_counts=client")
    found = fake.probed()
    assert [one for one in found.values() if not one.is_well] == []
    assert found["probe-closed"].what == "It was closed after 131 s, with code 1000"
    assert "probe-removed" in found
    assert "silent for 60 s; its timeout is 120 s" in fake.said


@pytest.mark.parametrize("counts_both", [True, False])
def test_whose_messages_count_is_settled(counts_both: bool) -> None:
    fake = Fake("timeout.activity=recorded", 'table.last_activity={attribute="last"}')
    fake.counts_both = counts_both
    answer = "both" if counts_both else "client"
    finding = fake.not_well()["counts-unsettled"]
    assert finding.fix == f"hangup deploy --set timeout.last_active_counts={answer}"
    assert ("moved" if counts_both else "stayed") in finding.cause


def test_a_file_that_says_otherwise() -> None:
    fake = Fake("timeout.last_active_counts=client", "timeout.activity=recorded")
    fake.world.deployment = fake.case.deployment
    fake.counts_both = True
    # The schema has no recorded activity, so the file may not say both: it is said, and no more.
    assert fake.not_well() == {}
    fake = Fake(
        "timeout.last_active_counts=client",
        "timeout.activity=recorded",
        'table.last_activity={attribute="last"}',
    )
    fake.counts_both = True
    assert "the setting is client" in fake.not_well()["counts-otherwise"].cause


def test_a_client_that_may_not_connect() -> None:
    fake = Fake()
    fake.refused = True
    assert "401" in fake.not_well()["probe-refused"].cause


def test_a_client_that_no_function_records() -> None:
    fake = Fake()
    fake.world.items.pop()
    assert list(fake.not_well()) == ["probe-unseen"]


def test_an_older_record_is_not_asked_about() -> None:
    fake = Fake()
    fake.item["since"] = {"N": str(NOW_MS - 120_001)}
    assert list(fake.not_well()) == ["probe-unseen"]
    fake.item["since"] = {"N": str(NOW_MS - 120_000)}
    assert "probe-unseen" not in Fake().not_well()


def test_a_message_that_does_not_arrive() -> None:
    fake = Fake()
    fake.arrives = False
    assert "probe-no-message" in fake.not_well()


def test_a_client_that_is_not_closed() -> None:
    fake = Fake("timeout.last_active_counts=client", closes_at_s=None)
    finding = fake.not_well()["probe-not-closed"]
    assert "its timeout is 120 s" in finding.cause
    assert finding.fix == "aws logs tail /aws/log --since 1h"


def test_a_client_that_is_closed_without_a_notice() -> None:
    fake = Fake("timeout.last_active_counts=client")
    fake.notices = False
    assert list(fake.not_well()) == ["probe-not-noticed"]


def test_a_record_that_stays() -> None:
    fake = Fake("timeout.last_active_counts=client")
    fake.removed_after_s = None
    finding = fake.not_well()["probe-not-removed"]
    assert finding.fix == "aws logs tail /aws/lambda/chat --since 1h"


@pytest.mark.parametrize(
    ("seconds", "words"), [(420, "It was closed"), (421, "It is not followed")]
)
def test_a_long_timeout_is_not_waited_for(seconds: int, words: str) -> None:
    fake = Fake(
        f"timeout.idle_seconds={seconds}", "timeout.last_active_counts=client", closes_at_s=450
    )
    assert fake.probed()["probe-closed"].what.startswith(words)


def test_where_the_stack_observes_nobody_is_waited_for() -> None:
    fake = Fake("timeout.last_active_counts=client")
    assert fake.world.state is not None
    parameters = {"Mode": "observe"}
    fake.case.stacks.state = replace(fake.world.state, parameters=parameters)  # type: ignore[attr-defined]
    assert fake.probed()["probe-closed"].what.startswith("Nothing closes it")
