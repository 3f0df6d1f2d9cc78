"""`hangup doctor` on the engine: one thing is broken, it is found, its fix is run, all is well.

What the engine does not show is in ``tests/unit/test_doctor.py``, by stubs.
"""

import io
import json
import re
import shlex
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from hangup.aws import clients
from hangup.cli.app import main
from hangup.local.deploy import _lambda_zip
from hangup.local.ministack.aws_client import REGION
from hangup.local.ministack.engine import Engine
from tests.support.aws_command import run_aws
from tests.support.chat_app import App, deployed, policy
from tests.support.documents import page, table

pytestmark = pytest.mark.acceptance

STACK = "chat-hangup"
TABLE = "chat-sockets"
ENV = {"env": {"S": "prod"}}
OWN_ADDRESS = "https://{}.execute-api.us-east-1.amazonaws.com/prod"


@dataclass
class World:
    """The app, its deployed timeout, three connected clients, and the doctor."""

    app: App
    folder: Path
    capsys: Any = None
    resources: dict[str, str] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        return self.app.engine.client(service)

    def hangup(self, *words: str) -> tuple[int, str]:
        status = main(list(words))
        shown = self.capsys.readouterr()
        return status, shown.out or shown.err

    def done(self, *words: str) -> str:
        status, said = self.hangup(*words)
        assert status == 0, said
        return said

    def look(self, *words: str) -> dict[str, dict[str, str]]:
        """Return what is not well, by its name; two of a kind are an error."""
        status, said = self.hangup("doctor", "--json", *words)
        seen = json.loads(said)
        found = [one for one in seen["findings"] if one["status"] != "ok"]
        assert status == int(any(one["status"] == "broken" for one in found)), said
        assert len({one["name"] for one in found}) == len(found), found
        return {one["name"]: one for one in found}

    def only(self, name: str, *words: str) -> dict[str, str]:
        """Return the one thing that is not well."""
        found = self.look(*words)
        assert list(found) == [name], found
        assert found[name]["cause"]
        return found[name]

    def run(self, fix: str) -> None:
        """Run a fix as it is printed."""
        words = shlex.split(fix)
        if words[0] == "aws":
            run_aws(fix, self.client)
        else:
            deploys = ["--zip", "code.zip", "--yes"] if words[1] == "deploy" else []
            self.done(*words[1:], *deploys)

    def of_kind(self, kind: str, stack: str = STACK) -> str:
        answer = self.client("cloudformation").describe_stack_resources(StackName=stack)
        for one in answer["StackResources"]:
            if one["ResourceType"] == kind:
                return str(one["PhysicalResourceId"])
        raise AssertionError(kind)

    @property
    def function(self) -> str:
        stack = self.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]
        outputs = {one["OutputKey"]: one["OutputValue"] for one in stack["Outputs"]}
        return str(outputs["TimeoutFunctionName"])

    @property
    def code(self) -> dict[str, str]:
        stack = self.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]
        values = {one["ParameterKey"]: one["ParameterValue"] for one in stack["Parameters"]}
        return {"Bucket": values["CodeBucket"], "Key": values["CodeKey"]}


def zip_with_bytecode() -> bytes:
    buffer = io.BytesIO(_lambda_zip())
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("hangup/__pycache__/errors.cpython-313.pyc", b"")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("chat")
    (folder / "code.zip").write_bytes(zip_with_bytecode())
    with Engine.start(enforce_iam=False) as engine, ExitStack() as sockets:
        app = deployed(engine)
        for _ in range(3):
            sockets.enter_context(connect(app.address, ping_interval=None))
        yield World(app, folder)


@pytest.fixture
def world(
    chat: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[World]:
    """Return the world, in which all is well; and so it must be afterwards."""
    monkeypatch.chdir(chat.folder)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": chat.app.engine.endpoint,
    }.items():
        monkeypatch.setenv(name, value)
    clients.session.cache_clear()
    chat.capsys = capsys
    if not (chat.folder / "hangup.toml").exists():
        topic = chat.client("sns").create_topic(Name="alarms")["TopicArn"]
        settings = {"api.endpoint": chat.app.endpoint, "operation.alarm_topic": topic}
        settings |= {"timeout.idle_seconds": "3600"}
        words = [word for item in settings.items() for word in ("--set", "=".join(item))]
        chat.done("init", "--api", "chat", "--yes", *words)
        chat.done("deploy", "--zip", "code.zip", "--yes")
        # A sweep that comes while something is broken would fail, and its metrics stay.
        rule = chat.of_kind("AWS::Events::Rule")
        chat.client("events").put_rule(Name=rule, ScheduleExpression="rate(1 hour)")
    yield chat
    clients.session.cache_clear()
    assert chat.look() == {}


def test_nothing_is_wrong(world: World) -> None:
    assert world.look() == {}
    assert world.look("--before") == {}
    assert "broken" not in world.done("doctor")


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("api.id=nope", "no-api"),
        ("api.stage=nope", "no-stage"),
        ("table.name=nope", "no-table"),
        ("table.index=nope", "no-index"),
        ("table.id_prefix=socket:", "no-connections"),
        ('table.only=[{attribute="env",equals="nope"}]', "none-selected"),
    ],
)
def test_what_the_file_says_wrong_is_found_again(world: World, setting: str, name: str) -> None:
    settings = ["--set", setting]
    if setting.startswith("api"):
        api_id, stage = ("nope", "prod") if "id" in setting else (world.app.api_id, "nope")
        where = f"{world.app.engine.endpoint}/_aws/execute-api/{api_id}/{stage}"
        settings += ["--set", f"api.endpoint={where}"]
    finding = world.only(name, "--before", *settings)
    assert finding["fix"].startswith("hangup init")
    assert "--force" in finding["fix"]


@pytest.mark.parametrize(
    ("setting", "name", "fix"),
    [
        (
            'table.key=[{attribute="id"},{attribute="socket"}]',
            "other-key",
            """'table.key=[{ attribute = "socket", type = "S" }]'""",
        ),
        (
            'table.connected_at={attribute="since",unit="ms"}',
            "unreadable-times",
            """'table.connected_at={ attribute = "since", unit = "s" }'""",
        ),
    ],
)
def test_a_setting_that_is_wrong_has_the_right_one_as_its_fix(
    world: World, setting: str, name: str, fix: str
) -> None:
    finding = world.only(name, "--before", "--set", setting)
    assert finding["fix"] == f"hangup deploy --set {fix}"
    assert world.look("--before", "--set", shlex.split(fix)[0]) == {}


def test_a_stage_without_a_deployment(world: World) -> None:
    gateway = world.client("apigatewayv2")
    gateway.create_stage(ApiId=world.app.api_id, StageName="raw")
    endpoint = world.app.endpoint.replace("/prod", "/raw")
    raw = ("--before", "--set", "api.stage=raw", "--set", f"api.endpoint={endpoint}")
    finding = world.only("not-deployed", *raw)
    world.run(finding["fix"])
    # The engine makes the deployment, and does not note it at the stage as AWS does.
    (made,) = gateway.get_deployments(ApiId=world.app.api_id)["Items"]
    gateway.update_stage(ApiId=world.app.api_id, StageName="raw", DeploymentId=made["DeploymentId"])
    assert world.look(*raw) == {}
    gateway.delete_stage(ApiId=world.app.api_id, StageName="raw")


@pytest.mark.parametrize(("rate", "name"), [(0, "stage-closed"), (20_000, "stage-throttle")])
def test_a_throttle_of_the_stage(world: World, rate: int, name: str) -> None:
    world.client("apigatewayv2").update_stage(
        ApiId=world.app.api_id,
        StageName="prod",
        DefaultRouteSettings={"ThrottlingRateLimit": rate, "ThrottlingBurstLimit": rate},
    )
    finding = world.only(name)
    assert f"{rate:,}" in finding["cause"]
    world.run(finding["fix"])


def test_concurrency_that_cannot_be_reserved(world: World) -> None:
    functions = world.client("lambda")
    free = functions.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"]
    functions.put_function_concurrency(FunctionName="chat", ReservedConcurrentExecutions=free - 100)
    new = ("--before", "--set", "stack.name=new")
    found = world.look(*new)
    # For the file of a new stack the deployed one is another.
    assert list(found) == ["no-concurrency", "second-timeout"]
    assert "100 executions are unreserved" in found["no-concurrency"]["cause"]
    _, _, *setting = shlex.split(found["no-concurrency"]["fix"])
    assert list(world.look(*new, *setting)) == ["second-timeout"]
    functions.delete_function_concurrency(FunctionName="chat")


def test_the_address_of_the_api_is_turned_off(world: World) -> None:
    gateway, api_id = world.client("apigatewayv2"), world.app.api_id
    gateway.update_api(ApiId=api_id, DisableExecuteApiEndpoint=True)
    own = f"api.endpoint={OWN_ADDRESS.format(api_id)}"
    finding = world.only("endpoint-disabled", "--before", "--set", own)
    assert finding["fix"] == "hangup deploy --set api.endpoint=https://YOUR_DOMAIN/PATH"
    gateway.update_api(ApiId=api_id, DisableExecuteApiEndpoint=False)


def test_an_endpoint_of_another_api(world: World) -> None:
    other = f"{world.app.engine.endpoint}/_aws/execute-api/other/prod"
    finding = world.only("endpoint-elsewhere", "--before", "--set", f"api.endpoint={other}")
    assert "is of other/prod" in finding["cause"]
    assert OWN_ADDRESS.format(world.app.api_id) in finding["fix"]


def test_an_endpoint_that_does_not_answer(world: World) -> None:
    nobody = f"http://127.0.0.1:9/_aws/execute-api/{world.app.api_id}/prod"
    finding = world.only("endpoint-unreachable", "--before", "--set", f"api.endpoint={nobody}")
    assert "127.0.0.1:9" in finding["cause"]


def test_at_connections_twice_is_refused_when_the_file_is_read(world: World) -> None:
    status, said = world.hangup(
        "doctor", "--set", f"api.endpoint={world.app.endpoint}/@connections"
    )
    assert status == 1
    assert "leave out /@connections" in said


def test_a_function_that_is_not_there(world: World) -> None:
    arn = world.app.function_arn.replace(":chat", ":nope")
    finding = world.only("no-function", "--before", "--set", f"api.disconnect_function={arn}")
    assert arn in finding["cause"]


def test_a_function_of_another_route(world: World) -> None:
    functions = world.client("lambda")
    about = functions.get_function_configuration(FunctionName="chat")
    arn = functions.create_function(
        FunctionName="other",
        Runtime="python3.13",
        Role=about["Role"],
        Handler="app.handler",
        Code={"ZipFile": (world.folder / "code.zip").read_bytes()},
    )["FunctionArn"]
    finding = world.only("other-function", "--before", "--set", f"api.disconnect_function={arn}")
    _, _, *setting = shlex.split(finding["fix"])
    assert world.look("--before", *setting) == {}
    functions.delete_function(FunctionName="other")


def test_a_key_that_the_functions_may_not_use(world: World) -> None:
    keys, tables = world.client("kms"), world.client("dynamodb")
    arn = keys.create_key()["KeyMetadata"]["Arn"]
    tables.update_table(
        TableName=TABLE,
        SSESpecification={"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": arn},
    )
    finding = world.only("no-kms-key")
    _, _, *setting = shlex.split(finding["fix"])
    assert world.look("--before", *setting) == {}
    keys.disable_key(KeyId=arn)
    finding = world.only("kms-key-off", "--before", *setting)
    world.run(finding["fix"])
    assert world.look("--before", *setting) == {}
    tables.update_table(TableName=TABLE, SSESpecification={"Enabled": False})


def test_activity_that_nobody_records(world: World) -> None:
    recorded = ("--before", "--set", "timeout.activity=recorded")
    with connect(world.app.address, ping_interval=None) as talking:
        time.sleep(7)
        talking.send("{}")
        deadline = time.monotonic() + 20
        while not (found := world.look(*recorded)):
            assert time.monotonic() < deadline
    assert list(found) == ["not-recorded"]
    assert "1 of 4" in found["not-recorded"]["cause"]
    _, _, *setting = shlex.split(found["not-recorded"]["fix"])
    assert world.look("--before", *setting) == {}


def test_a_table_of_another_stage(world: World) -> None:
    tables, now_s = world.client("dynamodb"), int(time.time())
    keys = [{"socket": {"S": f"ws#Gone{n}AAAAAAAAAA="}} for n in range(4)]
    for key in keys:
        tables.put_item(TableName=TABLE, Item={**key, **ENV, "since": {"N": str(now_s)}})
    finding = world.only("other-connections")
    assert "4 of 7" in finding["cause"]
    for key in keys:
        tables.delete_item(TableName=TABLE, Key=key)


def test_a_time_that_one_function_writes_otherwise(world: World) -> None:
    tables = world.client("dynamodb")
    key, since = {"socket": {"S": "ws#AbCdEfGhIjKlMnO="}}, {"S": "2026-11-28T21:26:25Z"}
    tables.put_item(TableName=TABLE, Item={**key, **ENV, "since": since})
    finding = world.only("unreadable-times")
    assert "1 of 4" in finding["cause"]
    assert "ISO 8601" in finding["cause"]
    tables.delete_item(TableName=TABLE, Key=key)


def test_two_timeouts_on_one_table(world: World) -> None:
    functions = world.client("lambda")
    ours = functions.get_function_configuration(FunctionName=world.function)
    functions.create_function(
        FunctionName="second",
        Runtime="python3.13",
        Role=ours["Role"],
        Handler="hangup.handlers.timeout_handler.lambda_handler",
        Code={"ZipFile": (world.folder / "code.zip").read_bytes()},
        Environment={"Variables": ours["Environment"]["Variables"]},
    )
    finding = world.only("second-timeout")
    assert "second" in finding["cause"]
    world.run(finding["fix"])
    assert world.look() == {}
    functions.delete_function(FunctionName="second")


def test_two_timeouts_of_different_connections_are_well(world: World) -> None:
    functions = world.client("lambda")
    ours = functions.get_function_configuration(FunctionName=world.function)
    variables = ours["Environment"]["Variables"]
    schema = json.loads(variables["TABLE_SCHEMA"])
    only = {"only": [["equals", "env", "test"]]}
    functions.create_function(
        FunctionName="second",
        Runtime="python3.13",
        Role=ours["Role"],
        Handler="hangup.handlers.timeout_handler.lambda_handler",
        Code={"ZipFile": (world.folder / "code.zip").read_bytes()},
        Environment={"Variables": {**variables, "TABLE_SCHEMA": json.dumps(schema | only)}},
    )
    assert world.look("--before", "--set", 'table.only=[{attribute="env",equals="prod"}]') == {}
    functions.delete_function(FunctionName="second")


def test_a_stack_of_others_with_this_name(world: World) -> None:
    template = {"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}
    stacks = world.client("cloudformation")
    stacks.create_stack(StackName="theirs", TemplateBody=json.dumps(template))
    theirs = ("--before", "--set", "stack.name=theirs")
    found = world.look(*theirs)
    assert list(found) == ["stack-name-taken", "second-timeout"]
    assert "theirs-hangup" in found["stack-name-taken"]["fix"]
    status, said = world.hangup("deploy", "--zip", "code.zip", "--yes", *theirs[1:])
    assert status == 1
    assert "Another stack has this name" in said
    assert "--skip-checks" in said
    stacks.delete_stack(StackName="theirs")


def test_a_stack_that_is_not_deployed(world: World) -> None:
    finding = world.look("--set", "stack.name=new")
    assert list(finding) == ["second-timeout", "no-stack"]
    assert finding["no-stack"]["fix"] == "hangup deploy"


def test_a_file_that_was_changed_since(world: World) -> None:
    finding = world.only("drift", "--set", "timeout.closes_per_second=77")
    assert "ClosesPerSecond is 200, and the file says 77" in finding["cause"]
    assert finding["fix"] == "hangup deploy"
    said = world.done("doctor", "--set", "timeout.closes_per_second=77").splitlines()
    (shown,) = re.findall(r"(?s)\$ hangup doctor --set.*?\n(.*?)\n```", page("operate/doctor"))
    assert [line for line in shown.splitlines() if line not in said] == []
    finding = world.only("drift", "--set", "timeout.mode=observe")
    assert finding["fix"] == "hangup mode observe"


def test_a_stack_of_another_version(world: World) -> None:
    stacks = world.client("cloudformation")
    template = stacks.get_template(StackName=STACK)["TemplateBody"]
    template = json.loads(json.dumps(template) if isinstance(template, dict) else template)
    stack = stacks.describe_stacks(StackName=STACK)["Stacks"][0]
    functions = (r for r in template["Resources"].values() if r["Type"] == "AWS::Lambda::Function")
    for one in functions:
        one["Properties"]["MemorySize"] = 512
    stacks.update_stack(
        StackName=STACK,
        TemplateBody=json.dumps(template, separators=(",", ":")),
        Parameters=stack["Parameters"],
        Tags=stack["Tags"],
        Capabilities=["CAPABILITY_IAM"],
    )
    finding = world.only("other-version")
    world.run(finding["fix"])


def environment(world: World) -> None:
    functions = world.client("lambda")
    about = functions.get_function_configuration(FunctionName=world.function)
    variables = about["Environment"]["Variables"]
    endpoint = f"{variables['API_GATEWAY_ENDPOINT']}/@connections"
    functions.update_function_configuration(
        FunctionName=world.function,
        Environment={"Variables": {**variables, "API_GATEWAY_ENDPOINT": endpoint}},
    )


def into_vpc(world: World, subnet: str) -> None:
    world.client("lambda").update_function_configuration(
        FunctionName=world.function,
        VpcConfig={"SubnetIds": [subnet], "SecurityGroupIds": ["sg-1"]},
    )


def vpc_without_a_way(world: World) -> None:
    ec2 = world.client("ec2")
    network = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=network, CidrBlock="10.9.1.0/24")["Subnet"]["SubnetId"]
    into_vpc(world, subnet)


def vpc_of_others(world: World) -> None:
    into_vpc(world, "subnet-1")


def no_executions(world: World) -> None:
    world.client("lambda").put_function_concurrency(
        FunctionName=world.function, ReservedConcurrentExecutions=0
    )


def rule_off(world: World) -> None:
    world.client("events").disable_rule(Name=world.of_kind("AWS::Events::Rule"))


def no_target(world: World) -> None:
    events, rule = world.client("events"), world.of_kind("AWS::Events::Rule")
    targets = events.list_targets_by_rule(Rule=rule)["Targets"]
    events.remove_targets(Rule=rule, Ids=[one["Id"] for one in targets])


def no_permission(world: World) -> None:
    functions = world.client("lambda")
    statements = json.loads(functions.get_policy(FunctionName=world.function)["Policy"])
    for one in statements["Statement"]:
        functions.remove_permission(FunctionName=world.function, StatementId=one["Sid"])


def alarms_off(world: World) -> None:
    alarm = world.of_kind("AWS::CloudWatch::Alarm")
    world.client("cloudwatch").disable_alarm_actions(AlarmNames=[alarm])


@pytest.mark.parametrize(
    ("name", "break_it"),
    [
        ("environment", environment),
        ("vpc-no-way", vpc_without_a_way),
        ("vpc", vpc_of_others),
        ("no-executions", no_executions),
        ("rule-off", rule_off),
        ("no-target", no_target),
        ("no-permission", no_permission),
        ("silent-alarms", alarms_off),
    ],
)
def test_what_is_deployed_is_changed_by_hand(
    world: World, name: str, break_it: Callable[[World], None]
) -> None:
    break_it(world)
    world.run(world.only(name)["fix"])


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("dynamodb:UpdateItem", f"table/{TABLE}"),
        ("execute-api:ManageConnections", "/GET/@connections/"),
        ("execute-api:ManageConnections", "/DELETE/@connections/"),
        ("lambda:InvokeFunction", "function:chat"),
    ],
)
def test_a_grant_that_is_missing(world: World, action: str, resource: str) -> None:
    iam = world.client("iam")
    role = world.of_kind("AWS::IAM::Role")
    (name,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    iam.put_role_policy(
        RoleName=role,
        PolicyName=name,
        PolicyDocument=json.dumps(_without(document, action, resource)),
    )
    finding = world.only("no-grant")
    assert f"may not {action} on " in finding["cause"]
    assert resource in finding["cause"]
    assert ";" not in finding["cause"]
    world.run(finding["fix"])
    assert world.look() == {}
    iam.delete_role_policy(RoleName=role, PolicyName="hangup-doctor")
    iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))


def _without(document: Any, action: str, resource: str) -> Any:
    """Return a policy that lacks one action on the resource that has this in its ARN."""
    kept = []
    for one in document["Statement"]:
        actions = one["Action"] if isinstance(one["Action"], list) else [one["Action"]]
        resources = one["Resource"] if isinstance(one["Resource"], list) else [one["Resource"]]
        for held in resources:
            left = [a for a in actions if a != action or resource not in held]
            if left:
                kept.append({**one, "Action": left, "Resource": held})
    return {**document, "Statement": kept}


def test_code_without_bytecode(world: World) -> None:
    world.client("s3").put_object(**world.code, Body=_lambda_zip())
    finding = world.only("no-bytecode")
    assert world.code["Key"] in finding["cause"]
    world.client("s3").put_object(**world.code, Body=zip_with_bytecode())


def test_a_queue_that_nobody_reads(world: World) -> None:
    world.client("dynamodb").create_table(
        TableName="precise-sockets",
        KeySchema=[{"AttributeName": "socket", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "socket", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    text = (world.folder / "hangup.toml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("alarm_topic")]
    (world.folder / "precise.toml").write_text("\n".join(lines))
    settings = ("stack.name=precise", "table.name=precise-sockets", "timeout.precise=true")
    precise = ["--config", "precise.toml"]
    precise += [word for one in settings for word in ("--set", one)]
    world.done("deploy", "--zip", "code.zip", "--yes", *precise)
    finding = world.only("silent-alarms", *precise)
    topic = world.client("sns").list_topics()["Topics"][0]["TopicArn"]
    _, _, *setting = shlex.split(finding["fix"].replace("TOPIC_ARN", topic))
    precise += setting
    world.done("deploy", "--zip", "code.zip", "--yes", *precise)
    assert world.look(*precise) == {}
    functions = world.client("lambda")
    mappings = functions.list_event_source_mappings()["EventSourceMappings"]
    functions.update_event_source_mapping(UUID=mappings[0]["UUID"], Enabled=False)
    finding = world.only("mapping-off", *precise)
    world.run(finding["fix"])
    assert world.look(*precise) == {}
    # Metrics that are put cannot be taken back: of this stack, which nobody looks at any more.
    world.client("cloudwatch").put_metric_data(
        Namespace="Hangup/precise", MetricData=[{"MetricName": "SweepsHeld", "Value": 2}]
    )
    found = world.look(*precise)
    assert list(found) == ["held", "alarm"]
    assert "SweepsHeld was 2" in found["held"]["cause"]
    assert "runbooks/held.md" in found["alarm"]["cause"]
    assert found["alarm"]["fix"].startswith("aws logs tail /aws/")


@pytest.fixture
def reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[World]:
    """Return a deployed app, and a user who may ask what the guide says and nothing else."""
    (tmp_path / "code.zip").write_bytes(zip_with_bytecode())
    monkeypatch.chdir(tmp_path)
    with Engine.start() as engine, ExitStack() as sockets:
        app = deployed(engine)
        for _ in range(3):
            sockets.enter_context(connect(app.address, ping_interval=None))
        world = World(app, tmp_path, capsys)

        def become(key: str, secret: str) -> None:
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
            clients.session.cache_clear()

        monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
        monkeypatch.setenv("AWS_ENDPOINT_URL", engine.endpoint)
        become("test", "test")
        topic = world.client("sns").create_topic(Name="alarms")["TopicArn"]
        settings = {"api.endpoint": app.endpoint, "operation.alarm_topic": topic}
        words = [word for item in settings.items() for word in ("--set", "=".join(item))]
        world.done("init", "--api", "chat", "--yes", *words)
        world.done("deploy", "--zip", "code.zip", "--yes")
        # The engine speaks no TLS, and the bucket demands it of everybody but root.
        engine.client("s3").delete_bucket_policy(Bucket=world.code["Bucket"])
        iam = engine.client("iam")
        iam.create_user(UserName="reader")
        key = iam.create_access_key(UserName="reader")["AccessKey"]
        become(key["AccessKeyId"], key["SecretAccessKey"])
        yield world
    clients.session.cache_clear()


def test_the_documented_permissions_are_enough_and_each_that_is_missing_is_named(
    reader: World,
) -> None:
    rows = table("Action", page("operate/doctor"))
    actions = [one.strip(" `") for row in rows for one in row[0].split(",")]
    # The engine takes GetFunctionConcurrency for this, which AWS does not.
    actions.append("lambda:PutFunctionConcurrency")

    def may(*actions: str) -> None:
        statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
        reader.client("iam").put_user_policy(
            UserName="reader", PolicyName="read", PolicyDocument=policy(statement)
        )

    may(*actions)
    assert reader.look() == {}
    for missing in ("events:DescribeRule", "iam:SimulatePrincipalPolicy"):
        may(*(one for one in actions if one != missing))
        finding = reader.only("not-checked")
        assert missing.partition(":")[2] in finding["cause"]
        assert f'"Action": "{missing}"' in finding["fix"]
