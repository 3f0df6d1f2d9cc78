"""The benchmarks do what they measure. Nothing here looks at a time."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import results, tables
from benchmarks.claims import BATCH
from benchmarks.endpoints import Endpoints, WorkNotDoneError
from benchmarks.machine import CPU_SHARE, cpu_limit
from benchmarks.measures import QUICK, Run
from benchmarks.records import Idle, connection_id, record, record_of_table, timeout_s
from benchmarks.results import ROWS, Row, documented_table, printed_table, row_of, write_results
from benchmarks.stub import PAGE_RECORDS, Ledger, TooMuchAskedError
from benchmarks.trial import Side, sweep
from hangup.aws.schema import DEFAULT_SCHEMA
from tests.support.documents import page

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
NOW_MS = 1_795_515_776_417


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    with Endpoints.start(tmp_path_factory.mktemp("stub")) as endpoints:
        yield endpoints


def test_both_sides_close_the_same_connections(aws: Endpoints) -> None:
    everybody = sorted(connection_id(number) for number in range(12))
    aws.reset(records=12)
    hangup = sweep("hangup", aws)
    closed_by_hangup = aws.ids()
    aws.check(closes=12, claims=12)
    aws.reset(records=12)
    naive = sweep("naive", aws)
    assert aws.ids() == closed_by_hangup == dict.fromkeys(closed_by_hangup, everybody)
    aws.check(closes=12, metrics=12)
    assert hangup is not None
    assert naive is not None
    assert (hangup.report["checked"], hangup.report["closed"]) == (12, 12)
    assert naive.report == {"checked": 12, "closed": 12}
    for sample in (hangup, naive):
        assert sample.cpu_s > 0
        assert 10 < sample.peak_rss_mb < 1_000


@pytest.mark.parametrize(("side", "warm"), [("naive-check", 0), ("hangup-check", 2)])
def test_a_check_closes_nobody(aws: Endpoints, side: Side, warm: int) -> None:
    aws.reset(records=12)
    sample = sweep(side, aws, warm=warm)
    assert sample is not None
    assert {name: sample.report[name] for name in ("checked", "idle")} == {
        "checked": 12,
        "idle": 12,
    }
    aws.check(closes=0)


@pytest.mark.parametrize("side", ["closes", "closes-in-batches"])
@pytest.mark.parametrize("closes_per_second", [0, 20])
def test_closes_are_the_same_however_they_are_claimed(
    aws: Endpoints, side: Side, closes_per_second: int
) -> None:
    aws.reset(records=BATCH + 1)
    sample = sweep(side, aws, closes_per_second=closes_per_second)
    assert sample is not None
    assert sample.report == {"checked": BATCH + 1, "closed": BATCH + 1}
    aws.check(closes=BATCH + 1, claims=BATCH + 1)
    if closes_per_second:
        assert sample.wall_s > BATCH / closes_per_second


def test_a_sweep_that_is_ended_has_no_sample(aws: Endpoints) -> None:
    aws.reset(records=500)
    assert sweep("naive", aws, dies_after_s=0.5) is None


def test_a_sweep_that_fails_says_why(aws: Endpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(aws.urls, "execute-api", "ftp://localhost")
    with pytest.raises(
        WorkNotDoneError, match=r"(?s)hangup sweep ended with 1.*API_GATEWAY_ENDPOINT must be"
    ):
        sweep("hangup", aws)


def test_a_run_that_did_not_do_its_work_is_no_sample(aws: Endpoints) -> None:
    aws.reset(records=3)
    sweep("naive", aws)
    aws.check(closes=3, metrics=3)
    with pytest.raises(WorkNotDoneError, match="3 closes for 3 connections instead of 4"):
        aws.check(closes=4)
    with pytest.raises(WorkNotDoneError, match="3 metrics instead of 2"):
        aws.check(closes=3, metrics=2)
    with pytest.raises(WorkNotDoneError, match="0 claims instead of 3"):
        aws.check(closes=3, claims=3)


def test_the_quota_is_lambdas_part_of_a_cpu(aws: Endpoints) -> None:
    with cpu_limit("test") as limit:
        if limit is None:
            pytest.skip("this machine does not let us make a cgroup")
        folder = limit.entrance.parent
        if limit.kind == "v2":
            quota, period = map(int, (folder / "cpu.max").read_text().split())
        else:
            quota, period = (
                int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period")
            )
        assert quota == round(CPU_SHARE * period)
        aws.reset(records=1)
        assert sweep("hangup", aws, limit=limit) is not None
    assert not folder.exists()


def run_with(before: dict[str, Any]) -> Run:
    nowhere: Any = None
    return Run(aws=nowhere, folder=ROOT, scale=QUICK, say=print, before=before)


def test_the_naive_side_of_a_row_is_of_this_run_or_as_before_or_measured_now() -> None:
    def measure(run: Run) -> None:
        run.take("close_cpu_ms", "naive", 3)

    before = {"close_cpu_ms": {"naive": [2.0], "hangup": [1.0]}}
    run = run_with(before)
    assert run.naive("close_cpu_ms", measure) == [2]
    run.take("close_cpu_ms", "naive", 1)
    assert run.naive("close_cpu_ms", measure) == [1]
    assert run_with({}).naive("close_cpu_ms", measure) == [3]


# -- the records and the stub's table ----------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1, 29, 30, 999])
def test_records_are_those_that_the_connect_handler_writes(number: int) -> None:
    item: Any = record(number, connected_ms=NOW_MS, active_ms=NOW_MS + 5)
    assert DEFAULT_SCHEMA.encode(DEFAULT_SCHEMA.decode(item)) == item


@pytest.mark.parametrize(
    ("number", "size"),
    # As DynamoDB Local counts them.
    [
        ("1795520416911", 8),
        ("1795520416910", 8),
        ("1795520416900", 7),
        ("1795520416000", 7),
        ("1795520410000", 6),
        ("1795530310", 6),
        ("1795530300", 5),
    ],
)
def test_a_number_has_its_size_in_dynamodb(number: str, size: int) -> None:
    assert tables.size_of({"N": number}) == size


def test_the_timeout_chooses_who_is_idle() -> None:
    records = 20_000
    made_at_ms = NOW_MS
    items = [
        record_of_table(number, records=records, made_at_ms=made_at_ms) for number in range(records)
    ]
    assert len({item["connectionId"]["S"] for item in items}) == records
    for idle, expected in ((Idle.TEN, 10), (Idle.THOUSANDTH, 20), (Idle.HUNDREDTH, 200)):
        cutoff_ms = made_at_ms - (idle.value - 7) * 60_000
        found = [item for item in items if int(item["lastActivityTime"]["N"]) < cutoff_ms]
        assert len(found) == idle.count(records) == expected


def test_a_table_that_is_too_old_is_refused() -> None:
    with pytest.raises(RuntimeError, match="too old"):
        timeout_s(Idle.TEN, made_at_ms=0)


def scanned(ledger: Ledger, **request: Any) -> list[dict[str, Any]]:
    pages = []
    start: dict[str, Any] = {}
    while True:
        body = json.dumps({"TableName": "connections", **request, **start}).encode()
        pages.append(json.loads(ledger.answer("POST", "/", "DynamoDB_20120810.Scan", body)[2]))
        if "LastEvaluatedKey" not in pages[-1]:
            return pages
        start = {"ExclusiveStartKey": pages[-1]["LastEvaluatedKey"]}


def test_the_stubs_table_is_read_page_by_page_in_any_number_of_segments() -> None:
    ledger = Ledger()
    records = PAGE_RECORDS * 2 + 1
    ledger.reset(records=records, now_ms=NOW_MS)
    everybody = {connection_id(number) for number in range(records)}
    assert [page["ScannedCount"] for page in scanned(ledger)] == [PAGE_RECORDS, PAGE_RECORDS, 1]
    for segments in (1, 2, 7):
        found = [
            item["connectionId"]["S"]
            for segment in range(segments)
            for page in scanned(ledger, Segment=segment, TotalSegments=segments)
            for item in page["Items"]
        ]
        assert len(found) == records
        assert set(found) == everybody


def test_the_stubs_table_knows_projections() -> None:
    ledger = Ledger()
    ledger.reset(records=1, now_ms=NOW_MS)
    (page,) = scanned(
        ledger,
        ProjectionExpression="#id, lastActivityTime",
        ExpressionAttributeNames={"#id": "connectionId"},
    )
    assert page["Items"] == [
        {
            "connectionId": {"S": connection_id(0)},
            "lastActivityTime": {"N": str(NOW_MS - 3_600_000)},
        }
    ]


def test_the_stub_refuses_what_no_sweep_asks_for() -> None:
    ledger = Ledger()
    for method, path, target in (
        ("PUT", "/prod/@connections/a", ""),
        ("POST", "/elsewhere", ""),
        ("POST", "/", "DynamoDB_20120810.DeleteTable"),
    ):
        with pytest.raises(TooMuchAskedError):
            ledger.answer(method, path, target, b"{}")


def test_claims_in_a_batch_are_counted_one_by_one() -> None:
    ledger = Ledger()
    body = json.dumps({"Statements": [{"Statement": "UPDATE"}] * 3}).encode()
    answer = ledger.answer("POST", "/", "DynamoDB_20120810.BatchExecuteStatement", body)
    assert len(json.loads(answer[2])["Responses"]) == 3
    assert ledger.counts["claims"] == 3


# -- the results -------------------------------------------------------------------------------


def test_ratios_say_how_many_times_better_hangup_is() -> None:
    assert row_of("close_cpu_ms", naive=[60, 90, 61], hangup=[0.5, 0.4, 0.6]) == Row(
        name="close_cpu_ms", unit="ms", naive=61, hangup=0.5, ratio=122
    )
    more = row_of("closes_per_sweep_256mb", naive=[100], hangup=[15_000])
    assert more.ratio == 150
    assert row_of("zip_mb", naive=[], hangup=[5.14159]) == Row(
        name="zip_mb", unit="MB", naive=None, hangup=5.14, ratio=None
    )


def test_the_rows_of_the_targets_have_their_names() -> None:
    assert {
        "check_cpu_per_million",
        "close_cpu_ms",
        "closes_per_sweep_256mb",
        "sweep_s_256mb_1m",
        "peak_rss_mb",
        "cold_start_cpu_ms",
        "cold_start_message_cpu_ms",
        "heartbeat_cpu_ms",
        "lateness_p50_ms",
        "lateness_p99_ms",
        "lateness_precise_p99_ms",
        "zip_mb",
    } <= set(ROWS)


def written(file: Path, name: str, value: float) -> dict[str, Any]:
    row = row_of(name, naive=[], hangup=[value])
    samples: dict[str, dict[str, list[float]]] = {name: {"naive": [], "hangup": [value]}}
    machine = {"cores": 2, "cpu": "a", "memory_gb": 1, "system": "b", "cpu_limited_by": "c"}
    return write_results(
        file, rows=[row], samples=samples, machine=machine, versions={"python": "3", "boto3": "1"}
    )


def test_a_ratio_needs_something_to_divide_by() -> None:
    assert row_of("growth_check_cpu_10k", naive=[0.3], hangup=[-0.001]).ratio is None


def test_rows_that_are_not_measured_again_stay(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    written(file, "zip_mb", 5)
    written(file, "close_cpu_ms", 2)
    everything = written(file, "zip_mb", 6)
    assert json.loads(file.read_text()) == everything
    assert [(row["name"], row["hangup"]) for row in everything["rows"]] == [
        ("close_cpu_ms", 2),
        ("zip_mb", 6),
    ]
    assert everything["samples"]["zip_mb"]["hangup"] == [6]


def test_the_table_goes_between_its_markers(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(f"before\n{results.TABLE_BEGIN}\nold\n{results.TABLE_END}\nafter\n")
    found = written(tmp_path / "results.json", "zip_mb", 5)
    results.write_table(file, found)
    text = file.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert documented_table(found) in text
    assert "old" not in text
    file.write_text("no place")
    with pytest.raises(ValueError, match=r"page\.md has no place"):
        results.write_table(file, found)


def test_the_printed_table_has_the_spread() -> None:
    row = row_of("close_cpu_ms", naive=[60, 90, 61], hangup=[0.5, 0.4, 0.6])
    text = printed_table(
        [row], {"close_cpu_ms": {"naive": [60, 90, 61], "hangup": [0.5, 0.4, 0.6]}}
    )
    assert "60 - 90" in text
    assert "0.4 - 0.6" in text


def test_the_page_has_what_was_measured() -> None:
    measured = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    text = page("explanation/benchmarks")
    assert f"{results.TABLE_BEGIN}\n{documented_table(measured)}\n{results.TABLE_END}" in text


def test_results_are_the_medians_of_their_samples() -> None:
    measured = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    for row in measured["rows"]:
        samples = measured["samples"][row["name"]]
        assert row_of(row["name"], **samples) == Row(**row)


def test_help_names_every_row() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert [name for name in ROWS if name not in said] == []
