"""A sweep that is bounded and watched: what ``hangup sweep`` adds to the function's code."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from hangup.config import TimeoutSettings
from hangup.core.connection import (
    Connection,
    ConnectionInfo,
    DurationMs,
    EpochMs,
    NoConnection,
)
from hangup.core.guard import Hold
from hangup.core.outcomes import CloseResult
from hangup.core.pacing import Pace
from hangup.core.report import CloseStatus
from hangup.errors import BackendError, ConfigurationError
from hangup.idle.pacer import Pacer
from hangup.idle.sweep import Sweep
from hangup.ops.deployment_file import Deployment
from hangup.ops.sweep import endpoint_of, environment_of, sweep
from hangup.ports import ScanPage
from hangup.testing import FakeAws
from hangup.testing.services import FakeClock

FILE = """
[stack]
name = "chat-hangup"
[api]
id = "a1b2c3"
stage = "prod"
disconnect_function = "arn:aws:lambda:eu-central-1:123456789012:function:bye"
[table]
name = "chat"
connection_id = "id"
role = "role"
[timeout]
idle_seconds = 90
roles = { speaker = 300 }
"""


ENVIRONMENT = environment_of(
    Deployment.from_text(FILE, "hangup.toml"),
    endpoint="https://x.example/prod",
    state_table="states",
)


class TestPacer:
    def pacer(self, most: int | None) -> Pacer:
        return Pacer(clock=FakeClock(), pace=Pace(0), most=most)

    def test_no_more_start_than_there_may(self) -> None:
        pacer = self.pacer(2)
        assert [pacer.wait() for _ in range(3)] == [True, True, False]
        assert not pacer.take()

    def test_a_turn_that_is_given_back_may_be_taken(self) -> None:
        pacer = self.pacer(1)
        assert pacer.take()
        pacer.give_back()
        assert [pacer.wait(), pacer.wait()] == [True, False]

    def test_without_a_bound_all_start(self) -> None:
        pacer = self.pacer(None)
        assert all(pacer.wait() for _ in range(100))


class TestWitness:
    @pytest.mark.parametrize("acts", [True, False])
    def test_hears_of_each_that_looked_idle(self, acts: bool) -> None:
        aws = FakeAws()
        for one in ("Silent1Abcde=", "Silent2Abcde=", "GhostAbcdefg="):
            aws.add_connection(one)
        aws.gateway.open_ids.discard("GhostAbcdefg=")
        aws.clock.sleep(DurationMs(200_000))
        aws.add_connection("FreshAbcdefg=")
        heard: dict[str, CloseResult] = {}

        def witness(connection: Connection, result: CloseResult) -> None:
            heard[connection.connection_id] = result

        sweep = aws.make_sweep()
        closer = replace(sweep.closer, acts=acts)
        replace(sweep, closer=closer, witness=witness).check_and_close_idle_connections(
            time_left_ms=lambda: DurationMs(60_000), correlation_id="by hand"
        )
        statuses = {one: result.status for one, result in heard.items()}
        closed = CloseStatus.CLOSED if acts else CloseStatus.WOULD_CLOSE
        assert statuses == {
            "Silent1Abcde=": closed,
            "Silent2Abcde=": closed,
            "GhostAbcdefg=": CloseStatus.ALREADY_GONE if acts else CloseStatus.WOULD_CLOSE,
        }
        assert heard["GhostAbcdefg="].is_gone is not acts


class TestFailure:
    def failure_of(self, sweep_: Sweep, monkeypatch: pytest.MonkeyPatch) -> str:
        monkeypatch.setattr("hangup.ops.sweep.sweep_of", lambda *_, **__: sweep_)
        swept = sweep(ENVIRONMENT, acts=False, read=lambda _: None)
        assert swept.failure is not None
        return swept.failure

    def test_says_that_not_all_was_looked_at(self, monkeypatch: pytest.MonkeyPatch) -> None:
        aws = FakeAws()
        aws.add_connection("FreshAbcdefg=")
        read = aws.connections.scan_candidates

        def with_some_left(**about: Any) -> Iterator[ScanPage]:
            return (replace(page, left=1) for page in read(**about))

        monkeypatch.setattr(aws.connections, "scan_candidates", with_some_left)
        assert "run it again" in self.failure_of(aws.make_sweep(), monkeypatch)

    def test_says_that_from_here_the_recording_was_not_watched(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        aws = FakeAws()
        aws.add_connection("SentToAbcde=")
        aws.clock.sleep(DurationMs(200_000))
        aws.gateway.active_ms["SentToAbcde="] = aws.clock.now_ms()
        closer = aws.make_closer(confirmer=aws.make_confirmer(counts_both=True))
        said = self.failure_of(aws.make_sweep(closer=closer), monkeypatch)
        assert "has not watched" in said
        assert "--override-guard" in said

    @pytest.mark.parametrize("count", [1, 2])
    def test_says_that_api_gateway_did_not_answer(
        self, monkeypatch: pytest.MonkeyPatch, count: int
    ) -> None:
        aws = FakeAws()
        ids = [f"Silent{number}Abcde=" for number in range(2)]
        for one in ids:
            aws.add_connection(one)
        aws.clock.sleep(DurationMs(200_000))
        ask = aws.gateway.get_connection

        def without_some(connection_id: str) -> ConnectionInfo | NoConnection:
            if connection_id in ids[:count]:
                raise BackendError("GetConnection", "Throttled", "slow down", retryable=True)
            return ask(connection_id)

        monkeypatch.setattr(aws.gateway, "get_connection", without_some)
        monkeypatch.setattr("hangup.ops.sweep.sweep_of", lambda *_, **__: aws.make_sweep())
        swept = sweep(ENVIRONMENT, acts=True, read=lambda _: None)
        # The others can be closed.
        assert swept.failure is None
        decisions = Counter(one.decision for one in swept.verdicts)
        assert decisions == +Counter(left=count, closed=2 - count)
        assert swept.problem == (
            f"{count} stay open because API Gateway did not say whether they are active: run it"
            " again; first error: GetConnection failed with Throttled: slow down"
        )

    def test_says_why_it_was_held(self, monkeypatch: pytest.MonkeyPatch) -> None:
        aws = FakeAws()
        aws.add_connection("FreshAbcdefg=")
        aws.connections.answered_at_ms = EpochMs(aws.clock.now_ms() - 60_000)
        said = self.failure_of(aws.make_sweep(), monkeypatch)
        assert f"held: {Hold.CLOCK}; {Hold.CLOCK.advice}" in said


class TestEnvironment:
    @pytest.mark.parametrize("mode", ["close", "observe"])
    @pytest.mark.parametrize("acts", [True, False])
    def test_whoever_sweeps_says_whether_it_acts(
        self, monkeypatch: pytest.MonkeyPatch, mode: str, acts: bool
    ) -> None:
        aws, seen = FakeAws(), list[bool]()

        def wired(settings: TimeoutSettings, **_about: Any) -> Sweep:
            seen.append(settings.acts)
            return aws.make_sweep()

        monkeypatch.setattr("hangup.ops.sweep.sweep_of", wired)
        variables = environment_of(
            Deployment.from_text(FILE, "hangup.toml", [f"timeout.mode={mode}"]),
            endpoint="https://x.example/prod",
            state_table=None,
        )
        sweep(variables, acts=acts, read=lambda _: None)
        assert seen == [acts]

    def test_is_that_of_the_deployed_function(self) -> None:
        deployment = Deployment.from_text(FILE, "hangup.toml")
        variables = environment_of(deployment, endpoint="https://x.example/prod", state_table=None)
        assert variables == {
            "API_GATEWAY_ENDPOINT": "https://x.example/prod",
            "CONNECTIONS_TABLE": "chat",
            "DISCONNECT_HANDLER_FUNCTION": deployment["api.disconnect_function"],
            "HAND_OVER": "always",
            "MODE": "close",
            "ACTIVITY": "recorded",
            "LAST_ACTIVE_COUNTS": "unsettled",
            "CONNECTION_IDLE_TIMEOUT_SECONDS": "90",
            "IDLE_TIMEOUTS_BY_ROLE": "speaker=300",
            "ACTIVITY_RESOLUTION_SECONDS": "0",
            "CLOSES_PER_SECOND": "200",
            "METRIC_ROLES": "speaker,listener",
            "TABLE_SCHEMA": deployment.table_schema.as_json(),
        }

    @pytest.mark.parametrize(
        ("region", "endpoint"),
        [
            ("eu-central-1", "https://a1b2c3.execute-api.eu-central-1.amazonaws.com/prod"),
            ("cn-north-1", "https://a1b2c3.execute-api.cn-north-1.amazonaws.com.cn/prod"),
        ],
    )
    def test_the_endpoint_is_api_gateways_own(self, region: str, endpoint: str) -> None:
        assert endpoint_of(Deployment.from_text(FILE, "x"), region=region) == endpoint

    def test_what_is_said_is_the_endpoint(self) -> None:
        said = Deployment.from_text(FILE, "x", ["api.endpoint=https://ws.example.com/v1"])
        assert endpoint_of(said, region=None) == "https://ws.example.com/v1"

    def test_without_a_region_it_says_so(self) -> None:
        with pytest.raises(ConfigurationError, match="no AWS Region"):
            endpoint_of(Deployment.from_text(FILE, "x"), region=None)
