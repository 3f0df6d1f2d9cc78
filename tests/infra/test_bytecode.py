"""The bytecode in the Lambda zip: for Lambda's Python, the same each time, found by what it is."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import aws_cdk as cdk
import pytest

from hangup.cdk import BuildError
from hangup.cdk.bundle import PYTHON, build_lambda_zip, content_hash, find_interpreter
from hangup.cdk.code import code_of
from tests.support.templates import Resources

pytestmark = pytest.mark.infra

MAGIC = (3571).to_bytes(2, "little") + b"\r\n"  # Python 3.13's, since its first release candidate
UNCHECKED_HASH = (0b01).to_bytes(4, "little")  # PEP 552: made of a hash, which nobody checks

IMPORT_HANDLER = """
import sys
sys.path.insert(0, sys.argv[1])
import hangup.handlers.timeout_handler as handler
print(handler.__cached__)
"""

CODE_NAMES = """
import marshal, sys
for file in sys.argv[1:]:
    print(marshal.loads(open(file, "rb").read()[16:]).co_filename)
"""


@pytest.fixture(scope="module")
def interpreter() -> str:
    found = find_interpreter()
    if found is None:
        pytest.skip(f"no Python {PYTHON} here, and none to be had")
    return found


@pytest.fixture
def no_interpreter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide every Python but the one that runs this."""
    if f"{sys.version_info.major}.{sys.version_info.minor}" == PYTHON:
        pytest.skip("these tests run on Lambda's Python, so it is never missing")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")


@pytest.fixture
def build_dir(lambda_zip: Path, tmp_path: Path) -> Path:
    """Return a folder of this test's own, with what the lock pins."""
    folder = tmp_path / "build"
    (installed,) = lambda_zip.parent.glob("lambda-dependencies-arm64-*")
    shutil.copytree(installed, folder / installed.name)
    return folder


def test_is_for_the_python_that_the_functions_run_on(resources: Resources) -> None:
    functions = resources.of_type("AWS::Lambda::Function").values()
    assert {function["Runtime"] for function in functions} == {f"python{PYTHON}"}


def test_every_module_in_the_zip_has_bytecode_that_nobody_checks(
    lambda_zip: Path, interpreter: str
) -> None:
    with zipfile.ZipFile(lambda_zip) as archive:
        names = archive.namelist()
        modules = {name for name in names if name.endswith(".py")}
        compiled = {name: archive.read(name)[:8] for name in names if name.endswith(".pyc")}
    assert "hangup/handlers/__pycache__/timeout_handler.cpython-313.pyc" in compiled
    assert {source_of(name) for name in compiled} == modules
    assert set(compiled.values()) == {MAGIC + UNCHECKED_HASH}


def source_of(compiled: str) -> str:
    folder, _, name = compiled.rpartition("__pycache__/")
    return folder + name.replace(".cpython-313.pyc", ".py")


def test_lambda_s_python_imports_a_handler_without_compiling_anything(
    lambda_zip: Path, interpreter: str, tmp_path: Path
) -> None:
    with zipfile.ZipFile(lambda_zip) as archive:
        archive.extractall(tmp_path)
    for source in tmp_path.rglob("*.py"):
        source.write_text("raise AssertionError('read the source')\n")
    result = subprocess.run(
        [
            *(interpreter, "-I", "-S", "-B", "-c", IMPORT_HANDLER),
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().endswith("__pycache__/timeout_handler.cpython-313.pyc")


def test_holds_the_paths_that_the_files_have_in_lambda(
    lambda_zip: Path, interpreter: str, tmp_path: Path
) -> None:
    with zipfile.ZipFile(lambda_zip) as archive:
        compiled = [name for name in archive.namelist() if name.endswith(".pyc")]
        archive.extractall(tmp_path, compiled)
    result = subprocess.run(
        [interpreter, "-I", "-S", "-c", CODE_NAMES, *(str(tmp_path / name) for name in compiled)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == [f"/var/task/{source_of(name)}" for name in compiled]
    for name in compiled:
        assert str(lambda_zip.parent).encode() not in (tmp_path / name).read_bytes()


def test_a_source_that_does_not_compile_stops_the_build_in_one_line(
    interpreter: str, build_dir: Path
) -> None:
    (installed,) = build_dir.iterdir()
    (installed / "six.py").write_text("def\n")
    with pytest.raises(BuildError, match="could not compile the Lambda zip's code") as error:
        build_lambda_zip(build_dir)
    assert '/var/task/six.py", line 1' in str(error.value)
    assert "\n" not in str(error.value)
    assert list(build_dir.iterdir()) == [installed], "an interrupted build left something behind"


def test_a_build_without_the_interpreter_says_what_that_costs_and_what_to_do(
    lambda_zip: Path, build_dir: Path, no_interpreter: None
) -> None:
    with pytest.warns(UserWarning, match=r"no bytecode.*twice as long.*uv python install 3\.13"):
        built = build_lambda_zip(build_dir)
    with zipfile.ZipFile(built) as without, zipfile.ZipFile(lambda_zip) as archive:
        sources = [name for name in archive.namelist() if not name.endswith(".pyc")]
        assert without.namelist() == sources
        assert all(without.read(name) == archive.read(name) for name in sources)


def test_the_content_s_hash_does_not_depend_on_compression_or_the_patch_release(
    lambda_zip: Path, tmp_path: Path
) -> None:
    def other_machine(change: tuple[str, bytes] | None = None) -> str:
        copy = tmp_path / "copy.zip"
        with zipfile.ZipFile(lambda_zip) as archive, zipfile.ZipFile(copy, "w") as stored:
            for name in archive.namelist():
                content = archive.read(name)
                if name.endswith(".pyc"):
                    content = content[:16] + b"as another patch release compiles it"
                if change is not None and change[0] == name:
                    content = change[1]
                stored.writestr(name, content)
        assert copy.read_bytes() != lambda_zip.read_bytes()
        return content_hash(copy)

    same = content_hash(lambda_zip)
    assert other_machine() == same
    assert other_machine(("hangup/config.py", b"changed")) != same


def test_bytecode_of_another_python_is_other_content(lambda_zip: Path, tmp_path: Path) -> None:
    hashes = set()
    for magic in (MAGIC, b"\x00\x01\r\n", None):
        variant = tmp_path / "variant.zip"
        with zipfile.ZipFile(variant, "w") as archive:
            archive.writestr("a.py", "pass")
            if magic is not None:
                archive.writestr("__pycache__/a.cpython-313.pyc", magic + bytes(12))
        hashes.add(content_hash(variant))
    assert len(hashes) == 3


def test_cdk_names_the_code_by_its_content(lambda_zip: Path, tmp_path: Path) -> None:
    recompressed = tmp_path / "recompressed.zip"
    with zipfile.ZipFile(lambda_zip) as archive, zipfile.ZipFile(recompressed, "w") as stored:
        for name in archive.namelist():
            stored.writestr(name, archive.read(name))
    assert recompressed.read_bytes() != lambda_zip.read_bytes()
    names = {asset_name(file, tmp_path / file.stem) for file in (lambda_zip, recompressed)}
    assert len(names) == 1


def asset_name(built: Path, outdir: Path) -> str:
    app = cdk.App(outdir=str(outdir))
    code_of(built).bind(cdk.Stack(app, "Stack"))
    app.synth()
    (asset,) = outdir.glob("asset.*.zip")
    return asset.name
