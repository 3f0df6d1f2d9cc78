"""How the local engine bounds the workers of functions, with real functions."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event, Thread
from typing import Any

import boto3
import pytest
from botocore.config import Config

from hangup.local.deploy import Deployment, deploy
from hangup.local.ministack.aws_client import REGION, ROOT
from hangup.local.ministack.engine import Engine
from hangup.local.ministack.patches.bounded_environments import (
    MAX_OF_ALL,
    MAX_OF_FUNCTION,
    MAX_WAIT_S,
)
from tests.support.engine_stack import (
    code,
    connect,
    invoke,
    statistics,
    template_without_alarms,
    until,
)
from tests.support.memory import worker_pids

pytestmark = pytest.mark.integration

FUNCTIONS = [f"Function{n}" for n in range(MAX_OF_ALL // MAX_OF_FUNCTION + 1)]
"""One more than may have all of their workers at once."""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine.start() as running:
        yield running


@pytest.fixture(scope="module")
def deployment(engine: Engine) -> Deployment:
    template = template_without_alarms()
    for name in FUNCTIONS:
        template["Resources"][name] = template["Resources"]["Function"]
        template["Outputs"][name] = {"Value": {"Ref": name}}
    return deploy(engine, template=template, code=code())


def patient_once(engine: Engine) -> Any:
    """Return a client that repeats nothing."""
    return boto3.client(
        "lambda",
        region_name=REGION,
        endpoint_url=engine.endpoint,
        aws_access_key_id=ROOT.access_key_id,
        aws_secret_access_key=ROOT.secret_access_key,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=60, proxies={}),
    )


def invocations(engine: Engine, function: str) -> float:
    return statistics(engine, "AWS/Lambda", "Invocations", FunctionName=function)["Sum"]


def test_workers_of_all_functions_together_are_bounded_and_every_call_is_served(
    engine: Engine, deployment: Deployment
) -> None:
    most, over = 0, Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.05):
            most = max(most, len(list(worker_pids(engine.log_file.parent))))

    thread = Thread(target=watch)
    thread.start()
    names = [deployment.outputs[name] for name in FUNCTIONS for _ in range(2 * MAX_OF_FUNCTION)]
    try:
        with ThreadPoolExecutor(max_workers=len(names)) as pool:
            answers = list(
                pool.map(
                    lambda name: invoke(engine, name, {"sleep": 0.5}, "RequestResponse"), names
                )
            )
        # All workers are there now and idle: another function gets the room of one.
        invoke(engine, deployment.outputs["ConnectFunction"], {}, "RequestResponse")
    finally:
        over.set()
        thread.join()
    assert [json.loads(answer["Payload"].read()) for answer in answers] == ["done"] * len(names)
    assert most == MAX_OF_ALL


def test_call_above_the_bound_is_throttled_as_by_lambda_when_its_wait_is_over(
    engine: Engine, deployment: Deployment
) -> None:
    function = deployment.outputs["ConnectFunction"]
    before = invocations(engine, function)
    for _ in range(MAX_OF_FUNCTION):
        invoke(engine, function, {"sleep": MAX_WAIT_S + 4}, "Event")
    time.sleep(1)
    # This one waits too, and is not lost.
    invoke(engine, function, {}, "Event")
    started = time.monotonic()
    client = patient_once(engine)
    with pytest.raises(client.exceptions.TooManyRequestsException) as throttled:
        client.invoke(FunctionName=function, Payload=b"{}")
    assert time.monotonic() - started == pytest.approx(MAX_WAIT_S, abs=2)
    answer = throttled.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert answer["Error"]["Message"] == "Rate Exceeded."
    throttles = statistics(engine, "AWS/Lambda", "Throttles", FunctionName=function)
    assert throttles["Sum"] == 1
    until(lambda: invocations(engine, function) == before + MAX_OF_FUNCTION + 1, timeout_s=15)


def test_asynchronous_invocations_above_a_reservation_all_run_in_the_end(
    engine: Engine, deployment: Deployment
) -> None:
    function = deployment.outputs["TimeoutFunction"]
    for _ in range(8):
        invoke(engine, function, {"sleep": 0.3}, "Event")
    until(lambda: statistics(engine, "AWS/Lambda", "Throttles", FunctionName=function)["Sum"])
    assert invocations(engine, function) < 8
    until(lambda: invocations(engine, function) == 8, timeout_s=30)


def test_event_for_a_rule_that_finds_its_function_busy_is_not_lost(
    engine: Engine, deployment: Deployment
) -> None:
    function = deployment.outputs["TimeoutFunction"]
    arn = engine.client("lambda").get_function_configuration(FunctionName=function)["FunctionArn"]
    events = engine.client("events")
    events.put_rule(Name="told", EventPattern=json.dumps({"source": ["test"]}))
    events.put_targets(Rule="told", Targets=[{"Id": "0", "Arn": arn}])
    before = invocations(engine, function)
    invoke(engine, function, {"sleep": 2}, "Event")
    time.sleep(0.5)
    events.put_events(Entries=[{"Source": "test", "DetailType": "test", "Detail": "{}"}])
    until(lambda: invocations(engine, function) == before + 2, timeout_s=15)


def test_failing_asynchronous_invocation_is_made_three_times(
    engine: Engine, deployment: Deployment
) -> None:
    function = deployment.outputs[FUNCTIONS[0]]
    before = invocations(engine, function)
    invoke(engine, function, {"fail": "each time"}, "Event")
    until(lambda: invocations(engine, function) == before + 3, timeout_s=15)
    time.sleep(1)
    assert invocations(engine, function) == before + 3


def test_messages_above_the_bound_wait_and_all_are_answered(
    engine: Engine, deployment: Deployment
) -> None:
    del engine
    with ExitStack() as sockets:
        clients = [sockets.enter_context(connect(deployment)) for _ in range(4 * MAX_OF_FUNCTION)]
        for client in clients:
            client.send(json.dumps({"sleep": 0.2}))
        answers = [json.loads(client.recv(timeout=20)) for client in clients]
    assert [answer["sleep"] for answer in answers] == [0.2] * len(clients)
