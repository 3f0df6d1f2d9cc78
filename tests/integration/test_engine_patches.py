"""What the local engine patches in MiniStack, with real functions and WebSockets."""

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from botocore.exceptions import ClientError

from hangup.errors import LocalStackError
from hangup.local.deploy import Deployment, deploy
from hangup.local.ministack.engine import Engine
from hangup.local.ministack.patches.alarms import evaluate_alarms
from tests.support.engine_stack import (
    alarm,
    close_code,
    code,
    connect,
    connection_ids,
    invoke,
    statistics,
    template,
    template_without_alarms,
    until,
)

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    os.environ["LOG_LEVEL"] = "SHOULD-NOT-LEAK"
    try:
        with Engine.start() as running:
            yield running
    finally:
        del os.environ["LOG_LEVEL"]


@pytest.fixture(scope="module")
def deployment(engine: Engine) -> Deployment:
    return deploy(engine, template=template(), code=code())


def test_connection_is_described_in_the_form_that_boto3_reads(
    engine: Engine, deployment: Deployment
) -> None:
    gateway = engine.client("apigatewaymanagementapi", endpoint_url=deployment.management_endpoint)
    with connect(deployment) as client:
        (connection_id,) = connection_ids(engine, deployment)
        found = gateway.get_connection(ConnectionId=connection_id)
        assert abs((found["ConnectedAt"] - datetime.now(UTC)).total_seconds()) < 5
        assert abs((found["LastActiveAt"] - datetime.now(UTC)).total_seconds()) < 5
        assert found["Identity"]["SourceIp"] == "127.0.0.1"
        gateway.post_to_connection(ConnectionId=connection_id, Data=b"bye")
        gateway.delete_connection(ConnectionId=connection_id)
        assert client.recv(timeout=10) == "bye"
        assert close_code(client) == 1000
    with pytest.raises(gateway.exceptions.GoneException):
        gateway.get_connection(ConnectionId=connection_id)
    until(lambda: not connection_ids(engine, deployment))


def test_functions_of_routes_run_concurrently_and_log(
    engine: Engine, deployment: Deployment
) -> None:
    with connect(deployment) as one, connect(deployment) as other:
        for client in (one, other):  # start an environment for each first
            client.send(json.dumps({"sleep": 1}))
        one.recv(timeout=10), other.recv(timeout=10)
        started = time.monotonic()
        for client in (one, other):
            client.send(json.dumps({"sleep": 1}))
        answers = [one.recv(timeout=10), other.recv(timeout=10)]
        assert time.monotonic() - started < 1.8
    environment = json.loads(answers[0])["env"]
    assert "LOG_LEVEL" not in environment
    assert environment["AWS_ACCESS_KEY_ID"].startswith("ASIA")
    events = engine.client("logs").filter_log_events(
        logGroupName=f"/aws/lambda/{deployment.outputs['ConnectFunction']}"
    )["events"]
    assert any("order {'sleep': 1}" in event["message"] for event in events)


def test_failing_function_of_a_route_counts_and_keeps_its_text_to_itself(
    engine: Engine, deployment: Deployment
) -> None:
    before = statistics(
        engine, "AWS/Lambda", "Errors", FunctionName=deployment.outputs["ConnectFunction"]
    )
    with connect(deployment) as client:
        client.send(json.dumps({"fail": True}))
        answer = json.loads(client.recv(timeout=10))
    assert answer["message"] == "Internal server error"
    assert set(answer) == {"message", "connectionId", "requestId"}
    after = statistics(
        engine, "AWS/Lambda", "Errors", FunctionName=deployment.outputs["ConnectFunction"]
    )
    assert after["Sum"] == before["Sum"] + 1


def test_message_above_the_limit_is_refused_as_by_api_gateway(
    deployment: Deployment,
) -> None:
    with connect(deployment) as client:
        client.send("x" * 131_073)
    assert close_code(client) == 1009


def test_embedded_metrics_become_metrics_at_once(engine: Engine, deployment: Deployment) -> None:
    for closed in (3, 0):
        invoke(engine, deployment.outputs["ConnectFunction"], {"emit": closed}, "RequestResponse")
    assert statistics(engine, "Test", "Closed") == {"Sum": 3, "SampleCount": 2}
    assert statistics(engine, "Test", "Timeout", Role="speaker") == {"Sum": 6, "SampleCount": 4}
    assert statistics(engine, "Test", "Timeout", Role="listener")["SampleCount"] == 0


def test_each_invocation_counts_once_however_it_was_made(
    engine: Engine, deployment: Deployment
) -> None:
    function = deployment.outputs["TimeoutFunction"]

    def count(name: str) -> float:
        return statistics(engine, "AWS/Lambda", name, FunctionName=function)["Sum"]

    invoke(engine, function, {}, "RequestResponse")
    assert (count("Invocations"), count("Errors")) == (1, 0)
    invoke(engine, function, {"fail": "once"}, "RequestResponse")
    assert (count("Invocations"), count("Errors")) == (2, 1)
    invoke(engine, function, {}, "Event")
    until(lambda: count("Invocations") == 3)
    assert count("Errors") == 1


def test_reserved_concurrency_holds(engine: Engine, deployment: Deployment) -> None:
    invoke(engine, deployment.outputs["TimeoutFunction"], {"sleep": 2}, "Event")
    time.sleep(0.5)
    with pytest.raises(ClientError, match="TooManyRequestsException"):
        invoke(engine, deployment.outputs["TimeoutFunction"], {}, "RequestResponse")


def test_role_without_a_permission_is_denied(engine: Engine, deployment: Deployment) -> None:
    answer = invoke(
        engine, deployment.outputs["ConnectFunction"], {"scan": True}, "RequestResponse"
    )
    assert answer["FunctionError"] == "Unhandled"
    assert "not authorized to perform: dynamodb:Scan" in answer["Payload"].read().decode()


def test_output_of_a_secret_is_its_arn(deployment: Deployment) -> None:
    assert deployment.outputs["JoinSecretArn"].startswith("arn:aws:secretsmanager:")


def test_alarm_rings_and_recovers(engine: Engine, deployment: Deployment) -> None:
    until(lambda: alarm(engine, "failing") == "OK")
    invoke(engine, deployment.outputs["ConnectFunction"], {"fail": "loudly"}, "RequestResponse")
    evaluate_alarms(engine.client("cloudwatch"))
    assert alarm(engine, "failing") == "ALARM"
    until(lambda: alarm(engine, "failing") == "OK")


def test_alarm_rings_for_missing_data_and_recovers(engine: Engine, deployment: Deployment) -> None:
    until(lambda: alarm(engine, "silent") == "ALARM")
    invoke(engine, deployment.outputs["ConnectFunction"], {"emit": 0}, "RequestResponse")
    evaluate_alarms(engine.client("cloudwatch"))
    assert alarm(engine, "silent") == "OK"
    until(lambda: alarm(engine, "silent") == "ALARM")


def test_reason_of_a_function_that_cannot_start_is_in_its_log(engine: Engine) -> None:
    broken = deploy(
        engine, template=template_without_alarms(), code=code("import nothing"), stack_name="B"
    )
    answer = invoke(engine, broken.outputs["ConnectFunction"], {}, "RequestResponse")
    assert "No module named 'nothing'" in answer["Payload"].read().decode()
    events = engine.client("logs").filter_log_events(
        logGroupName=f"/aws/lambda/{broken.outputs['ConnectFunction']}"
    )["events"]
    assert any("No module named 'nothing'" in event["message"] for event in events)
    repaired = deploy(engine, template=template_without_alarms(), code=code(), stack_name="B")
    answer = invoke(engine, repaired.outputs["ConnectFunction"], {}, "RequestResponse")
    assert json.loads(answer["Payload"].read()) == "done"


def test_failed_deployment_names_the_resource_and_can_be_repeated(engine: Engine) -> None:
    template = template_without_alarms()
    template["Resources"]["Odd"] = {"Type": "AWS::Odd::Thing", "Properties": {}}
    with pytest.raises(LocalStackError, match=r"AWS::Odd::Thing"):
        deploy(engine, template=template, code=code(), stack_name="C")
    assert deploy(engine, template=template_without_alarms(), code=code(), stack_name="C").outputs[
        "ApiId"
    ]
