"""`hangup doctor --probe` on the engine: a real client, closed by the deployed timeout."""

import json
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from hangup.local.deploy import _lambda_zip
from hangup.local.ministack.aws_client import REGION
from hangup.local.ministack.engine import Engine
from hangup.local.ministack.last_active import LastActive
from tests.support.chat_app import App, deployed
from tests.support.engine_stack import until
from tests.support.repeated import repeated
from tests.support.terminal import HANGUP, on_terminal, plain_environment

pytestmark = pytest.mark.acceptance

IDLE_S = 8


def environment(app: App) -> dict[str, str]:
    return plain_environment(
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",
        AWS_DEFAULT_REGION=REGION,
        AWS_ENDPOINT_URL=app.engine.endpoint,
    )


def hangup(app: App, folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*HANGUP, *words],
        cwd=folder,
        env=environment(app),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def swept(app: App, function: str) -> AbstractContextManager[None]:
    """Sweep again and again: the schedule's shortest interval is a minute."""
    functions = app.engine.client("lambda")
    return repeated(lambda: functions.invoke(FunctionName=function, Payload=b"{}"), every_s=0.5)


@pytest.mark.parametrize("last_active", list(LastActive))
def test_a_client_is_followed_to_its_removal(last_active: LastActive, tmp_path: Path) -> None:
    (tmp_path / "code.zip").write_bytes(_lambda_zip())
    with Engine.start(enforce_iam=False, last_active=last_active) as engine:
        app = deployed(engine)
        (tmp_path / "hangup.toml").write_text(
            f"""
[stack]
name = "chat-hangup"
[api]
id = "{app.api_id}"
stage = "prod"
endpoint = "{app.endpoint}"
disconnect_function = "{app.function_arn}"
[table]
name = "chat-sockets"
connection_id = "socket"
id_prefix = "ws#"
connected_at = {{ attribute = "since", unit = "s" }}
last_activity = {{ attribute = "last", unit = "s" }}
[timeout]
idle_seconds = {IDLE_S}
hand_over = "if_left"
"""
        )
        made = hangup(app, tmp_path, "deploy", "--zip", "code.zip", "--yes")
        assert made.returncode == 0, made.stderr
        stack = engine.client("cloudformation").describe_stacks(StackName="chat-hangup")["Stacks"]
        outputs = {one["OutputKey"]: one["OutputValue"] for one in stack[0]["Outputs"]}
        with swept(app, outputs["TimeoutFunctionName"]):
            words = ("--probe", "--json", "--query", "token=a b", "--header", "X-Token: t")
            done = hangup(app, tmp_path, "doctor", *words)
        found = {one["name"]: one for one in json.loads(done.stdout)["findings"]}
        assert done.returncode == 0, found
        counts = found["counts-unsettled"]
        assert counts["fix"].endswith(f"timeout.last_active_counts={last_active}")
        assert "with code 1000" in found["probe-closed"]["what"]
        assert found["probe-removed"]["status"] == "ok"
        assert "probe-not-noticed" not in found
        assert engine.client("dynamodb").scan(TableName="chat-sockets")["Items"] == []

        # Ctrl-C in the middle: the client goes in order, and takes its record with it.
        screen = on_terminal(
            [*HANGUP, "doctor", "--probe"],
            environment=environment(app),
            cwd=tmp_path,
            type_when=lambda said: "silent for" in said,
        )
        assert screen.status == 130
        assert "Traceback" not in screen.output
        # The engine calls $disconnect beside the command's end.
        until(lambda: not engine.client("dynamodb").scan(TableName="chat-sockets")["Items"])
