"""A sweep from the command line that closes people is met by a fault at each kind of its requests.

It says one sentence, and the next one goes on: in the end each client is closed once, and each
connection handed over once. From a request on, all of them meet the fault; Ctrl-C comes once.
"""

import io
import json
import os
import signal
import time
import zipfile
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from hangup.cli.app import INTERRUPTED
from hangup.local.ministack.engine import Engine
from tests.support.chat_app import App, deployed
from tests.support.chat_user import User
from tests.support.cloudformation_stub import assert_one_sentence
from tests.support.desk import behind_relay, run
from tests.support.relay import Fault, Relay

pytestmark = pytest.mark.integration

_IDLE_S: Final = 1
_PEOPLE: Final = 2

_HANDLER: Final = """
import boto3, time
dynamodb = boto3.resource("dynamodb")
sockets, hand_overs = dynamodb.Table("chat-sockets"), dynamodb.Table("hand-overs")

def handler(event, context):
    about = event["requestContext"]
    key = {"socket": "ws#" + about["connectionId"]}
    if about["eventType"] == "CONNECT":
        more = {"since": int(time.time()), "room": "hall", "env": about["stage"]}
        sockets.put_item(Item={**key, **more})
    elif "correlationId" in event:
        count = {":one": 1}
        update = "ADD times :one"
        hand_overs.update_item(
            Key=key, UpdateExpression=update, ExpressionAttributeValues=count
        )
        sockets.delete_item(Key=key)
    return {"statusCode": 200}
"""
"""It counts the hand-overs. API Gateway's own event comes to nothing: that is best effort."""

_OPERATIONS: Final = {
    "claim": ("UpdateItem", ""),
    "notice": ("POST ", "/@connections/"),
    "close": ("DELETE ", "/@connections/"),
    "hand-over": ("POST ", "/invocations"),
    "question": ("GET ", "/@connections/"),
    "read": ("Scan", ""),
}


@dataclass
class Desk:
    """Somebody at the command line, whose requests pass the relay, those of connections too."""

    user: User
    relay: Relay
    output: pytest.CaptureFixture[str]
    passed: list[str] = field(default_factory=list)

    def sweep(self, *words: str) -> tuple[int, str, str]:
        """Sweep; return the status, what was printed, and what was said in the end."""
        return run(["sweep", "--yes", *words], self.output)

    def plan(self, kind: str, fault: Fault | None, *, after: int = 0) -> None:
        """Let a fault come at a request of a kind, after so many of the kind; None is Ctrl-C."""
        self.relay.plan(None)
        left = after
        has_come = False

        def before(number: int) -> None:
            nonlocal left, has_come
            operation = self.relay.operations[number]
            if is_of(operation, kind) and not has_come:
                left -= 1
                has_come = left < 0
                if has_come and fault is None:
                    os.kill(os.getpid(), signal.SIGINT)
                    time.sleep(0.05)
                elif has_come:
                    self.relay.fault, self.relay.faults_from = fault, number
            if self.relay.fault is None:
                self.passed.append(operation)

        self.relay.before = before

    def wait_for_hand_overs(self, ids: Collection[str]) -> None:
        """Return once nothing is on its way, and all that was handed over is cleaned up."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            begun = sum(is_of(one, "hand-over") for one in self.passed)
            done = hand_overs(self.user.app, ids)
            left = {item["socket"]["S"] for item in self.user.items()}
            if not self.relay.at_work and sum(done.values()) == begun and not done.keys() & left:
                return
            time.sleep(0.1)
        raise AssertionError("something goes on")


def is_of(operation: str, kind: str) -> bool:
    begin, part = _OPERATIONS[kind]
    return operation.startswith(begin) and part in operation


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    with Engine.start(enforce_iam=False) as engine:
        app = deployed(engine)
        engine.client("dynamodb").create_table(
            TableName="hand-overs",
            KeySchema=[{"AttributeName": "socket", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "socket", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("app.py", _HANDLER)
        engine.client("lambda").update_function_code(FunctionName="chat", ZipFile=code.getvalue())
        yield app


@pytest.fixture
def desk(
    app: App,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Desk]:
    user = User(app, tmp_path)
    for item in user.items():
        key = {"socket": item["socket"]}
        app.engine.client("dynamodb").delete_item(TableName="chat-sockets", Key=key)
    with behind_relay(user, monkeypatch) as relay:
        endpoint = f"{relay.endpoint}/_aws/execute-api/{app.api_id}/prod"
        (tmp_path / "hangup.toml").write_text(_FILE.format(app=app, endpoint=endpoint))
        yield Desk(user, relay, capsys)


_FILE: Final = """
[stack]
name = "chat-hangup"
[api]
id = "{app.api_id}"
stage = "prod"
endpoint = "{endpoint}"
disconnect_function = "{app.function_arn}"
[table]
name = "chat-sockets"
connection_id = "socket"
id_prefix = "ws#"
[table.connected_at]
attribute = "since"
unit = "s"
[timeout]
idle_seconds = 1
activity = "gateway"
"""


@pytest.mark.parametrize("fault", [*Fault, None])
@pytest.mark.parametrize(
    ("kind", "after"),
    [
        *((kind, 0) for kind in _OPERATIONS),
        ("question", _PEOPLE),  # as it closes: each was asked about before
    ],
)
def test_goes_on_after_each_fault(
    desk: Desk, app: App, kind: str, after: int, fault: Fault | None
) -> None:
    with ExitStack() as connected:
        people = [connected.enter_context(connect(app.address)) for _ in range(_PEOPLE)]
        ids = {item["socket"]["S"] for item in desk.user.items()}
        assert len(ids) == _PEOPLE
        time.sleep(_IDLE_S + 1)
        desk.plan(kind, fault, after=after)
        status, out, err = desk.sweep()
        assert status == (INTERRUPTED if fault is None else 1), (out, err)
        *progress, sentence = err.splitlines(keepends=True)
        assert_one_sentence(sentence)
        assert not [line for line in progress if not line.startswith("hangup: ")]
        desk.wait_for_hand_overs(ids)
        expire_claims(app)
        desk.plan(kind, fault, after=1_000)
        status, out, err = desk.sweep()
        assert (status, err) == (0, ""), out
        # A notice that is not on record is sent again.
        assert [heard_until_closed(one) for one in people] == [{"connectionTimeout"}] * _PEOPLE
    desk.wait_for_hand_overs(ids)
    assert desk.user.items() == []
    assert hand_overs(app, ids) == dict.fromkeys(ids, 1)
    closes = Counter(one for one in desk.passed if is_of(one, "close"))
    assert set(closes.values()) == {1}
    assert len(closes) == _PEOPLE


def expire_claims(app: App) -> None:
    """Let a minute pass, as far as claims go."""
    dynamodb = app.engine.client("dynamodb")
    for item in dynamodb.scan(TableName="chat-sockets")["Items"]:
        if "claimExpiresAt" in item:
            past = {"N": str(round(time.time() * 1000) - 1)}
            dynamodb.put_item(TableName="chat-sockets", Item={**item, "claimExpiresAt": past})


def heard_until_closed(client: ClientConnection) -> set[str]:
    """Return the types of what a client was sent before it was closed."""
    heard = set()
    try:
        while True:
            heard.add(json.loads(client.recv(timeout=5))["type"])
    except ConnectionClosed:
        return heard


def hand_overs(app: App, ids: Collection[str]) -> dict[str, int]:
    """Return how often each of these was handed over."""
    items = app.engine.client("dynamodb").scan(TableName="hand-overs")["Items"]
    return {
        one["socket"]["S"]: int(one["times"]["N"]) for one in items if one["socket"]["S"] in ids
    }
