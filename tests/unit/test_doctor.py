"""`hangup doctor` by stubs: what the emulator does not show. The rest is tests/acceptance."""

import json
import re
import shlex
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hangup import __version__
from hangup.aws.errors import ServiceError
from hangup.cli.app import main
from hangup.core.connection import ConnectionInfo, EpochMs
from hangup.errors import BackendError
from hangup.ops.doctor import examine
from hangup.ops.doctor_stack import grants
from hangup.ops.troubles import TROUBLES, as_markdown
from tests.support.cloudformation_stub import assert_one_sentence
from tests.support.doctor_stub import (
    ACCOUNT,
    ALARM,
    ARN,
    FILE,
    FUNCTION,
    NAMESPACE,
    NOW_MS,
    World,
    allowed,
    failed,
    function,
    look,
    only,
    refused,
)
from tests.support.documents import ROOT, page
from tests.support.http_server import Request, serving
from tests.support.terminal import HANGUP, on_terminal, plain_environment

CALLER = f"""<GetCallerIdentityResponse><GetCallerIdentityResult>
<Arn>arn:aws:iam::{ACCOUNT}:user/ada</Arn><Account>{ACCOUNT}</Account><UserId>A</UserId>
</GetCallerIdentityResult></GetCallerIdentityResponse>"""
EXPIRED = """<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredToken</Code>
<Message>the security token is expired</Message></Error></ErrorResponse>"""
KEY = "arn:aws:kms:eu-central-1:123456789012:key/one"


def http(status: int, body: str) -> bytes:
    return f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def answered(code: str, message: str = "no", status: int = 400) -> BackendError:
    return failed("GetCallerIdentity", ServiceError(code, message, status=status))


def test_all_is_well() -> None:
    assert look(World()) == {}
    assert look(World(), before=True) == {}


@pytest.mark.parametrize(
    ("date", "cause"),
    [
        ("Tue, 14 Nov 2023 22:12:49 GMT", "31 s ahead of"),
        ("Tue, 14 Nov 2023 22:20:00 GMT", "400 s behind"),
    ],
)
def test_a_clock_that_is_wrong(date: str, cause: str) -> None:
    world = World()
    world.answers["GetCallerIdentity"]["ResponseMetadata"] = {"HTTPHeaders": {"date": date}}
    assert cause in only(world, "clock-skew").cause


@pytest.mark.parametrize("date", ["Tue, 14 Nov 2023 22:12:50 GMT", "nonsense", ""])
def test_a_clock_that_is_right_enough_or_not_told(date: str) -> None:
    world = World()
    world.answers["GetCallerIdentity"]["ResponseMetadata"] = {"HTTPHeaders": {"date": date}}
    assert look(world) == {}


@pytest.mark.parametrize(
    ("code", "message", "fix"),
    [
        ("ExpiredToken", "the token is expired", "aws sso login"),
        ("InvalidClientTokenId", "the token is invalid", "aws configure"),
        ("SignatureDoesNotMatch", "Signature expired: then", "sudo timedatectl set-ntp true"),
    ],
)
def test_credentials_that_aws_does_not_accept_are_all_there_is_to_say(
    code: str, message: str, fix: str
) -> None:
    world = World()
    world.answers["GetCallerIdentity"] = answered(code, message, 403)
    finding = only(world, "credentials")
    assert message in finding.cause
    assert finding.fix == fix


@pytest.mark.parametrize("code", ["ExpiredTokenException", "ThrottlingException"])
def test_what_concerns_all_checks_ends_them(code: str) -> None:
    world = World()
    world.answers["GetAccount"] = answered(code)
    with pytest.raises(BackendError, match=code):
        list(examine(world.anew(), before=False))


@pytest.mark.parametrize(
    ("operation", "action"),
    [
        ("GetAccount", "apigateway:GET"),
        ("SimulatePrincipalPolicy", "iam:SimulatePrincipalPolicy"),
        ("GetMetricData", "cloudwatch:GetMetricData"),
        ("FilterLogEvents", "logs:FilterLogEvents"),
    ],
)
def test_what_the_caller_may_not_ask_is_said_with_the_action(operation: str, action: str) -> None:
    world = World()
    world.answers[operation] = refused(operation)
    found = [one for one in examine(world.anew(), before=False) if not one.is_well]
    assert {one.name for one in found} == {"not-checked"}
    words = shlex.split(found[0].fix)
    assert words[:5] == ["aws", "iam", "put-user-policy", "--user-name", "ada"]
    assert json.loads(words[-1])["Statement"][0]["Action"] == action


def test_a_role_that_may_not_ask_is_named() -> None:
    world = World()
    arn = "arn:aws:sts::123456789012:assumed-role/deployer/session"
    world.answers["GetCallerIdentity"]["Arn"] = arn
    world.answers["GetAccount"] = refused("GetAccount")
    assert "put-role-policy --role-name deployer" in only(world, "not-checked").fix


def test_a_deployment_in_another_region() -> None:
    elsewhere = ARN.replace("eu-central-1", "us-east-1")
    world = World(f"api.disconnect_function={elsewhere}:chat")
    finding = look(world, before=True)["other-region"]
    assert finding.fix == "hangup doctor --region us-east-1"


def test_a_pace_that_takes_most_of_what_a_region_with_2500_gives() -> None:
    world = World("timeout.closes_per_second=500")
    world.answers["GetAccount"] = {"throttleSettings": {"rateLimit": 2_500.0}}
    world.state = None
    finding = only(world, "pace", before=True)
    assert finding.fix == "hangup deploy --set timeout.closes_per_second=416"


class TestCustomDomains:
    DOMAIN = "api.endpoint=https://ws.example.com/live"

    def mapped(self, *mappings: tuple[str, str, str], **more: Any) -> World:
        world = World(self.DOMAIN)
        items = [
            {"ApiId": api, "Stage": stage, "ApiMappingKey": key} for api, stage, key in mappings
        ]
        world.answers["GetApiMappings"] = {"Items": items}
        return world

    def test_is_well_where_it_leads_to_the_stage(self) -> None:
        world = self.mapped(("abc123", "prod", "live"), ("other", "prod", ""))
        assert look(world, before=True) == {}
        assert set(world.account.asked_at) == {"https://ws.example.com/live"}

    def test_another_stage(self) -> None:
        finding = only(self.mapped(("abc123", "test", "live")), "endpoint-elsewhere", before=True)
        assert "leads to abc123/test, not abc123/prod" in finding.cause

    def test_no_mapping_of_this_path(self) -> None:
        world = self.mapped(("abc123", "prod", "there"))
        world.answers["GetDomainNames"] = {"Items": [{"DomainName": "ws.example.com"}]}
        finding = only(world, "endpoint-elsewhere", before=True)
        assert finding.fix == "hangup deploy --set api.endpoint=https://ws.example.com/there"

    def test_no_such_domain(self) -> None:
        world = self.mapped()
        world.answers["GetApiMappings"] = answered("NotFoundException")
        assert "ws.example.com" in only(world, "no-domain", before=True).cause

    def test_it_is_found_where_the_own_address_is_turned_off(self) -> None:
        world = World()
        world.answers["GetApi"] = {"ProtocolType": "WEBSOCKET", "DisableExecuteApiEndpoint": True}
        world.answers["GetDomainNames"] = {"Items": [{"DomainName": "ws.example.com"}]}
        mapping = {"ApiId": "abc123", "Stage": "prod"}
        world.answers["GetApiMappings"] = {"Items": [mapping]}
        finding = only(world, "endpoint-disabled", before=True)
        assert finding.fix == "hangup deploy --set api.endpoint=https://ws.example.com"


@pytest.mark.parametrize(
    ("status", "fix"),
    [
        ("ROLLBACK_COMPLETE", "hangup deploy"),
        (
            "UPDATE_ROLLBACK_FAILED",
            "aws cloudformation continue-update-rollback --stack-name chat-hangup",
        ),
    ],
)
def test_a_change_of_the_stack_that_failed(status: str, fix: str) -> None:
    world = World()
    assert world.state is not None
    world.state = replace(world.state, status=status)
    found = look(world)
    assert found["stack-failed"].fix == fix


@pytest.mark.parametrize(
    ("outputs", "cause"),
    [
        ({"HangupVersion": "0.0.1"}, f"it is of 0.0.1, and {__version__} is installed"),
        ({}, f"it is of an older version, and {__version__} is installed"),
        ({"HangupVersion": __version__}, "its template is not that of the installed package"),
    ],
)
def test_a_stack_of_another_version(outputs: dict[str, str], cause: str) -> None:
    world = World()
    assert world.state is not None
    world.state = replace(world.state, outputs={**world.state.outputs, **outputs})
    world.answers["GetTemplate"] = {"TemplateBody": {"Resources": {}}}
    assert only(world, "other-version").cause == cause


def test_no_sweep_has_started() -> None:
    world = World()
    world.metrics.clear()
    finding = only(world, "no-ticks")
    assert finding.fix == f"aws lambda invoke --function-name {FUNCTION} /dev/stdout"


@pytest.mark.parametrize(
    ("namespace", "metric", "name"),
    [
        (NAMESPACE, "SweepsHeld", "held"),
        (NAMESPACE, "SweepsIncomplete", "incomplete"),
        (NAMESPACE, "RecordsUnreadable", "unreadable-times"),
        (NAMESPACE, "ConnectionsUnconfirmed", "unconfirmed"),
        (NAMESPACE, "CloseFailures", "closes-failed"),
        (NAMESPACE, "HandoversRepeated", "handed-over-again"),
        ("AWS/Lambda", "Errors", "function-errors"),
        ("AWS/Lambda", "Throttles", "function-throttled"),
        ("AWS/Lambda", "AsyncEventsDropped", "events-dropped"),
        ("AWS/DynamoDB", "WriteThrottleEvents", "writes-throttled"),
    ],
)
def test_a_metric_of_the_last_hour(namespace: str, metric: str, name: str) -> None:
    world = World()
    world.metrics[namespace, metric] = 3
    assert f"{metric}" in only(world, name).cause


def test_activity_without_a_record_matters_only_where_it_is_recorded() -> None:
    world = World()
    world.metrics[NAMESPACE, "ActivityUnrecorded"] = 3
    assert look(world) == {}
    world = World("timeout.activity=recorded")
    world.metrics[NAMESPACE, "ActivityUnrecorded"] = 3
    assert "unrecorded" in look(world)


class TestAlarms:
    def test_rings(self) -> None:
        world = World()
        world.answers["DescribeAlarms"] = {"MetricAlarms": [{**ALARM, "StateValue": "ALARM"}]}
        assert only(world, "alarm").fix == "aws logs tail /aws/log --since 1h"

    def test_tells_nobody(self) -> None:
        world = World()
        world.answers["DescribeAlarms"] = {"MetricAlarms": [{**ALARM, "AlarmActions": []}]}
        assert only(world, "silent-alarms").cause == "1 of 1 alarms have no action"

    def test_of_no_sweep_may_ring_until_the_first_sweeps(self) -> None:
        world = World()
        alarm = {**ALARM, "StateValue": "ALARM", "MetricName": "ConnectionsChecked"}
        world.answers["DescribeAlarms"] = {"MetricAlarms": [alarm]}
        assert list(look(world)) == ["alarm"]
        known = world.answers["GetFunctionConfiguration"]
        world.answers["GetFunctionConfiguration"] = lambda request: {
            **known(request),
            "LastModified": "2023-11-14T22:10:00.000+0000",
        }
        assert look(world) == {}


def test_a_key_of_aws_itself_needs_no_grant() -> None:
    world = World()
    world.table = type(world.table)(name="sockets", key=[("id", "S")], kms_key=KEY)
    world.answers["DescribeKey"] = {"KeyMetadata": {"KeyManager": "AWS", "KeyState": "Enabled"}}
    assert look(world, before=True) == {}
    world.answers["DescribeKey"] = {
        "KeyMetadata": {"KeyManager": "CUSTOMER", "KeyState": "PendingDeletion"}
    }
    assert "cancel-key-deletion" in only(world, "kms-key-off", before=True).fix


def test_what_an_organisation_denies_is_a_missing_grant() -> None:
    world = World()
    world.answers["SimulatePrincipalPolicy"] = lambda request: {
        "EvaluationResults": [
            {"EvalActionName": one, "EvalDecision": "explicitDeny"}
            for one in request["ActionNames"]
        ]
    }
    finding = only(world, "no-grant")
    for action in ("dynamodb:Scan", "dynamodb:UpdateItem", "lambda:InvokeFunction"):
        assert action in finding.cause
    for method in ("GET", "POST", "DELETE"):
        assert f"abc123/prod/{method}/@connections/" in finding.cause
    policy = json.loads(shlex.split(finding.fix)[-1])
    assert "lambda:InvokeFunction" in str(policy)
    assert f"--role-name {FUNCTION} " in finding.fix


@pytest.mark.parametrize(
    ("counts", "lag_ms", "words"),
    [
        ("client", 5_001, "1 of 2 clients later than their records say; 1 of 2 records"),
        ("unsettled", 5_001, "`hangup doctor --probe` settles it"),
        ("unsettled", 5_000, ""),
        ("both", 60_000, ""),
    ],
)
def test_activity_that_only_api_gateway_has_seen(counts: str, lag_ms: int, words: str) -> None:
    world = World(
        f"timeout.last_active_counts={counts}",
        "timeout.activity=recorded",
        'table.last_activity={attribute="last"}',
    )
    since: Any = {"N": str(NOW_MS - 70_000)}
    ids = ("AAAAAAAAAAAAAAE=", "AAAAAAAAAAAAAAI=")
    times: Any = ({"since": since, "last": {"N": str(NOW_MS)}}, {"since": since})
    world.items = [{"id": {"S": ids[n]}, **times[n]} for n in range(2)]
    active_ms = (NOW_MS, NOW_MS - 70_000 + lag_ms)
    world.infos = {ids[n]: ConnectionInfo(last_active_ms=EpochMs(active_ms[n])) for n in range(2)}
    if words:
        assert words in only(world, "not-recorded", before=True).cause
    else:
        assert look(world, before=True) == {}


@pytest.mark.parametrize(("others", "name"), [(999, "no-connections"), (1_000, "none-selected")])
def test_a_table_of_many_other_items(others: int, name: str) -> None:
    world = World()
    world.items = [{"id": {"N": str(n)}} for n in range(others)]
    only(world, name, before=True)
    world.items[700:700] = [{"id": {"S": "AAAAAAAAAAAAAAE="}, "since": {"N": str(NOW_MS)}}]
    assert look(world, before=True) == {}


TABLE_ARN = "arn:aws:dynamodb:eu-central-1:123456789012:table"
NO_FUNCTION = FILE.replace(f'disconnect_function = "{ARN}:chat"', "")


@pytest.mark.parametrize(
    ("text", "settings", "state", "needed"),
    [
        (FILE, (), None, {("dynamodb:Scan", f"{TABLE_ARN}/sockets")}),
        (FILE, (), None, {("dynamodb:UpdateItem", f"{TABLE_ARN}/sockets")}),
        (FILE, ("timeout.state_table=true",), "s", {("dynamodb:UpdateItem", f"{TABLE_ARN}/s")}),
        (
            FILE,
            ("table.index=by-age",),
            None,
            {("dynamodb:Scan", f"{TABLE_ARN}/sockets/index/by-age")},
        ),
        (FILE, (f"table.kms_key={KEY}",), None, {("kms:Decrypt", KEY)}),
        (
            NO_FUNCTION,
            ("timeout.hand_over=delete",),
            None,
            {("dynamodb:DeleteItem", f"{TABLE_ARN}/sockets")},
        ),
    ],
)
def test_what_a_sweep_needs(
    text: str, settings: tuple[str, ...], state: str | None, needed: set[tuple[str, str]]
) -> None:
    world = World(*settings, text=text)
    asked: set[tuple[str, str]] = set()

    def simulate(request: Any) -> Any:
        (resource,) = request["ResourceArns"]
        asked.update((action, resource) for action in request["ActionNames"])
        return allowed(request)

    world.answers["SimulatePrincipalPolicy"] = simulate
    if state is not None:
        known = world.answers["GetFunctionConfiguration"]
        world.answers["GetFunctionConfiguration"] = lambda request: {
            **known(request),
            "Environment": {"Variables": {"STATE_TABLE": state}},
        }
    list(grants(world.anew()))
    assert needed <= asked
    users = ("dynamodb:UpdateItem", f"{TABLE_ARN}/sockets")
    assert (users in asked) == (state is None)
    assert (("dynamodb:DeleteItem", f"{TABLE_ARN}/sockets") in asked) == (text is NO_FUNCTION)


def test_a_close_function_without_a_mapping() -> None:
    world = World("timeout.precise=true")
    resources = world.answers["DescribeStackResources"]["StackResources"]
    closer = {**resources[0], "PhysicalResourceId": "close"}
    world.answers["DescribeStackResources"] = {"StackResources": [*resources, closer]}
    environment = {"Variables": {"CLOSE_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/1/q"}}
    known = world.answers["GetFunctionConfiguration"]
    world.answers["GetFunctionConfiguration"] = lambda request: (
        function(
            "close",
            Environment={
                "Variables": known({"FunctionName": FUNCTION})["Environment"]["Variables"]
                | environment["Variables"]
            },
        )
        if request["FunctionName"] == "close"
        else known(request)
    )
    assert look(world)["mapping-off"].fix == "hangup destroy && hangup deploy"


def test_every_trouble_is_looked_for_and_documented() -> None:
    sources = [*(ROOT / "src" / "hangup" / "ops").glob("doctor*.py")]
    sources += [ROOT / "src" / "hangup" / "ops" / "probe.py"]
    text = "".join(file.read_text() for file in sources)
    named = set(re.findall(r'"([a-z]+(?:-[a-z]+)*)"', text))
    assert set(TROUBLES) <= named
    assert as_markdown() in page("operate/doctor")


def test_every_trouble_is_found_in_a_test() -> None:
    tests = "".join(
        (ROOT / "tests" / name).read_text()
        for name in (
            "unit/test_doctor.py",
            "unit/test_doctor_network.py",
            "unit/test_probe.py",
            "acceptance/test_doctor_on_engine.py",
            "acceptance/test_probe_on_engine.py",
        )
    )
    assert {name for name in TROUBLES if f'"{name}"' not in tests} == set()


@pytest.fixture
def described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hangup.toml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "unit-test",
        "AWS_SECRET_ACCESS_KEY": "unit-test",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)


@pytest.mark.usefixtures("described", "signals_as_before")
class TestCommand:
    @pytest.mark.parametrize("command", [["doctor"], ["doctor", "--json"], ["deploy", "--yes"]])
    def test_a_network_that_is_lost_is_one_sentence(
        self,
        command: list[str],
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        assert main(command) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert_one_sentence(said.err)
        assert "GetCallerIdentity" in said.err

    @pytest.mark.parametrize("code", ["ExpiredTokenException", "ThrottlingException"])
    @pytest.mark.parametrize("command", [["doctor", "--json"], ["deploy", "--yes"]])
    def test_what_ends_it_in_the_middle_is_one_sentence(
        self,
        command: list[str],
        code: str,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def answer(request: Request) -> bytes:
            if b"GetCallerIdentity" in request.body:
                return http(200, CALLER)
            error = f"<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>"
            return http(400, error)

        with serving() as server:
            server.answer = answer
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
            assert main(command) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert_one_sentence(said.err)
        assert code in said.err

    @pytest.mark.slow
    def test_ctrl_c_ends_it_at_once(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            screen = on_terminal(
                [*HANGUP, "doctor"],
                environment={
                    **plain_environment(),
                    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
                },
                cwd=tmp_path,
                type_when=lambda said: "Asking AWS" in said,
            )
        assert screen.status == 130
        assert "interrupted: nothing is changed; run it again" in screen.output
        assert "Traceback" not in screen.output

    def test_a_probe_needs_that_nothing_is_broken(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with serving() as server:
            server.answer = lambda _request: http(403, EXPIRED)
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
            assert main(["doctor", "--probe"]) == 1
        said = capsys.readouterr()
        assert said.out.startswith("broken  AWS does not accept the credentials")
        assert "the security token is expired" in said.out
        assert "no client is connected" in said.err

    def test_a_probe_without_its_extra(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delitem(sys.modules, "hangup.local.probe_client", raising=False)
        for name in ("websockets", "websockets.exceptions"):
            monkeypatch.setitem(sys.modules, name, None)
        assert main(["doctor", "--probe"]) == 1
        said = capsys.readouterr()
        assert_one_sentence(said.err)
        assert "pip install 'hangup[local]'" in said.err

    @pytest.mark.parametrize(
        "words", [["--url", "wss://a"], ["--probe", "--before"], ["--probe", "--header", "no"]]
    )
    def test_wrong_usage(self, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as left:
            main(["doctor", *words])
        assert left.value.code == 2
