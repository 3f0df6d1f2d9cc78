"""Check and redrive on the deployed stack: real violations are found, repaired and replayed.

Both run with a role that has the permissions that ``hangup.ops.wiring`` lists, and no others.
"""

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import get_args
from uuid import uuid4

import pytest

from hangup.aws.deployment import DeployedStack
from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.local.demo.clients import Client
from hangup.local.ministack.aws_client import ACCOUNT, REGION, Credentials
from hangup.ops.wiring import check_of, redrive_of
from hangup.sessions.check import PAUSE_MS, CheckReport
from hangup.sessions.invariants import LostListeners, UnreadableSession, UnreadableTime, Violation
from hangup.sessions.model import Role
from hangup.sessions.repair import RepairResult
from hangup.testing import RecordingLog
from tests.support.local_stack import Stack, be_idle, eventually

pytestmark = pytest.mark.integration

CLIENTS = 20
HEALTHY_CHECKS = 2
SHORT_PAUSE_MS = DurationMs(1_000)


def now_ms() -> EpochMs:
    return EpochMs(time.time_ns() // 1_000_000)


def operator(stack: Stack, *grants: tuple[list[str], str]) -> DeployedStack:
    """Return the stack as somebody sees it who has these grants alone."""
    iam, name = stack.engine.client("iam"), f"operator-{uuid4().hex[:8]}"
    role = iam.create_role(
        RoleName=name,
        AssumeRolePolicyDocument=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
                ],
            }
        ),
    )["Role"]
    iam.put_role_policy(
        RoleName=name,
        PolicyName="upkeep",
        PolicyDocument=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {"Effect": "Allow", "Action": actions, "Resource": resource}
                    for actions, resource in grants
                ],
            }
        ),
    )
    answer = stack.engine.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="test")
    credentials = Credentials(
        access_key_id=answer["Credentials"]["AccessKeyId"],
        secret_access_key=answer["Credentials"]["SecretAccessKey"],
        session_token=answer["Credentials"]["SessionToken"],
    )

    return stack.as_deployed(credentials)


def reader(stack: Stack, *more: tuple[list[str], str]) -> DeployedStack:
    read = ["dynamodb:Scan", "dynamodb:GetItem"]
    connections, sessions = tables(stack)
    return operator(
        stack,
        (read, connections),
        (read, sessions),
        (["dynamodb:Query"], f"{connections}/index/sessionId-role-index"),
        (["execute-api:ManageConnections"], sockets(stack, "GET")),
        *more,
    )


def repairer(stack: Stack) -> DeployedStack:
    write = ["dynamodb:UpdateItem", "dynamodb:DeleteItem"]
    connections, sessions = tables(stack)
    return reader(
        stack,
        (write, connections),
        (write, sessions),
        (["execute-api:ManageConnections"], sockets(stack, "POST")),
        (["execute-api:ManageConnections"], sockets(stack, "DELETE")),
    )


def tables(stack: Stack) -> tuple[str, str]:
    start = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table"
    return (
        f"{start}/{stack.deployed.outputs['ConnectionsTable']}",
        f"{start}/{stack.deployed.outputs['SessionsTable']}",
    )


def sockets(stack: Stack, method: str) -> str:
    api = f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{stack.deployed.outputs['ApiId']}"
    return f"{api}/prod/{method}/@connections/*"


def replayer(stack: Stack) -> DeployedStack:
    queue = stack.deployed.outputs["FailedCleanupsQueueUrl"].rpartition("/")[2]
    function = stack.deployed.outputs["DisconnectFunction"]
    messages = ["ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility"]
    return operator(
        stack,
        (
            [f"sqs:{name}" for name in messages],
            f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}",
        ),
        (
            ["lambda:InvokeFunction"],
            f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}",
        ),
    )


def find(stack: DeployedStack, *, pause_ms: DurationMs = PAUSE_MS) -> CheckReport:
    with check_of(
        stack, log=RecordingLog(), progress=lambda _line: None, pause_ms=pause_ms
    ) as check:
        return check.find()


def repair(stack: DeployedStack) -> tuple[CheckReport, Sequence[RepairResult]]:
    with check_of(
        stack, log=RecordingLog(), progress=lambda _line: None, pause_ms=SHORT_PAUSE_MS
    ) as check:
        return check.repair(check.find())


@pytest.fixture(autouse=True)
def _what_other_tests_left(stack: Stack) -> None:
    report, _ = repair(repairer(stack))
    assert report.violations == ()
    # Nobody is connected, but cleanups may be under way; they are not this test's.
    asyncio.run(eventually(lambda: not any(stack.connections.scan_all_connections()), within_s=60))


def update(stack: Stack, table: str, key: dict[str, str], **numbers: int) -> None:
    stack.engine.client("dynamodb").update_item(
        TableName=table,
        Key={name: {"S": value} for name, value in key.items()},
        UpdateExpression="SET " + ", ".join(f"{name} = :{name}" for name in numbers),
        ExpressionAttributeValues={f":{name}": {"N": str(n)} for name, n in numbers.items()},
    )


def remove(stack: Stack, table: str, **key: str) -> None:
    stack.engine.client("dynamodb").delete_item(
        TableName=table, Key={name: {"S": value} for name, value in key.items()}
    )


def listener_of(stack: Stack, session_id: str) -> str:
    return next(stack.sessions.listener_ids(session_id))


def test_every_kind_of_violation_is_found_and_repaired(stack: Stack) -> None:
    connections, sessions = (
        stack.deployed.outputs["ConnectionsTable"],
        stack.deployed.outputs["SessionsTable"],
    )

    async def play() -> None:
        async with (
            stack.session(listeners=1) as (in_order, _),
            stack.session(listeners=1) as (haunted, _),
            stack.session(listeners=1) as (claimed, (with_claim,)),
            stack.session(listeners=2, speaker_talks=False) as (speechless, orphans),
            stack.session(listeners=2, speaker_talks=False) as (dissolved, strays),
        ):
            ghost = Connection(
                connection_id=f"{uuid4().hex}=",
                session_id=haunted.session_id,
                role=Role.LISTENER,
                connected_at_ms=now_ms(),
            )
            stack.sessions.add(ghost)
            update(
                stack,
                connections,
                {"connectionId": listener_of(stack, claimed.session_id)},
                claimExpiresAt=now_ms() - 200_000,
            )
            broken_session = stack.sessions.get(speechless.session_id)
            assert broken_session is not None
            remove(stack, connections, connectionId=broken_session.speaker_connection_id)
            dissolved_session = stack.sessions.get(dissolved.session_id)
            assert dissolved_session is not None
            remove(stack, connections, connectionId=dissolved_session.speaker_connection_id)
            remove(stack, sessions, sessionId=dissolved.session_id)

            report = await asyncio.to_thread(find, reader(stack), pause_ms=SHORT_PAUSE_MS)
            assert {violation.kind for violation in report.violations} == {
                kind.kind
                for kind in get_args(Violation)
                # Nobody can repair these two.
                if kind not in (UnreadableSession, UnreadableTime)
            }
            assert len(report.violations) == 4
            assert ghost.connection_id in str(report.violations)

            report, tried = await asyncio.to_thread(repair, repairer(stack))
            assert report.violations == ()
            assert [result.failure for result in tried] == [None] * 4
            assert stack.connections.get(ghost.connection_id) is None
            assert stack.listener_count(haunted.session_id) == 1
            assert stack.listener_count(speechless.session_id) == 0
            await speechless.wait_closed()
            for lost in (*orphans, *strays):
                await lost.wait_closed()
                assert lost.messages("sessionEnded")
            for present in (in_order, haunted, claimed, with_claim):
                assert await present.is_answered()

    asyncio.run(play())


def test_a_reader_cannot_repair(stack: Stack) -> None:
    async def play() -> None:
        async with stack.session(listeners=1) as (speaker, (lost,)):
            listener = stack.connections.get(listener_of(stack, speaker.session_id))
            assert listener is not None
            stack.sessions.remove(listener.connection_id)
            stack.sessions.add(replace(listener, session_run="earlier"))
            report, tried = await asyncio.to_thread(repair, reader(stack))
            (violation,) = report.violations
            assert violation.kind == LostListeners.kind
            assert all("AccessDenied" in str(result.failure) for result in tried)
            report, _ = await asyncio.to_thread(repair, repairer(stack))
            assert report.violations == ()
            await lost.wait_closed()

    asyncio.run(play())


def vanish(client: Client) -> None:
    """Drop the connection without a close frame, as a phone does that loses its network."""
    assert client._socket is not None
    client._socket.transport.abort()


def test_nothing_is_found_while_clients_join_and_leave(stack: Stack) -> None:
    async def come_and_go(session_id: str, until: asyncio.Event) -> int:
        stays = 0
        while not until.is_set():
            listener = Client("listener", session_id, Role.LISTENER)
            await listener.join(stack.deployed.web_socket_url, secret=stack.secret)
            await asyncio.sleep(2 * random.random())  # noqa: S311 - no secret hangs on it
            if stays % 2:
                vanish(listener)
            else:
                await listener.leave()
            stays += 1
        return stays

    async def play() -> None:
        over = asyncio.Event()
        async with stack.session(listeners=3) as (one, _), stack.session(listeners=3) as (two, _):
            coming = [
                asyncio.create_task(come_and_go((one, two)[n % 2].session_id, over))
                for n in range(CLIENTS)
            ]
            await asyncio.sleep(1)
            reports = [await asyncio.to_thread(find, reader(stack)) for _ in range(HEALTHY_CHECKS)]
            over.set()
            stays = sum(await asyncio.gather(*coming))
        assert stays > CLIENTS
        assert [report.violations for report in reports] == [()] * HEALTHY_CHECKS

    asyncio.run(play())


@contextmanager
def broken_cleanups(stack: Stack) -> Iterator[None]:
    """Let the disconnect function look for a table that it may not read."""
    functions, name = stack.engine.client("lambda"), stack.deployed.outputs["DisconnectFunction"]
    environment = functions.get_function_configuration(FunctionName=name)["Environment"]
    variables = {**environment["Variables"], "CONNECTIONS_TABLE": "nowhere"}
    functions.update_function_configuration(FunctionName=name, Environment={"Variables": variables})
    try:
        yield
    finally:
        functions.update_function_configuration(FunctionName=name, Environment=environment)


def waiting(stack: Stack) -> int:
    attributes = stack.engine.client("sqs").get_queue_attributes(
        QueueUrl=stack.deployed.outputs["FailedCleanupsQueueUrl"],
        AttributeNames=["ApproximateNumberOfMessages"],
    )["Attributes"]
    return int(attributes["ApproximateNumberOfMessages"])


def test_a_cleanup_that_failed_for_good_is_replayed(stack: Stack) -> None:
    said: list[str] = []

    async def play() -> None:
        async with stack.session(listeners=2) as (speaker, (silent, talking)):
            talking.talk()
            with broken_cleanups(stack):
                await be_idle()
                counts = await asyncio.to_thread(stack.sweep)
                assert counts["closed"] == 1
                await silent.wait_closed()
                await eventually(lambda: waiting(stack) > 0, within_s=30)
                # Whoever asks Lambda may ask twice; what there is comes within seconds.
                await asyncio.sleep(1)
            assert stack.listener_count(speaker.session_id) == 2

            redrive = redrive_of(replayer(stack), say=said.append)
            letters = waiting(stack)
            would_be = await asyncio.to_thread(lambda: redrive.replay(dry_run=True))
            assert (would_be.replayed, waiting(stack)) == (letters, letters)
            report = await asyncio.to_thread(redrive.replay)
            assert (report.replayed, report.left) == (letters, {})
            assert waiting(stack) == 0
            await eventually(lambda: stack.listener_count(speaker.session_id) == 1)
            assert await talking.is_answered()

    asyncio.run(play())
    would_replay, replayed = dict.fromkeys(said)
    assert would_replay.removeprefix("would replay") == replayed.removeprefix("replayed")
    assert find(reader(stack)).violations == ()


def hangup(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = Path(sys.executable).with_name("hangup")
    return subprocess.run(
        [str(command), *arguments, "--local"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_commands_find_the_stack_that_runs_here(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / ".hangup").mkdir()
    note = {"port": stack.engine.port, "join_secret_arn": stack.deployed.outputs["JoinSecretArn"]}
    (tmp_path / ".hangup" / "last_run.json").write_text(json.dumps(note))
    ghost = Connection(connection_id=f"{uuid4().hex}=", connected_at_ms=now_ms())
    stack.engine.client("dynamodb").put_item(
        TableName=stack.deployed.outputs["ConnectionsTable"],
        Item={
            "connectionId": {"S": ghost.connection_id},
            "connectedAt": {"N": str(ghost.connected_at_ms)},
        },
    )
    found = hangup(tmp_path, "check")
    assert (found.returncode, found.stdout.partition(":")[0]) == (1, "ghost"), found
    assert found.stdout.endswith("hangup check --fix --local\n")
    repaired = hangup(tmp_path, "check", "--fix")
    assert repaired.returncode == 0, repaired
    assert repaired.stdout.endswith("no violations left, 1 repaired.\n")
    result = hangup(tmp_path, "check", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["violations"] == []

    stack.engine.client("sqs").send_message(
        QueueUrl=stack.deployed.outputs["FailedCleanupsQueueUrl"], MessageBody="no record"
    )
    left = hangup(tmp_path, "redrive")
    assert left.returncode == 1
    assert left.stdout.endswith("0 replayed, 1 left in the queue.\n")
    stack.engine.client("sqs").purge_queue(
        QueueUrl=stack.deployed.outputs["FailedCleanupsQueueUrl"]
    )
    assert hangup(tmp_path, "redrive").stdout == "0 replayed.\n"
