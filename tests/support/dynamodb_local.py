"""DynamoDB Local, AWS's own engine: fetched once with npm, run with Java, on loopback alone."""

import hashlib
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final, Self

__all__ = ["DynamoDbLocal", "Unavailable"]

_PACKAGE: Final = "amplify-dynamodb-simulator"
_VERSION: Final = "2.9.30"
_SHA256: Final = "3503ffac19f183407909fecdacf4db51ab1fdad1da7b2f177016670b2d80e4b9"
_CACHE: Final = Path(__file__).parents[2] / "build" / "dynamodb-local"
_MAIN: Final = Path(__file__).with_name("LoopbackDynamoDb.java")
_MAX_FETCH_S: Final = 120
_MAX_STOP_S: Final = 10


class Unavailable(Exception):
    """This machine cannot run DynamoDB Local; the text says what it lacks."""


class DynamoDbLocal:
    """A running engine; ``with DynamoDbLocal.start() as engine:`` ends it."""

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self._process = process
        self.endpoint = f"http://127.0.0.1:{port}"

    @classmethod
    def start(cls, *, database: Path | None = None) -> Self:
        """Fetch the engine if it is not there yet, and return once it answers: about 2 s.

        With ``database``, a folder, it keeps its tables there, and has those that are. Raises
        ``Unavailable`` without a JDK of version 17 or newer, or, the first time, npm.
        """
        java = _java()
        folder = _emulator()
        tables = ["-inMemory"] if database is None else ["-dbPath", str(database)]
        process = subprocess.Popen(
            [
                *(java, "-Xmx512m", "-Djava.library.path=DynamoDBLocal_lib"),
                *("-cp", "DynamoDBLocal.jar", str(_MAIN), "-disableTelemetry", *tables),
            ],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if listening := re.match(r"listening on (\d+)", line):
                return cls(process, int(listening[1]))
        raise RuntimeError(f"DynamoDB Local ended with {process.wait()}:\n{''.join(said)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()  # the engine takes the end of its input for its own
        try:
            self._process.wait(_MAX_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _java() -> str:
    java = shutil.which("java")
    if java is None:
        raise Unavailable("DynamoDB Local needs a JDK of version 17 or newer: there is no java")
    modules = subprocess.run([java, "--list-modules"], capture_output=True, text=True, check=False)
    version = re.search(r"^jdk\.compiler@(\d+)", modules.stdout, re.MULTILINE)
    if version is None or int(version[1]) < 17:
        raise Unavailable("DynamoDB Local needs a JDK of version 17 or newer, with its compiler")
    return java


def _emulator() -> Path:
    folder = _CACHE / _VERSION
    if folder.is_dir():
        return folder
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable("DynamoDB Local is fetched with npm, once: there is no npm")
    _CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_CACHE) as temporary:
        packed = subprocess.run(
            [npm, "pack", "--silent", f"{_PACKAGE}@{_VERSION}", "--pack-destination", temporary],
            capture_output=True,
            text=True,
            timeout=_MAX_FETCH_S,
            check=False,
        )
        if packed.returncode:
            why = (packed.stderr or packed.stdout).strip().splitlines()[-1:] or ["no reason given"]
            raise Unavailable(f"DynamoDB Local could not be fetched with npm: {why[0]}")
        archive = Path(temporary) / f"{_PACKAGE}-{_VERSION}.tgz"
        if hashlib.sha256(archive.read_bytes()).hexdigest() != _SHA256:
            raise RuntimeError(f"{_PACKAGE} {_VERSION} is not the file that it was: see {_CACHE}")
        # Python 3.11.4 or newer has filters. The file is known by its hash.
        safely: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        with tarfile.open(archive) as files:
            files.extractall(temporary, **safely)  # noqa: S202
        # Last, in one step: a folder that is there is complete. Another process may be first.
        try:
            (Path(temporary) / "package" / "emulator").rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    return folder
