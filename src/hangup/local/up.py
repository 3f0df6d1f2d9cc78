"""The stack on this machine until Ctrl-C: what runs on AWS, at its real timing."""

import json
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from hangup.aws.stack import DeployedStack, stack_outputs
from hangup.core.due import LOOK_AHEAD_S
from hangup.core.model import DurationMs, EpochMs, Role
from hangup.errors import BackendError, LocalStackError
from hangup.local.client import client
from hangup.local.deploy import Deployment, deploy, packaged_template
from hangup.local.engine import HOST, Engine, answers
from hangup.local.feed import Feed
from hangup.local.participants import join_url
from hangup.tokens import mint_join_token

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

__all__ = ["STATE_DIR", "local_join_secret", "local_stack", "run_up"]

STATE_DIR: Final = Path(".hangup")
"""Where the stack's state is kept between runs, below the current folder."""

_PREFERRED_PORT: Final = 4566
_STACK: Final = "Hangup"
_SESSION: Final = "demo"
_TOKEN_HOURS: Final = 12
_LOOK_EVERY_S: Final = 1.0
_ANSWERS_WITHIN_S: Final = 10.0
"""Also where the machine is busy: a stack that runs is not to be taken for another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Note:
    """What a run leaves beside its state, for the next run and for ``hangup token --local``."""

    port: int
    join_secret_arn: str


def run_up(  # noqa: PLR0913 - the command's options
    say: Callable[[str], None],
    *,
    port: int | None = None,
    idle_timeout_s: int = 120,
    precise: bool = False,
    state_dir: Path = STATE_DIR,
    program: str = "hangup",
    python: str = shlex.quote(sys.executable),
) -> None:
    """Run the stack and tell ``say`` what happens on it, until interrupted.

    ``precise`` is ``HangupStack``'s: closes come to the second. Without ``port`` it is that of the
    last run, or 4566, or a free one if that is taken. ``program`` and ``python`` are what one types
    here to call the command line and this interpreter, quoted for a shell. Raises
    ``LocalStackError`` if the stack cannot start or ends by itself, and lets ``KeyboardInterrupt``
    through once everything is stopped and saved.
    """
    note = _read_note(state_dir)
    if port is None:
        port = note.port if note else _PREFERRED_PORT
        port = port if _is_free(port) else 0
    say("Starting an AWS emulator on this machine (loopback only) ...")
    log_file = state_dir / "engine.log"
    with Engine.start(port=port, state_dir=state_dir / "state", log_file=log_file) as engine:
        say("Deploying the stack ...")
        stack = deploy(
            engine,
            parameters={"IdleTimeoutSeconds": str(idle_timeout_s)},
            template=packaged_template(precise=precise),
        )
        _write_note(state_dir, _Note(port=engine.port, join_secret_arn=stack.join_secret_arn))
        for line in _welcome(
            engine, stack, idle_timeout_s=idle_timeout_s, program=program, python=python
        ):
            say(line)
        feed = Feed(engine, stack)
        while engine.running:
            try:
                for line in feed.news():
                    say(line)
            except (BotoCoreError, ClientError):
                # The usual reason is the end of the engine, and what comes below says so better.
                if engine.running:
                    raise
            time.sleep(_LOOK_EVERY_S)
        raise LocalStackError(f"The local stack has ended. Its log:\n{engine.log_tail()}")


def local_join_secret(state_dir: Path = STATE_DIR) -> str:
    """Return the join secret of the stack that ``run_up`` runs from ``state_dir``.

    Raises ``LocalStackError`` if none runs.
    """
    with _running(state_dir) as note:
        return _secret(client("secretsmanager", f"http://{HOST}:{note.port}"), note.join_secret_arn)


def local_stack(state_dir: Path = STATE_DIR) -> DeployedStack:
    """Return the stack that ``run_up`` runs from ``state_dir``.

    Raises ``LocalStackError`` if none runs.
    """
    with _running(state_dir) as note:
        endpoint = f"http://{HOST}:{note.port}"
        outputs = stack_outputs(client("cloudformation", endpoint), _STACK)
        if outputs["JoinSecretArn"] != note.join_secret_arn:
            raise _another(note.port, "its stack is of another folder")
        return DeployedStack(
            outputs=outputs,
            dynamodb=client("dynamodb", endpoint),
            functions=client("lambda", endpoint),
            management=client("apigatewaymanagementapi", outputs["ManagementEndpoint"]),
            queues=client("sqs", endpoint),
        )


@contextmanager
def _running(state_dir: Path) -> Iterator[_Note]:
    """Yield the note of a stack that seems to run; whoever asks it finds out whether it does.

    The port may be somebody else's by now, another emulator's say, who answers anything.
    """
    note = _read_note(state_dir)
    if note is None or _is_free(note.port):
        raise LocalStackError("No local stack runs from this folder; start it with: hangup up")
    # The clients would wait for minutes for somebody who says nothing.
    if not answers(note.port, within_s=_ANSWERS_WITHIN_S):
        raise _another(note.port, "it does not answer like one")
    try:
        yield note
    except (BackendError, BotoCoreError, ClientError) as error:
        raise _another(note.port, str(error)) from error
    except (ResponseParserError, LookupError, AttributeError) as error:
        # The last is what botocore meets in JSON that is no object.
        raise _another(note.port, "it answers something else") from error


def _another(port: int, why: str) -> LocalStackError:
    return LocalStackError(
        f"What listens on port {port} is not the local stack of this folder ({why}); start it "
        "with: hangup up"
    )


def _secret(secrets: "SecretsManagerClient", arn: str) -> str:
    return secrets.get_secret_value(SecretId=arn)["SecretString"]


def _welcome(
    engine: Engine, stack: Deployment, *, idle_timeout_s: int, program: str, python: str
) -> Iterator[str]:
    token = mint_join_token(
        session_id=_SESSION,
        role=Role.SPEAKER,
        secret=_secret(engine.client("secretsmanager"), stack.join_secret_arn),
        now_ms=EpochMs(time.time_ns() // 1_000_000),
        lifetime_ms=DurationMs(_TOKEN_HOURS * 3_600_000),
    )
    url = join_url(stack.web_socket_url, session_id=_SESSION, role=Role.SPEAKER, token=token)
    how = " and a queue for what falls due" if stack.close_queue_url else ""
    yield f"Up: idle timeout {idle_timeout_s} s, one sweep a minute{how}. Ctrl-C stops it."
    if how and idle_timeout_s < LOOK_AHEAD_S:
        yield f"Below {LOOK_AHEAD_S} s a close may be late by a minute: no sweep was there before."
    yield ""
    yield f"WebSocket URL        {stack.web_socket_url}"
    yield f"Management endpoint  {stack.management_endpoint}"
    yield f"Join token           {token}"
    yield f"                     (speaker of session {_SESSION!r}, for {_TOKEN_HOURS} hours)"
    yield ""
    yield "Connect with either of:"
    yield f"  {python} -m websockets {shlex.quote(url)}"
    yield f"  npx wscat -c {shlex.quote(url)}"
    yield 'and type {"action": "heartbeat"} now and then, or be hung up on.'
    yield f"Another token: {program} token --local --session {_SESSION} --role listener"
    yield ""


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) != 0


def _read_note(state_dir: Path) -> _Note | None:
    try:
        return _Note(**json.loads((state_dir / "last_run.json").read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise LocalStackError(
            f"{state_dir}/last_run.json is damaged; remove it and start again"
        ) from error


def _write_note(state_dir: Path, note: _Note) -> None:
    (state_dir / "last_run.json").write_text(json.dumps(asdict(note)) + "\n")
