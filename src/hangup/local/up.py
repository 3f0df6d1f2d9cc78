"""The stack on this machine until Ctrl-C: what runs on AWS, at its real timing."""

import json
import shlex
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from hangup.aws.cloudwatch import FunctionLogs
from hangup.aws.deployment import (
    DeployedStack,
    DeployedTimeout,
    StackOutputs,
    functions_of,
    log_groups_of,
    stack_outputs,
)
from hangup.aws.runtime import calls, clock
from hangup.core.connection import DurationMs
from hangup.core.timing import LOOK_AHEAD_S
from hangup.errors import BackendError, LocalStackError
from hangup.local.demo.clients import join_url
from hangup.local.deploy import Deployment, deploy, packaged_template
from hangup.local.ministack.aws_client import aws_client
from hangup.local.ministack.engine import HOST, Engine, answers
from hangup.local.ministack.last_active import LastActive
from hangup.local.only_run import only_run
from hangup.ops.log_tail import LogTail, at_clock, in_words
from hangup.sessions.model import Role
from hangup.sessions.tokens import mint_join_token

_LAST_RUN: Final = "last_run.json"
_PREFERRED_PORT: Final = 4566
_STACK: Final = "Hangup"
_SESSION: Final = "demo"
_TOKEN_HOURS: Final = 12
_LOOK_EVERY_S: Final = 1.0
_OVERLAP_MS: Final = DurationMs(5_000)
_ANSWERS_WITHIN_S: Final = 10.0
"""Enough for a busy machine: a stack that runs must not be taken for another."""

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class _LastRun:
    """What a run leaves beside its state, for the next run and for the commands with --local."""

    port: int
    join_secret_arn: str

    @property
    def endpoint(self) -> str:
        return f"http://{HOST}:{self.port}"


def run_up(  # noqa: PLR0913 - the command's options
    say: Callable[[str], None],
    *,
    port: int | None,
    idle_timeout_s: int,
    precise: bool,
    last_active: LastActive,
    state_dir: Path,
    program: str,
    python: str,
) -> None:
    """Run the stack and report to ``say`` what happens on it, until interrupted.

    ``precise`` is that of ``HangupStack``: closes come to the second. ``last_active`` says what
    moves the ``lastActiveAt`` of a connection. Without ``port`` it is that
    of the last run, or 4566, or a free one if that is taken. The state is kept in ``state_dir``.
    ``program`` and ``python`` are what one types here to call the command line and this
    interpreter, quoted for a shell. Raise ``LocalStackError`` if the stack cannot start, ends by
    itself or runs from ``state_dir`` already, and let ``KeyboardInterrupt`` through once everything
    is stopped and saved.
    """
    with only_run(state_dir) as note_address:
        last_run = _read_last_run(state_dir)
        if port is None:
            port = last_run.port if last_run else _PREFERRED_PORT
            port = port if _is_free(port) else 0
        say("Starting an AWS emulator on this machine (loopback only) ...")
        log_file = state_dir / "engine.log"
        with Engine.start(
            port=port, state_dir=state_dir / "state", log_file=log_file, last_active=last_active
        ) as engine:
            note_address(engine.endpoint)
            say("Deploying the stack ...")
            stack = deploy(
                engine,
                parameters={"IdleTimeoutSeconds": str(idle_timeout_s)},
                template=packaged_template(precise=precise),
            )
            this_run = _LastRun(port=engine.port, join_secret_arn=stack.outputs["JoinSecretArn"])
            (state_dir / _LAST_RUN).write_text(json.dumps(asdict(this_run)) + "\n")
            how = " and a queue for what falls due" if precise else ""
            say(f"Up: idle timeout {idle_timeout_s} s, one sweep a minute{how}. Ctrl-C stops it.")
            if precise and idle_timeout_s < LOOK_AHEAD_S:
                say(
                    f"Below {LOOK_AHEAD_S} s closes may be a minute late: no sweep looks ahead in"
                    " time."
                )
            if last_active is LastActive.BOTH:
                say("Messages that are posted to a client move its lastActiveAt too.")
            secret = local_join_secret(state_dir)
            say(_how_to_connect(stack, secret, program=program, python=python))
            groups = log_groups_of(functions_of(stack.outputs, engine.client("lambda")).values())
            logs = FunctionLogs(engine.client("logs"), calls, groups)
            log_tail = LogTail(logs, clock, since_ms=clock.now_ms(), overlap_ms=_OVERLAP_MS)
            while engine.running:
                for at_ms, text in log_tail.new_lines():
                    words = in_words(text)
                    if words is not None:
                        say(f"{at_clock(at_ms)}  {words}")
                time.sleep(_LOOK_EVERY_S)
            raise engine.ended_by_itself()


def local_join_secret(state_dir: Path) -> str:
    """Return the join secret of the stack that ``run_up`` runs from ``state_dir``.

    Raise ``LocalStackError`` if none runs.
    """
    with _running(state_dir) as run:
        secrets = aws_client("secretsmanager", run.endpoint)
        return str(secrets.get_secret_value(SecretId=run.join_secret_arn)["SecretString"])


def local_stack(state_dir: Path) -> DeployedStack:
    """Return the stack that ``run_up`` runs from ``state_dir``.

    Raise ``LocalStackError`` if none runs.
    """
    return _local(state_dir, DeployedStack.of)


def local_timeout(state_dir: Path) -> DeployedTimeout:
    """Return the timeout in that stack; raise as ``local_stack`` does."""
    return _local(state_dir, DeployedTimeout.of)


def _local(state_dir: Path, of: Callable[[StackOutputs, Callable[..., Any]], Found]) -> Found:
    with _running(state_dir) as run:
        outputs = stack_outputs(aws_client("cloudformation", run.endpoint), _STACK)
        if outputs["JoinSecretArn"] != run.join_secret_arn:
            raise _not_ours(run, "its stack is of another folder")
        return of(outputs, lambda service, url=run.endpoint: aws_client(service, url))


@contextmanager
def _running(state_dir: Path) -> Iterator[_LastRun]:
    """Yield the last run if its stack seems to run; turn errors of what is asked into a sentence.

    The port may belong to another service by now, another emulator say, which answers anything.
    """
    run = _read_last_run(state_dir)
    if run is None or _is_free(run.port):
        raise LocalStackError("No local stack runs from this folder; start it with: hangup up")
    # Without this the clients would wait for minutes for a service that never answers.
    if not answers(run.port, within_s=_ANSWERS_WITHIN_S):
        raise _not_ours(run, "it does not answer like one")
    try:
        yield run
    except (BackendError, BotoCoreError, ClientError) as error:
        raise _not_ours(run, str(error)) from error
    except (ResponseParserError, LookupError, AttributeError) as error:
        # botocore raises the last for JSON that is not an object.
        raise _not_ours(run, "it answers something else") from error


def _not_ours(run: _LastRun, why: str) -> LocalStackError:
    return LocalStackError(
        f"What listens on port {run.port} is not the local stack of this folder ({why}); start it "
        "with: hangup up"
    )


def _how_to_connect(stack: Deployment, secret: str, *, program: str, python: str) -> str:
    token = mint_join_token(
        session_id=_SESSION,
        role=Role.SPEAKER,
        secret=secret,
        now_ms=clock.now_ms(),
        lifetime_ms=DurationMs(_TOKEN_HOURS * 3_600_000),
    )
    url = join_url(stack.web_socket_url, session_id=_SESSION, role=Role.SPEAKER, token=token)
    return f"""
WebSocket URL        {stack.web_socket_url}
Management endpoint  {stack.management_endpoint}
Join token           {token}
                     (speaker of session {_SESSION!r}, for {_TOKEN_HOURS} hours)

Connect with either of:
  {python} -m websockets {shlex.quote(url)}
  npx wscat -c {shlex.quote(url)}
and type {{"action": "heartbeat"}} now and then: a silent client is closed.
Another token: {program} token --local --session {_SESSION} --role listener
"""


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) != 0


def _read_last_run(state_dir: Path) -> _LastRun | None:
    file = state_dir / _LAST_RUN
    try:
        return _LastRun(**json.loads(file.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise LocalStackError(f"{file} is damaged; remove it and start again") from error
