"""The zip that Lambda runs: small, the same wherever it is built, and complete."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from hangup.cdk import BuildError, bundle
from hangup.cdk.bundle import LOCK, PLATFORMS, PYTHON, build_lambda_zip
from tests.support.http_server import serving

pytestmark = pytest.mark.infra

HANDLERS = (
    "connect_handler",
    "message_handler",
    "disconnect_handler",
    "timeout_handler",
    "close_handler",
)

# What Lambda and the stack put into the environment, and nothing of this machine's.
ENVIRONMENT = {
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "made-up",
    "AWS_SECRET_ACCESS_KEY": "made-up",
    "AWS_LAMBDA_FUNCTION_NAME": "handler",
    "CONNECTION_IDLE_TIMEOUT_SECONDS": "120",
    "API_GATEWAY_ENDPOINT": "https://a1b2c3.execute-api.eu-west-1.amazonaws.com/prod",
    "CONNECTIONS_TABLE": "connections",
    "SESSIONS_TABLE": "sessions",
    "DISCONNECT_HANDLER_FUNCTION": "disconnect",
    "JOIN_SECRET_ARN": "arn:aws:secretsmanager:eu-west-1:111122223333:secret:join-a1b2c3",
}

IMPORT_HANDLER = """
import importlib, os, sys
unpacked, handler = sys.argv[1:]
sys.path.insert(0, unpacked)
module = importlib.import_module("hangup.handlers." + handler)
assert callable(module.lambda_handler)
standard_library = os.path.dirname(os.__file__)
elsewhere = [
    module.__file__
    for module in list(sys.modules.values())
    if getattr(module, "__file__", None)
    and not module.__file__.startswith((unpacked, standard_library))
]
assert not elsewhere, elsewhere
"""

FIND_KEYS = """
import os, sys
unpacked, os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = sys.argv[1:]
del os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
sys.path.insert(0, unpacked)
from hangup.aws.http.account import account
ours = account()
assert ours.keys() == ("AKIDEXAMPLE", "a-secret", "a-token"), ours.keys()
assert ours.url_of("sqs") == "https://sqs.eu-west-1.amazonaws.com"
assert os.path.getsize(ours.ca_file) > 100_000
"""

LOG_AND_MEASURE = """
import sys
sys.path.insert(0, sys.argv[1])
from hangup.aws.telemetry import EmfMetrics, StructuredLog
from hangup.core.report import Count
log = StructuredLog("zip")
log.correlate("c-1")
log.info("logged", fields={"a": 1})
try:
    1 / 0
except ZeroDivisionError:
    log.error("failed")
EmfMetrics().emit([Count(name="ConnectionsChecked", value=3)])
"""


MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}


@pytest.fixture(scope="module", params=PLATFORMS)
def architecture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def architecture_zip(lambda_zip: Path, architecture: str) -> Path:
    return build_lambda_zip(lambda_zip.parent, architecture=architecture)


@pytest.fixture(scope="module")
def names(lambda_zip: Path) -> list[str]:
    with zipfile.ZipFile(lambda_zip) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def unpacked(lambda_zip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(lambda_zip) as archive:
        archive.extractall(folder)
    return folder


def run_clean(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run in an interpreter that has its standard library and nothing that is installed."""
    return subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-W", "error", "-c", script, *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("handler", HANDLERS)
def test_imports_a_handler_in_an_interpreter_that_has_nothing_else(
    unpacked: Path, handler: str
) -> None:
    result = run_clean(IMPORT_HANDLER, str(unpacked), handler)
    assert result.returncode == 0, result.stderr


def test_finds_the_keys_of_a_function_that_has_none_in_its_environment(unpacked: Path) -> None:
    keys = {"AccessKeyId": "AKIDEXAMPLE", "SecretAccessKey": "a-secret", "Token": "a-token"}
    body = json.dumps(keys | {"Expiration": "2999-01-01T00:00:00Z"}).encode()
    with serving() as server:
        server.answer = lambda _request: (
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        result = run_clean(FIND_KEYS, str(unpacked), f"http://127.0.0.1:{server.port}/keys")
    assert result.returncode == 0, result.stderr


def test_can_log_and_emit_metrics(unpacked: Path) -> None:
    result = run_clean(LOG_AND_MEASURE, str(unpacked))
    assert result.returncode == 0, result.stderr
    for text in ('"logged"', '"failed"', '"correlation_id":"c-1"', '"ConnectionsChecked"'):
        assert text in result.stdout


def test_is_the_same_byte_for_byte_when_built_again_elsewhere(
    lambda_zip: Path, tmp_path: Path
) -> None:
    previous_mask = os.umask(0o077)
    try:
        again = build_lambda_zip(tmp_path)
    finally:
        os.umask(previous_mask)
    assert again != lambda_zip
    assert again.read_bytes() == lambda_zip.read_bytes()


def test_is_under_10_mb(architecture_zip: Path) -> None:
    assert architecture_zip.stat().st_size < 10_000_000


def test_holds_libraries_for_lambda_s_processor_and_python(
    architecture_zip: Path, architecture: str
) -> None:
    with zipfile.ZipFile(architecture_zip) as archive:
        libraries = [name for name in archive.namelist() if ".so" in name]
        # What libcurl needs, OpenSSL above all, is in a folder of its own.
        modules = [name for name in libraries if not name.startswith("pycurl.libs/")]
        kind = f"cpython-{PYTHON.replace('.', '')}-{MACHINES[architecture]}-linux-gnu.so"
        assert modules == [
            f"greenlet/_greenlet.{kind}",
            f"orjson/orjson.{kind}",
            f"pycurl/_pycurl.{kind}",
        ]
        assert len(libraries) > len(modules)
        headers = [archive.read(name)[:20] for name in libraries]
    for header in headers:
        assert header[:4] == b"\x7fELF"
        # e_machine of the ELF header: EM_AARCH64, EM_X86_64.
        assert int.from_bytes(header[18:20], "little") == {"arm64": 183, "x86_64": 62}[architecture]


def test_differs_between_architectures_in_the_libraries_alone(lambda_zip: Path) -> None:
    contents = []
    for architecture in PLATFORMS:
        built = build_lambda_zip(lambda_zip.parent, architecture=architecture)
        with zipfile.ZipFile(built) as archive:
            contents.append({info.filename: info.CRC for info in archive.infolist()})
    arm64, x86_64 = contents
    different = {name for name, _ in arm64.items() ^ x86_64.items()}
    assert {name.partition("/")[0] for name in different} == {
        "greenlet",
        "orjson",
        "pycurl",
        "pycurl.libs",
    }
    assert all(".so" in name for name in different)


def test_refuses_a_processor_that_lambda_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="arm64 and x86_64, not on riscv64"):
        build_lambda_zip(tmp_path, architecture="riscv64")


def test_holds_the_package_s_modules_that_run_in_lambda_alone(names: list[str]) -> None:
    ours = {name for name in names if name.startswith("hangup/")}
    assert ours >= {f"hangup/handlers/{handler}.py" for handler in HANDLERS}
    for left_out in ("cdk/", "local/", "cli.py", "testing.py", "py.typed"):
        assert not any(name.startswith(f"hangup/{left_out}") for name in ours)


def test_holds_no_more_of_the_dependencies_than_their_code(names: list[str]) -> None:
    names = [name for name in names if "__pycache__" not in name]
    packages = {name.partition("/")[0] for name in names if ".dist-info" not in name}
    assert packages == {
        "aws_lambda_powertools",
        "botocore",
        "dateutil",
        "greenlet",
        "hangup",
        "jmespath",
        "jwt",
        "orjson",
        "pycurl",
        "pycurl.libs",
        "six.py",
        "typing_extensions.py",
        "urllib3",
    }
    for name in names:
        assert not name.endswith((".pyi", "/", "py.typed", "RECORD", "WHEEL", "top_level.txt"))
        assert not {"tests", "examples"} & set(name.split("/"))


def test_holds_of_powertools_the_logger_and_the_metrics(names: list[str]) -> None:
    powertools = {name.split("/")[1] for name in names if name.startswith("aws_lambda_powertools/")}
    assert powertools - {"__pycache__"} == {
        "__init__.py",
        "exceptions",
        "logging",
        "metrics",
        "package_logger.py",
        "shared",
        # Imported by Powertools' own __init__, and by its logger.
        "tracing",
        "utilities",
        "warnings",
    }


def test_holds_no_description_of_aws_services(names: list[str]) -> None:
    assert [name for name in names if name.startswith("botocore/data/")] == []


def test_says_which_packages_it_holds_to_those_who_scan_it(names: list[str]) -> None:
    metadata = {name.partition("-")[0] for name in names if name.endswith(".dist-info/METADATA")}
    assert {
        "botocore",
        "greenlet",
        "orjson",
        "pycurl",
        "urllib3",
        "pyjwt",
        "aws_lambda_powertools",
    } <= metadata


def test_holds_the_licence_of_each_package(names: list[str]) -> None:
    packages = {name.partition("/")[0] for name in names if name.endswith(".dist-info/METADATA")}
    pinned = re.findall(r"^([\w.-]+)==([\w.]+)", LOCK.read_text(), flags=re.MULTILINE)
    assert {package.lower() for package in packages} == {
        f"{name.replace('-', '_')}-{version}.dist-info" for name, version in pinned
    }
    for package in packages:
        files = [name.rpartition("/")[2] for name in names if name.startswith(f"{package}/")]
        assert [name for name in files if name.startswith(("LICENSE", "COPYING"))], package
    assert [name for name in names if re.fullmatch(r"botocore-[\d.]+\.dist-info/NOTICE", name)]


def test_names_the_licence_of_each_library_that_comes_with_libcurl(architecture_zip: Path) -> None:
    with zipfile.ZipFile(architecture_zip) as archive:
        libraries = {
            re.split("[-.]", name.rpartition("/")[2])[0]
            for name in archive.namelist()
            if name.startswith("pycurl.libs/") and ".so" in name
        }
        told = archive.read("pycurl.libs/LICENCES.txt").decode()
    listed = [
        file for row in re.findall(r"^  files  (.+)$", told, re.MULTILINE) for file in row.split()
    ]
    assert sorted(listed) == sorted(libraries)
    _, *projects = told.split("\n\n")
    for project in projects:
        assert re.fullmatch(r".+: .+\n  files  lib.+\n  text   https://.+\n?", project), project


def test_gives_every_entry_one_time_and_one_mode_in_one_order(lambda_zip: Path) -> None:
    with zipfile.ZipFile(lambda_zip) as archive:
        entries = archive.infolist()
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.external_attr >> 16 for entry in entries} == {0o100644}
    assert {entry.compress_type for entry in entries} == {zipfile.ZIP_DEFLATED}
    names = [entry.filename for entry in entries]
    assert names == sorted(names)


def test_builds_without_an_index_once_the_lock_is_installed(
    lambda_zip: Path, tmp_path: Path, without_index: None
) -> None:
    (installed,) = lambda_zip.parent.glob("lambda-dependencies-arm64-*")
    shutil.copytree(installed, tmp_path / installed.name)
    assert build_lambda_zip(tmp_path).read_bytes() == lambda_zip.read_bytes()


def test_says_in_one_line_that_uv_found_no_index(tmp_path: Path, without_index: None) -> None:
    with pytest.raises(BuildError, match="could not be built, because uv could not") as error:
        build_lambda_zip(tmp_path)
    assert "the network was disabled" in str(error.value)
    assert "\n" not in str(error.value)
    assert [one.name for one in tmp_path.iterdir()] == [".gitignore"], (
        "an interrupted build left something behind"
    )


def test_says_that_there_is_no_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Found before the real one, and not to be run.
    (tmp_path / "hidden" / "uv").mkdir(parents=True)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"))
    (tmp_path / "hidden" / "uv" / "__init__.py").touch()
    with pytest.raises(BuildError, match="No module named uv"):
        build_lambda_zip(tmp_path / "build")
    assert [one.name for one in (tmp_path / "build").iterdir()] == [".gitignore"]


def test_refuses_a_package_that_is_not_what_the_lock_pins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "lambda.txt"
    lock.write_text(re.sub("sha256:.{4}", "sha256:0000", LOCK.read_text()))
    monkeypatch.setattr(bundle, "LOCK", lock)
    with pytest.raises(BuildError, match="Hash mismatch"):
        build_lambda_zip(tmp_path / "build")


@pytest.fixture
def without_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_NO_CACHE", "1")


def test_installs_what_the_project_s_lock_pins() -> None:
    project = Path(__file__).parents[2] / "requirements" / "lambda.txt"
    assert LOCK.read_text() == project.read_text(), "out of date; run: make synth"
