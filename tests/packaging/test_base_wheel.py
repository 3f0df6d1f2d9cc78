"""What ``pip install hangup`` brings: enough for the decorator and for a sweep, no machine code."""

import json
import os
import subprocess
import zipfile
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest

from tests.support.aws_stub import AwsStub, Reply
from tests.support.distribution import python_of, uv
from tests.support.documents import ROOT
from tests.support.recorded import CONNECTION_ID, recorded

pytestmark = [pytest.mark.slow, pytest.mark.install]

ON_ITS_OWN = """
import json, sys
event = json.loads(sys.argv[1])
class Context:
    aws_request_id = "base"
    def get_remaining_time_in_millis(self):
        return 60_000
"""
DECORATE = """
from hangup import tracks_activity

@tracks_activity
def handler(event, context):
    return "handled"

print(handler(event, Context()))
"""
HANDLE = """
from hangup.handlers.{name} import lambda_handler
print(json.dumps(lambda_handler(event, Context())))
"""
WHAT_RAN = """
absent = {"pycurl", "greenlet", "orjson", "jwt"}
assert not absent & sys.modules.keys()
assert sys.modules["hangup"].__file__.startswith(sys.prefix)
assert "botocore.client" not in sys.modules, "that reads a megabyte about each service"
"""
CROWD = [f"{number:03}=" for number in range(50)]


@pytest.fixture(scope="module")
def virtualenv(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty virtualenv into which the wheel alone was installed, without an extra."""
    return virtualenv_with(str(wheel), tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def with_cli(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty virtualenv into which the wheel was installed with the command line."""
    return virtualenv_with(f"{wheel}[cli]", tmp_path_factory.mktemp("cli"))


def virtualenv_with(wheel: str, folder: Path) -> Path:
    virtualenv = folder / "venv"
    uv("venv", virtualenv)
    # The versions that are tested here; any within the bounds would do.
    lock = ROOT / "requirements" / "dev.txt"
    # Both of our own wheels are in one folder, as they are in one index.
    ours = Path(wheel.partition("[")[0]).parent
    options = ("--python", python_of(virtualenv), "--constraint", lock, "--find-links", ours)
    uv("pip", "install", *options, wheel)
    return virtualenv


def installed_in(virtualenv: Path) -> list[Distribution]:
    (packages,) = virtualenv.glob("lib/python*/site-packages")
    return [*distributions(path=[str(packages)])]


def hangup(virtualenv: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command that the wheel installs."""
    return subprocess.run(
        [virtualenv / "bin" / "hangup", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def run(virtualenv: Path, *parts: str, event: object = None) -> str:
    script = "".join([ON_ITS_OWN, *parts])
    result = subprocess.run(
        [python_of(virtualenv), "-I", "-W", "error", "-c", script, json.dumps(event)],
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()[-1]


def idle(connection_id: str) -> dict[str, object]:
    return {
        "connectionId": {"S": connection_id},
        "lastActivityTime": {"N": "1690000000000"},
    }


def test_brings_botocore_and_powertools_and_what_they_need(virtualenv: Path) -> None:
    assert {one.name.lower().replace("_", "-") for one in installed_in(virtualenv)} == {
        "hangup",
        "aws-lambda-powertools",
        "botocore",
        "jmespath",
        "python-dateutil",
        "six",
        "typing-extensions",
        "urllib3",
    }


@pytest.mark.parametrize("which", ["virtualenv", "with_cli"])
def test_brings_no_machine_code(request: pytest.FixtureRequest, which: str) -> None:
    for one in installed_in(request.getfixturevalue(which)):
        about = one.read_text("WHEEL") or ""
        tags = [line for line in about.splitlines() if line.startswith("Tag:")]
        assert tags, one.name
        assert all(tag.endswith("-none-any") for tag in tags), (one.name, tags)
        libraries = {".so", ".pyd", ".dylib", ".dll"}
        files = one.files or []
        assert files, one.name
        assert not [file for file in files if libraries & {*file.suffixes}], one.name


def test_records_activity(virtualenv: Path, aws: AwsStub) -> None:
    assert run(virtualenv, DECORATE, WHAT_RAN, event=recorded("message")) == "handled"
    (request,) = aws.calls("UpdateItem")
    assert request["Key"] == {"connectionId": {"S": CONNECTION_ID}}


def test_sweeps(virtualenv: Path, aws: AwsStub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAST_ACTIVE_COUNTS", "client")
    monkeypatch.setenv("CLOSES_PER_SECOND", "1000")
    monkeypatch.setenv("SCAN_SEGMENTS", "4")
    sample: Reply = {"Items": [], "Count": 0, "ScannedCount": 0}
    page: Reply = {"Items": [*map(idle, CROWD)], "Count": len(CROWD), "ScannedCount": 60}
    aws.answer(
        "Scan",
        lambda call: (
            page
            if (call.content.get("TotalSegments"), call.content.get("Segment")) == (4, 2)
            else sample
        ),
    )
    aws.fail("GetConnection", status=410, code="GoneException", times=1)
    aws.fail("DeleteConnection", status=500, code="InternalFailure", times=2)
    report = json.loads(run(virtualenv, HANDLE.format(name="timeout_handler"), WHAT_RAN))
    assert (report["checked"], report["idle"], report["complete"]) == (60, 50, True)
    assert (report["closed"], report["gone"]) == (49, 1)
    assert sorted(call["Key"]["connectionId"]["S"] for call in aws.calls("UpdateItem")) == CROWD
    assert len(aws.calls("PostToConnection")) == 49
    handed_over = [call["requestContext"]["connectionId"] for call in aws.calls("Invoke")]
    assert sorted(handed_over) == CROWD


def test_closes_what_the_queue_delivers_and_cleans_up(
    virtualenv: Path, aws: AwsStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOSE_QUEUE_URL", f"{aws.endpoint}/queue")
    unreadable = {"Records": [{"messageId": "m1", "receiptHandle": "r1", "body": "{}"}]}
    answer = run(virtualenv, HANDLE.format(name="close_handler"), WHAT_RAN, event=unreadable)
    assert json.loads(answer) == {"batchItemFailures": [{"itemIdentifier": "m1"}]}
    aws.answer("GetItem", {"Item": idle(CONNECTION_ID)})
    event = recorded("disconnect")
    answer = run(virtualenv, HANDLE.format(name="disconnect_handler"), WHAT_RAN, event=event)
    assert json.loads(answer) == {"statusCode": 200}
    assert aws.operations == ["GetItem", "DeleteItem"]


@pytest.mark.parametrize(
    ("module", "extra"),
    [("hangup.handlers.connect_handler", "sessions"), ("hangup.cdk", "cdk")],
)
def test_says_which_extra_is_missing(virtualenv: Path, module: str, extra: str) -> None:
    script = f"""
try:
    import {module}
except ImportError as error:
    print(error)
"""
    said = run(virtualenv, script)
    assert said.endswith(f" needs an extra of Hangup: pip install 'hangup[{extra}]'")


def test_finds_no_keys_and_says_so(virtualenv: Path, aws: AwsStub, tmp_path: Path) -> None:
    """Where the environment has none, botocore is asked: it must be whole."""
    script = """
import os
for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
    del os.environ[name]
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
"""
    answer = run(virtualenv, script, DECORATE, event=recorded("message"))
    assert answer == "handled"
    assert aws.log == []


@pytest.mark.parametrize("words", [(), ("demo",), ("plan",), ("--help",), ("--version",)])
def test_the_command_without_its_extra_says_which_to_install(
    virtualenv: Path, words: tuple[str, ...]
) -> None:
    result = hangup(virtualenv, *words)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert result.stderr.endswith(": pip install 'hangup[cli]'\n")


@pytest.mark.parametrize("words", [("demo",), ("up",), ("check", "--local")])
def test_the_command_without_the_local_stack_says_which_to_install(
    with_cli: Path, words: tuple[str, ...]
) -> None:
    result = hangup(with_cli, *words)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert result.stderr.endswith(": pip install 'hangup[local]'\n")


def test_the_command_plans_and_mints_tokens_with_its_extra_alone(with_cli: Path) -> None:
    assert hangup(with_cli, "--version").stdout.startswith("hangup ")
    planned = hangup(with_cli, "plan", "--connections", "1000", "--json")
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)
    explained = hangup(with_cli, "token", "--help")
    assert explained.returncode == 0, explained.stderr


@pytest.mark.parametrize("architecture", ["arm64", "x86_64"])
def test_the_command_line_has_the_zips_of_the_functions(
    with_cli: Path, dist: Path, tmp_path: Path, architecture: str
) -> None:
    done = hangup(
        with_cli,
        *("package", "--json", "--architecture", architecture),
        *("--output", str(tmp_path / "functions.zip")),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["Output"] == str(tmp_path / "functions.zip")
    (data,) = dist.glob("hangup_lambda-*.whl")
    with zipfile.ZipFile(data) as archive:
        carried = archive.read(f"hangup_lambda/hangup-lambda-{architecture}.zip")
    assert (tmp_path / "functions.zip").read_bytes() == carried
