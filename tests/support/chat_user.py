"""Somebody with the application of ``chat_app``, at the command line."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

from hangup.local.deploy import _lambda_zip
from hangup.local.ministack.aws_client import REGION
from tests.support.chat_app import App
from tests.support.terminal import HANGUP, plain_environment

STACK: Final = "chat-hangup"


class User:
    """Somebody with an app, at the command line."""

    def __init__(self, app: App, folder: Path) -> None:
        self.app, self.folder = app, folder
        self.environment = plain_environment(
            AWS_ACCESS_KEY_ID="test",
            AWS_SECRET_ACCESS_KEY="test",
            AWS_DEFAULT_REGION=REGION,
            AWS_ENDPOINT_URL=app.engine.endpoint,
        )
        (folder / "code.zip").write_bytes(_lambda_zip())

    def hangup(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*HANGUP, *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def done(self, *words: str) -> str:
        done = self.hangup(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def outputs(self) -> dict[str, str]:
        stack = self.app.engine.client("cloudformation").describe_stacks(StackName=STACK)
        return {one["OutputKey"]: one["OutputValue"] for one in stack["Stacks"][0]["Outputs"]}

    def sweep(self) -> Any:
        answer = self.app.engine.client("lambda").invoke(
            FunctionName=self.outputs["TimeoutFunctionName"], Payload=b"{}"
        )
        return json.loads(answer["Payload"].read())

    def items(self) -> Any:
        return self.app.engine.client("dynamodb").scan(TableName="chat-sockets")["Items"]

    @property
    def stacks(self) -> list[str]:
        stacks = self.app.engine.client("cloudformation").list_stacks()["StackSummaries"]
        return [s["StackName"] for s in stacks if s["StackStatus"] != "DELETE_COMPLETE"]

    @property
    def buckets(self) -> list[str]:
        return [one["Name"] for one in self.app.engine.client("s3").list_buckets()["Buckets"]]


def found(user: User) -> None:
    endpoint = f"api.endpoint={user.app.endpoint}"
    user.done(
        "init", "--api", "chat", "--yes", "--set", endpoint, "--set", "timeout.idle_seconds=2"
    )
