"""What ``hangup explain`` finds out about a connection, and what it finds in the logs."""

import json
from collections.abc import Iterator, Sequence

import pytest

from hangup.core.connection import Connection, EpochMs, RecordedTime
from hangup.core.guard import Activity, Seen
from hangup.core.hand_over import HandOver
from hangup.core.policy import IdlePolicy
from hangup.errors import BackendError
from hangup.ops.explain import MAX_CORRELATED, Explanation, explain, history_of
from hangup.ops.next_sweep import Fate, Rules
from hangup.testing import START_MS, FakeAws

SINCE_MS = EpochMs(START_MS - 3_600_000)


class Lines:
    """The logs of some functions: what ``events`` returns, and which phrases were looked for."""

    def __init__(self, *lines: object) -> None:
        self.lines = [one if isinstance(one, str) else json.dumps(one) for one in lines]
        self.asked: list[str] = []

    def events(self, *, since_ms: EpochMs, phrase: str = "") -> Iterator[tuple[int, str, str]]:
        self.asked.append(phrase)
        for place, line in enumerate(self.lines):
            if phrase in line:
                yield since_ms + place, "stream", line


class Records:
    def __init__(self, *records: tuple[Connection, EpochMs | None]) -> None:
        self.records = records

    def records_of(self, connection_id: str) -> Sequence[tuple[Connection, EpochMs | None]]:
        return [one for one in self.records if one[0].connection_id == connection_id]


def line(message: str, correlation_id: str, **fields: object) -> dict[str, object]:
    return {"message": message, "correlation_id": correlation_id, **fields}


CLOSED = line("closed idle connections", "sweep-2", count=1, connectionIds=["c1", "c2"])


class TestHistory:
    def test_has_the_lines_that_name_it_and_what_became_of_its_sweep(self) -> None:
        logs = Lines(
            line("sweep done", "sweep-1", checked=2),
            CLOSED,
            line("closed idle connections", "sweep-2", count=1, connectionIds=["c3"]),
            line("sweep done", "sweep-2", checked=2, closed=1),
            line("connection cleaned up", "sweep-2", connectionId="c1", outcome="LEFT"),
            line("connection cleaned up", "sweep-2", connectionId="c2", outcome="LEFT"),
        )
        found = history_of("c1", logs, since_ms=SINCE_MS)
        assert [one.words.partition(":")[0] for one in found] == [
            "closed idle connections",
            "sweep done",
            "connection cleaned up",
        ]
        assert {one.correlation_id for one in found} == {"sweep-2"}
        assert "connectionId=c1" in found[-1].words
        assert logs.asked == ["c1", "sweep-2"]

    def test_the_latest_sweeps_are_looked_for_and_no_more(self) -> None:
        logs = Lines(*(line("left", f"sweep-{n}", connectionIds=["c1"]) for n in range(20)))
        assert len(history_of("c1", logs, since_ms=SINCE_MS)) == 20
        assert logs.asked[1:] == [f"sweep-{19 - n}" for n in range(MAX_CORRELATED)]

    @pytest.mark.parametrize("odd", ["c1 is no JSON", {"message": "x", "of": "c1"}])
    def test_lines_of_any_shape_are_shown(self, odd: object) -> None:
        (found,) = history_of("c1", Lines(odd), since_ms=SINCE_MS)
        assert found.correlation_id is None

    def test_metrics_and_lambdas_own_lines_are_not_shown(self) -> None:
        logs = Lines({"_aws": {}, "of": "c1"}, "START RequestId: c1")
        assert history_of("c1", logs, since_ms=SINCE_MS) == []

    def test_the_logs_are_not_searched_for_what_is_no_id(self) -> None:
        logs = Lines('a "quoted" text')
        assert history_of('a "quoted" text', logs, since_ms=SINCE_MS) == []
        assert logs.asked == []


def explained(
    world: FakeAws, *records: tuple[Connection, EpochMs | None], logs: Lines | None = None
) -> Explanation:
    timeout = IdlePolicy(idle_timeout_ms=120_000, activity_resolution_ms=0)  # type: ignore[arg-type]
    return explain(
        "c1",
        records=Records(*records),
        confirmer=world.make_confirmer(),
        logs=logs or Lines(),
        rules=Rules(
            policy=timeout,
            times={time: world.schema.time_attribute(time) for time in RecordedTime},
            acts=True,
            activity=Activity.RECORDED,
            counts_both=False,
            is_precise=False,
            hand_over=HandOver.ALWAYS,
        ),
        now_ms=START_MS,
        since_ms=SINCE_MS,
    )


def silent(seconds: int) -> Connection:
    return Connection(connection_id="c1", last_activity_ms=EpochMs(START_MS - seconds * 1000))


class TestExplanation:
    def test_one_answer_serves_all_records(self) -> None:
        world = FakeAws()
        world.gateway.open("c1")
        world.gateway.active_ms["c1"] = EpochMs(START_MS - 10_000)
        asked: list[str] = []
        world.faults.before = lambda operation, _key: asked.append(operation)
        seen = explained(world, (silent(400), None), (silent(8), None), (silent(400), START_MS))
        assert [one.next_sweep.fate for one in seen.records] == [Fate.LEAVE, Fate.KEEP, Fate.LEAVE]
        assert asked == ["GetConnection"]
        assert seen.is_known

    def test_one_without_a_record_is_seen_by_no_sweep(self) -> None:
        world = FakeAws()
        world.gateway.open("c1")
        seen = explained(world)
        assert seen.is_known
        assert "no sweep sees it" in seen.verdict

    def test_one_that_is_over_is_known_by_the_logs(self) -> None:
        seen = explained(FakeAws(), logs=Lines(CLOSED))
        assert seen.is_known
        assert seen.verdict.startswith("It is over")

    def test_nobody_knows_an_id_that_never_was(self) -> None:
        seen = explained(FakeAws())
        assert not seen.is_known
        assert seen.account.seen is Seen.GONE
        assert seen.verdict.startswith("Nobody knows it")

    def test_without_an_answer_it_says_why(self) -> None:
        world = FakeAws()
        world.faults.fail("GetConnection")
        error = BackendError("GetConnection", "InternalServerError", "planned", retryable=True)
        assert str(error) in explained(world).verdict

    def test_an_id_that_is_none_is_called_that(self) -> None:
        world = FakeAws()
        seen = explain(
            "no id",
            records=Records(),
            confirmer=world.make_confirmer(),
            logs=Lines(),
            rules=Rules(
                policy=IdlePolicy(idle_timeout_ms=1, activity_resolution_ms=0),  # type: ignore[arg-type]
                times={},
                acts=True,
                activity=Activity.RECORDED,
                counts_both=False,
                is_precise=False,
                hand_over=HandOver.ALWAYS,
            ),
            now_ms=START_MS,
            since_ms=SINCE_MS,
        )
        assert "not an id that API Gateway gives" in seen.verdict
