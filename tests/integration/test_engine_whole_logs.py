"""An invocation's log is whole when it is done, with MiniStack's own workers and its own reading.

Each test runs in a process of its own, because the patch changes MiniStack for good. The thread
that reads a worker's output gets little time there: each line takes it 20 ms, four times as long as
MiniStack waits for one.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

ENGINE = """
import io, json, sys, time, zipfile
from ministack.core import lambda_runtime

handler, timeout_s, patched, events = json.loads(sys.argv[1])
if patched:
    from hangup.local.ministack.patches import whole_logs
    whole_logs.install()

def read_slowly(worker):
    for line in worker._proc.stderr:
        time.sleep(0.02)
        worker._stderr_queue.put(line.rstrip("\\n"))

lambda_runtime.Worker._read_stderr = read_slowly
archive = io.BytesIO()
with zipfile.ZipFile(archive, "w") as code:
    code.writestr("routes.py", handler)
arn = "arn:aws:lambda:us-east-1:000000000000:function:f"
config = {"FunctionName": "f", "FunctionArn": arn, "Runtime": "python3.13",
          "Handler": "routes.handler", "Timeout": timeout_s}
worker = lambda_runtime.Worker("f", config, archive.getvalue())
answers = []
for event in events:
    started = time.monotonic()
    answer = worker.invoke(event, "request")
    took_s = time.monotonic() - started
    answers.append([answer["status"], (answer.get("log") or "").splitlines(), took_s])
worker.kill()
print(json.dumps(answers))
"""

SWEEP = """
import time

def handler(event, context):
    print("closing", event)
    time.sleep(0.5)
    for line in ("metric", "metric", "metric", "done"):
        print(line, event)
"""


def invoke(
    handler: str, events: list[Any], tmp_path: Path, *, timeout_s: int = 30, patched: bool = True
) -> list[tuple[str, list[str], float]]:
    """Return status, lines of the log and seconds of one invocation after the other."""
    answer = subprocess.run(
        [sys.executable, "-P", "-c", ENGINE, json.dumps([handler, timeout_s, patched, events])],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
        env={"PATH": os.defpath, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
    )
    assert answer.returncode == 0, answer.stderr
    return [(status, lines, took_s) for status, lines, took_s in json.loads(answer.stdout)]


def of_sweep(event: int) -> list[str]:
    return [f"{word} {event}" for word in ("closing", "metric", "metric", "metric", "done")]


def test_ministack_alone_leaves_the_end_of_a_log_behind(tmp_path: Path) -> None:
    # When this fails, MiniStack has put it right, and the patch whole_logs may go.
    (_, first, _), (_, second, _) = invoke(SWEEP, [1, 2], tmp_path, patched=False)
    assert first == of_sweep(1)[:1]
    assert second[: len(of_sweep(1)) - 1] == of_sweep(1)[1:]


def test_each_invocation_has_its_whole_log_and_nothing_else(tmp_path: Path) -> None:
    answers = invoke(SWEEP, [1, 2, 3], tmp_path)
    assert [lines for _, lines, _ in answers] == [of_sweep(1), of_sweep(2), of_sweep(3)]


def test_an_end_that_was_not_waited_for_shifts_no_later_log(tmp_path: Path) -> None:
    handler = """
def handler(event, context):
    for line in range(event):
        print(event, line)
"""
    # Of the first, 300 lines take the reading 6 s.
    answers = invoke(handler, [300, 1, 2], tmp_path)
    first, second, third = (lines for _, lines, _ in answers)
    assert first == [f"300 {line}" for line in range(len(first))]
    assert 0 < len(first) < 300
    assert (second, third) == (["1 0"], ["2 0", "2 1"])


def test_a_line_without_its_end_is_in_the_log(tmp_path: Path) -> None:
    handler = "def handler(event, context): print('', 'no end', sep='\\n', end='')"
    ((status, lines, _),) = invoke(handler, [0], tmp_path)
    assert (status, lines) == ("ok", ["", "no end"])


def test_what_a_function_logs_before_it_fails_is_in_the_log(tmp_path: Path) -> None:
    handler = SWEEP + "    raise RuntimeError('no')"
    for status, lines, _ in invoke(handler, [1, 2], tmp_path):
        assert status == "error"
        assert lines[-1].startswith("done")


@pytest.mark.parametrize("end", ["import os; os._exit(1)", "time.sleep(30)"])
def test_what_a_function_logs_before_it_ends_its_process_or_runs_out_of_time_is_in_the_log(
    end: str, tmp_path: Path
) -> None:
    ((status, lines, took_s),) = invoke(f"{SWEEP}    {end}", [1], tmp_path, timeout_s=1)
    assert (status, lines) == ("error", of_sweep(1))
    assert took_s < 4


def test_a_function_that_logs_nothing_is_not_waited_for(tmp_path: Path) -> None:
    answers = invoke("def handler(event, context): pass", [0] * 10, tmp_path)
    assert [lines for _, lines, _ in answers] == [[]] * 10
    # A warm one; MiniStack alone waits 50 ms for a first line. Here the mark takes 20 ms.
    assert min(took_s for _, _, took_s in answers) < 0.05


def test_a_function_that_replaces_its_standard_error_is_not_waited_for(tmp_path: Path) -> None:
    handler = """
import io, sys

def handler(event, context):
    print("before")
    sys.stderr = sys.stdout = io.StringIO()
    print("into nowhere")
    sys.stderr.close()
"""
    ((status, lines, took_s),) = invoke(handler, [0], tmp_path)
    assert (status, lines) == ("ok", ["before"])
    assert took_s < 4
