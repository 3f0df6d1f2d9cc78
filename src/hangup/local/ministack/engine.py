"""Start and stop MiniStack, in a process of its own, on loopback only."""

import contextlib
import errno
import fcntl
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final, Self

from hangup.errors import LocalStackError
from hangup.local.ministack.aws_client import ROOT, Credentials, aws_client
from hangup.local.ministack.last_active import LastActive

HOST: Final = "127.0.0.1"
MAX_START_S: Final = 30.0
MAX_STOP_S: Final = 15.0
"""More than the process allows itself (``process.MAX_STOP_S``), so it ends by itself."""
MAX_LOCK_WAIT_S: Final = 6.0
POLL_S: Final = 0.05
LOG_LINES: Final = 12
"""Lines of the engine's log in an error."""

_MAX_PORT: Final = 65_535


class Engine(contextlib.AbstractContextManager["Engine"]):
    """A running MiniStack. ``with Engine.start() as engine:`` stops it at the end.

    It also ends by itself when this process does, even by SIGKILL, and takes its Lambda workers
    with it.
    """

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        *,
        port: int,
        run_dir: Path,
        log_file: Path,
        state_dir: Path | None = None,
    ) -> None:
        self._process = process
        self._run_dir = run_dir
        self.state_dir = state_dir
        self.port = port
        self.endpoint = f"http://{HOST}:{port}"
        self.log_file = log_file

    @classmethod
    def start(  # noqa: PLR0913 - independent options
        cls,
        *,
        port: int = 0,
        state_dir: Path | None = None,
        enforce_iam: bool = True,
        log_file: Path | None = None,
        last_active: LastActive = LastActive.CLIENT,
        programs: Path | None = None,
    ) -> Self:
        """Start MiniStack and return once it answers, which takes about two seconds.

        ``port`` 0 takes a free one. With ``state_dir`` everything in it is restored at the start
        and saved at the end, also when this process is killed; deploy again after a restart,
        because the port is part of the functions' configuration. ``log_file`` keeps the engine's
        log, which is otherwise lost. ``last_active`` says what moves ``lastActiveAt``. ``programs``
        is a folder of programs that functions need beside the system's: ``node`` for those in
        JavaScript.

        Raise LocalStackError if the port or the state is taken, a file cannot be written or the
        engine does not answer.
        """
        with contextlib.ExitStack() as undo:  # also after Ctrl-C: nothing may stay behind
            with _listener(port) as listener, _locked(state_dir) as lock:
                run_dir = Path(tempfile.mkdtemp(prefix="hangup-"))
                undo.callback(shutil.rmtree, run_dir, ignore_errors=True)
                log = log_file or run_dir / "engine.log"
                bound_port: int = listener.getsockname()[1]
                environment = _environment(bound_port, run_dir, state_dir, enforce_iam=enforce_iam)
                if programs is not None:
                    environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
                try:
                    log.parent.mkdir(parents=True, exist_ok=True)
                    with log.open("wb") as output:
                        process = _spawn(
                            listener, lock, output, [str(run_dir), str(last_active)], environment
                        )
                except OSError as error:
                    raise LocalStackError(
                        f"The local stack could not be started: {error}"
                    ) from error
            engine = cls(
                process, port=bound_port, run_dir=run_dir, log_file=log, state_dir=state_dir
            )
            undo.callback(engine.stop)
            answered = comes_true(
                lambda: not engine.running or answers(bound_port), within_s=MAX_START_S
            )
            if not engine.running and engine._killed_by():
                raise engine.ended_by_itself()
            if not (answered and engine.running):
                what = f"answer within {MAX_START_S:.0f} s" if engine.running else "start"
                raise LocalStackError(
                    f"The local stack did not {what}. Its log:\n{engine.log_tail()}"
                )
            undo.pop_all()
        return engine

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Stop; raise LocalStackError if what failed in the block did so because it had ended."""
        if isinstance(error, Exception) and self._has_ended_by_itself():
            ended = self.ended_by_itself()
            self.stop()
            raise ended from error
        self.stop()

    def _has_ended_by_itself(self) -> bool:
        if self._process.returncode is not None:
            return False
        # The system closes the sockets of a killed process a moment before it counts as ended.
        return not answers(self.port) and comes_true(lambda: not self.running, within_s=POLL_S * 20)

    def ended_by_itself(self) -> LocalStackError:
        """Return the error for an engine that has ended, and was not stopped."""
        by = self._killed_by()
        if by is None:
            return LocalStackError(
                f"The local stack has ended by itself. Its log:\n{self.log_tail()}"
            )
        # Its log says nothing about that.
        return LocalStackError(
            f"The local stack's process {self._process.pid} was killed ({by}) by something else on "
            "this machine; start it again."
        )

    def _killed_by(self) -> str | None:
        """Return the name of the signal that ended the process, None if it ended by itself.

        None also where Python cannot say, which is on macOS before 3.13.
        """
        if not hasattr(os, "waitid"):
            return None
        status = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if status is None or status.si_code == os.CLD_EXITED:
            return None
        return signal.Signals(status.si_status).name

    @property
    def running(self) -> bool:
        """Whether the engine's process is there; False after a crash as well as after ``stop``."""
        return self._process.returncode is None and not _has_ended(self._process.pid)

    def client(
        self, service: str, credentials: Credentials = ROOT, *, endpoint_url: str | None = None
    ) -> Any:  # noqa: ANN401 - boto3 decides by the name of the service
        """Return a boto3 client; annotate it with the service's type where you use it.

        ``apigatewaymanagementapi`` needs ``endpoint_url``: the deployment's management endpoint.
        """
        return aws_client(service, endpoint_url or self.endpoint, credentials)

    def log_tail(self) -> str:
        """Return the last lines of the engine's log, indented; empty if there is none."""
        log = self.log_file.read_text(errors="replace") if self.log_file.exists() else ""
        return "\n".join(f"  {line}" for line in log.splitlines()[-LOG_LINES:])

    def stop(self) -> None:
        """End the engine and everything it started; harmless when it has ended already.

        Open WebSockets are closed with 1001 and their ``$disconnect`` functions run, state is
        saved. Takes a second or two, at most MAX_STOP_S.
        """
        if self._process.returncode is None:
            if self._process.stdin is not None:
                self._process.stdin.close()  # the engine takes this for the end of its parent
            comes_true(lambda: _has_ended(self._process.pid), within_s=MAX_STOP_S)
            # The leader is not collected yet, so its group's number cannot have been given to
            # anybody else. Its workers are in it.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        shutil.rmtree(self._run_dir, ignore_errors=True)


def _listener(port: int) -> socket.socket:
    """Bind the engine's socket here, so that its port is known before anything reads it."""
    if not 0 <= port <= _MAX_PORT:
        raise LocalStackError(f"invalid port {port}: choose one from 1024 to {_MAX_PORT}.")
    try:
        return socket.create_server((HOST, port), backlog=1024)
    except OSError as error:
        why = f"cannot be opened ({os.strerror(error.errno or 0)}):"
        if error.errno == errno.EADDRINUSE:
            why = "is taken: stop what listens there, or"
        raise LocalStackError(f"Port {port} on {HOST} {why} choose another port.") from error


def _environment(
    port: int, run_dir: Path, state_dir: Path | None, *, enforce_iam: bool
) -> dict[str, str]:
    """Return the engine's whole environment.

    Nothing is inherited: MiniStack hands its environment on to the Lambda functions, where the
    user's LOG_LEVEL, AWS_PROFILE, proxies and PYTHONPATH would change what they do.
    """
    environment = {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "TZ": "UTC",  # as in Lambda
        "HOME": str(run_dir),  # no ~/.aws
        "TMPDIR": str(run_dir),
        "AWS_EC2_METADATA_DISABLED": "true",
        "GATEWAY_PORT": str(port),
        "AUTH": "true" if enforce_iam else "false",
        "IOT_MTLS_ENABLED": "0",  # would listen on all interfaces
        "SFTP_ENABLED": "0",  # likewise
        "LAMBDA_EXECUTOR": "local",
        # At its start MiniStack removes the containers of other MiniStacks: keep it off Docker.
        "DOCKER_HOST": f"unix://{run_dir}/no-docker",
    }
    if state_dir is not None:
        state = state_dir.resolve()
        environment |= {
            "PERSIST_STATE": "1",
            "STATE_DIR": str(state / "services"),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(state / "s3"),
        }
    # Where Python itself is found by them, nothing would start without.
    libraries = {"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} & os.environ.keys()
    return environment | {name: os.environ[name] for name in libraries}


@contextlib.contextmanager
def _locked(state_dir: Path | None) -> Iterator[IO[bytes] | None]:
    """Hold the lock on ``state_dir``; what inherits the file keeps it after the end of the block.

    Wait a few seconds for it: the engine of a parent that was killed may be saving its state.
    """
    if state_dir is None:
        yield None
        return
    try:
        # For its owner alone: the join secret is in it.
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (state_dir / "lock").open("wb")
    except OSError as error:
        raise LocalStackError(
            f"{state_dir} cannot be used to keep state ({error.strerror}): "
            "start the stack in another folder."
        ) from error
    with lock:
        if not comes_true(lambda: _is_ours(lock), within_s=MAX_LOCK_WAIT_S):
            raise LocalStackError(
                f"The state in {state_dir} is in use: stop the stack that uses it, or start this "
                "one in another folder."
            )
        yield lock


def _is_ours(lock: IO[bytes]) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _spawn(
    listener: socket.socket,
    lock: IO[bytes] | None,
    output: IO[bytes],
    arguments: list[str],
    environment: dict[str, str],
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 - our own module
        [
            *(sys.executable, "-P", "-m", "hangup.local.ministack.process"),
            *(str(listener.fileno()), str(os.getpid()), *arguments),
        ],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        env=environment,
        pass_fds=[listener.fileno(), *([lock.fileno()] if lock else [])],
        start_new_session=True,  # Ctrl-C is for the parent, which ends the engine in order
    )


def _has_ended(pid: int) -> bool:
    """Return whether our child has ended, without collecting it."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        listed = subprocess.run(  # noqa: S603 - a number
            ["ps", "-o", "stat=", "-p", str(pid)],  # noqa: S607 - wherever it is
            capture_output=True,
            text=True,
            check=False,
        )
        return listed.stdout.strip()[:1] in {"", "Z"}
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def comes_true(condition: Callable[[], object], *, within_s: float) -> bool:
    """Return True once the condition holds, False if it does not within ``within_s`` seconds."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def answers(port: int, *, within_s: float = 2.0) -> bool:
    """Return whether a port is that of an emulator, and it is ready."""
    connection = http.client.HTTPConnection(HOST, port, timeout=within_s)
    with (
        contextlib.closing(connection),
        contextlib.suppress(OSError, http.client.HTTPException),
    ):
        connection.request("GET", "/_ministack/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    return False
