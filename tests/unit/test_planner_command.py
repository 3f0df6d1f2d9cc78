"""``hangup plan``: its options, its text and its JSON."""

import json
import re
import signal
from collections.abc import Iterator

import pytest

from hangup.cli.app import main
from tests.support.cloudformation_stub import assert_one_sentence
from tests.support.documents import README, page


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what the command prints as one line."""
    assert main(["plan", *arguments]) == 0
    return " ".join(capsys.readouterr().out.split())


class TestText:
    def test_without_options_it_has_everything(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["plan"]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        for part in (
            "COST",
            "SWEEP",
            "CLOSE DELAY",
            "QUOTAS",
            "One sweep",
        ):
            assert part in out
        assert max(len(line) for line in out.splitlines()) <= 100

    def test_columns_are_under_one_another(self, capsys: pytest.CaptureFixture[str]) -> None:
        main(["plan", "--connections", "1000000", "--precise"])
        out = capsys.readouterr().out
        bill = out.split("COST", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
        assert len({len(line) for line in bill}) == 1

    def test_says_how_many_sweeps_it_takes(self, capsys: pytest.CaptureFixture[str]) -> None:
        out = printed(capsys, "--connections", "8000000")
        assert "One sweep takes too long: run 2 in parallel (shards=2)" in out
        assert "With one, sweeps fall behind." in out
        out = printed(capsys, "--connections", "4000000", "--precise")
        assert "run 2 in parallel (shards=2)" in out
        assert "connections it queues last are closed late" in out

    def test_says_when_no_number_of_sweeps_is_enough(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        crowd = ("--connections", "200000", "--idle-share", "1", "--lifetime", "300")
        out = printed(capsys, *crowd)
        assert "20 sweeps in parallel cannot read and close everything" in out
        assert "Take inline" in out
        assert "833 messages a second are more than the 160" in out
        assert "inline falls behind: closes come later and later" in out
        assert "precise falls behind: closes come later and later" in out

    def test_recommends_a_topology_and_says_why(self, capsys: pytest.CaptureFixture[str]) -> None:
        out = printed(capsys, "--connections", "1000000")
        assert "Take precise (precise=True, shards=1): the median close comes 38 s earlier" in out
        assert "Take inline (precise=False, shards=1): precise needs an idle timeout" in printed(
            capsys, "--idle-timeout", "74"
        )

    def test_the_recommendation_does_not_depend_on_what_is_planned(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        main(["plan", "--json"])
        inline = json.loads(capsys.readouterr().out)
        main(["plan", "--json", "--precise"])
        precise = json.loads(capsys.readouterr().out)
        assert inline["topologies"] == precise["topologies"]
        assert inline["recommended"] == precise["recommended"]
        assert (inline["planned"], precise["planned"]) == ("inline", "precise")

    def test_says_whom_long_pauses_would_queue(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "between two heartbeats" not in printed(capsys)
        out = printed(capsys, "--heartbeat", "60")
        assert re.search(r" precise - - - - [\d,.]+ 3 ", out)
        assert "With precise a sweep also queues 24,958 connections" in out

    def test_says_that_a_resolution_saves_no_write(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        main(["plan", "--activity-resolution", "60"])
        assert "saves no write unit" in capsys.readouterr().out


def test_the_page_shows_what_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    found = re.search(
        r"```console\n\$ hangup plan ([^\n]*)\n(\.\.\.\n.*?)```",
        page("explanation/planning"),
        re.DOTALL,
    )
    assert found is not None
    arguments, shown = found[1], found[2].splitlines()
    main(["plan", *arguments.split()])
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in shown if line != "..." and line not in printed] == []


def test_every_option_in_the_documentation_exists(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["plan", "--help"])
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    documented = page("explanation/planning") + page("explanation/costs") + README
    for rest in re.findall(r"hangup plan([^\n`]*)", documented):
        assert set(re.findall(r"--[a-z-]+", rest)) <= known


class TestJson:
    def test_is_one_object(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["plan", "--json"]) == 0
        plan = json.loads(capsys.readouterr().out)
        assert plan["fleet"]["connections"] == 100_000
        for topology in plan["topologies"].values():
            late_s = topology["late_s"]
            assert late_s["p50"] < late_s["p95"] < late_s["p99"] < late_s["max"]
            total = sum(item["usd"] for item in topology["items"])
            assert topology["total_usd"] == pytest.approx(total)
            assert topology["sweep_s"] > 0
        assert plan["quotas"][0]["share"] > 0

    def test_says_how_many_close_functions_there_are(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        main(["plan", "--json", "--precise", "--closes-per-second", "1000"])
        plan = json.loads(capsys.readouterr().out)
        (source,) = (
            quota["source"]
            for quota in plan["quotas"]
            if quota["name"] == "messages to close functions"
        )
        assert source == "9 functions at once at most, limited by pace"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--heartbeat", "120"], "hangup: --heartbeat and --idle-timeout: a heartbeat"),
        (["--activity-resolution", "120"], "--activity-resolution and --idle-timeout: a"),
        (["--lifetime", "60"], "--lifetime and --idle-timeout: a"),
        (["--precise", "--sweep-interval", "120"], "--precise and --sweep-interval: precise"),
        (["--heartbeat", "120"], "the idle timeout of 120 s must be longer"),
        (["--activity-resolution", "120"], "must be below the idle timeout"),
        (["--lifetime", "60"], "a lifetime of 60 s"),
        (["--precise", "--sweep-interval", "120"], "precise sweeps look 75 s ahead"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    arguments: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["plan", *arguments]) == 1
    err = capsys.readouterr().err
    assert_one_sentence(err)
    assert says in err


def test_all_that_end_may_fall_silent() -> None:
    assert main(["plan", "--idle-share", "1"]) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["--connections", "0"],
        ["--connections", "1e6"],
        ["--connections", "-5"],
        ["--heartbeat", "nan"],
        ["--heartbeat", "0"],
        ["--idle-share", "1.1"],
        ["--sweep-interval", "30"],
        ["--sweep-interval", "90"],
        ["--lifetime", "7201"],
        ["--record-bytes", "409601"],
        ["--idle-share", "inf"],
        ["--connections", "\u0661"],
        ["--prices", "prices.json"],
        ["--closes-per-second", "1001"],
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["plan", *arguments])
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("Usage: hangup plan")
