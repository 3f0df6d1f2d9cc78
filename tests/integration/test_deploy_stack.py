"""A stack that is deployed, changed and removed through change sets, on the local engine."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hangup.aws.bucket import CodeBucket, caller_of
from hangup.aws.runtime import calls, clock
from hangup.aws.stacks import StackEvent, Stacks
from hangup.core.connection import DurationMs
from hangup.errors import BackendError, ConfigurationError, DeployError
from hangup.local.ministack.aws_client import REGION
from hangup.local.ministack.engine import Engine
from hangup.ops.deploy import Deployer, Proposal, Wanted

pytestmark = pytest.mark.integration

STACK = "Timeout"


def template(**more: Any) -> str:
    """Return a template with the parameters that matter here, and a queue that shows the mode."""
    named = {"Mode": {"Type": "String", "Default": "close"}}
    return json.dumps(
        {
            "Parameters": {
                **named,
                "CodeBucket": {"Type": "String"},
                "CodeKey": {"Type": "String"},
            },
            "Resources": {
                "Queue": {
                    "Type": "AWS::SQS::Queue",
                    "Properties": {"Tags": [{"Key": "mode", "Value": {"Ref": "Mode"}}]},
                },
                **more,
            },
            "Outputs": {"Mode": {"Value": {"Ref": "Mode"}}},
        }
    )


FAILS = {
    "Handle": {"Type": "AWS::CloudFormation::WaitConditionHandle"},
    "Broken": {
        "Type": "AWS::CloudFormation::WaitCondition",
        "DependsOn": "Queue",
        "Properties": {"Handle": {"Ref": "Handle"}, "Timeout": "1", "Count": 1},
    },
}
"""A wait for a signal that nobody sends."""


class Account:
    """The engine as an account, and what the deployer said in it."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.client = engine.client
        self.events: list[StackEvent] = []
        self.said: list[str] = []
        self.zip_path = folder / "code.zip"
        self.zip_path.write_bytes(b"code")
        caller = caller_of(engine.client("sts"), calls, region=REGION)
        self.stacks = Stacks(engine.client("cloudformation"), calls, clock, poll_ms=DurationMs(50))

        def bucket_of(name: str) -> CodeBucket:
            return CodeBucket(engine.client("s3"), calls, name=name, caller=caller)

        self.deployer = Deployer(
            stacks=self.stacks,
            bucket_of=bucket_of,
            happens=self.events.append,
            say=self.said.append,
        )

    def wanted(
        self, text: str | None = None, bucket: str | None = None, **parameters: str
    ) -> Wanted:
        return Wanted(
            stack=STACK,
            template=text or template(),
            parameters=parameters,
            zip_path=self.zip_path,
            bucket=bucket,
        )

    def proposed(self, wanted: Wanted) -> Proposal:
        proposal = self.deployer.propose(wanted)
        assert proposal is not None
        return proposal

    def deploy(self, wanted: Wanted) -> str:
        return self.deployer.carry_out(self.proposed(wanted)).status

    @property
    def buckets(self) -> list[str]:
        return [one["Name"] for one in self.client("s3").list_buckets()["Buckets"]]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine.start(enforce_iam=False) as engine:
        yield engine


@pytest.fixture
def account(engine: Engine, tmp_path: Path) -> Iterator[Account]:
    account = Account(engine, tmp_path)
    yield account
    for name in (STACK, "Theirs"):
        state = account.stacks.find(name)
        if state is not None:
            account.stacks.delete(state.stack_id, happens=account.events.append)
    for bucket in account.buckets:
        account.deployer.bucket_of(bucket).delete()


def test_a_change_is_shown_before_anything_is_made(account: Account) -> None:
    proposal = account.proposed(account.wanted())
    assert [(one.action, one.logical_id) for one in proposal.change_set.changes] == [
        ("Add", "Queue")
    ]
    assert not account.buckets
    account.deployer.decline(proposal)
    assert account.stacks.find(STACK) is None
    assert not account.buckets


def test_a_deployment_is_made_once_and_changed_only_where_it_differs(account: Account) -> None:
    assert account.deploy(account.wanted(Mode="observe")) == "CREATE_COMPLETE"
    assert ("Queue", "CREATE_COMPLETE") in [(e.logical_id, e.status) for e in account.events]
    state = account.stacks.find(STACK)
    assert state is not None
    assert state.outputs == {"Mode": "observe"}
    assert state.tags == {"hangup": "timeout"}
    assert account.buckets == [state.parameters["CodeBucket"]]
    assert account.deployer.propose(account.wanted(Mode="observe")) is None
    account.zip_path.write_bytes(b"newer code")
    proposal = account.proposed(account.wanted(Mode="close"))
    assert [one.action for one in proposal.change_set.changes] == ["Modify"]
    assert account.deployer.carry_out(proposal).outputs == {"Mode": "close"}
    assert len(account.buckets) == 1


def test_the_bucket_is_private_encrypted_versioned_and_tls_only(account: Account) -> None:
    account.deploy(account.wanted())
    s3, (bucket,) = account.client("s3"), account.buckets
    assert all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    rules = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    (statement,) = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_a_parameter_alone_is_changed(account: Account) -> None:
    account.deploy(account.wanted(Mode="observe"))
    change = account.deployer.propose_parameters(STACK, {"Mode": "close"})
    assert change is not None
    assert account.deployer.change(change).outputs == {"Mode": "close"}
    assert account.deployer.propose_parameters(STACK, {"Mode": "close"}) is None
    with pytest.raises(DeployError, match="no parameter Other"):
        account.deployer.propose_parameters(STACK, {"Other": "x"})


def test_a_first_deployment_that_fails_is_removed(account: Account) -> None:
    with pytest.raises(DeployError, match="removed again: Broken"):
        account.deploy(account.wanted(template(**FAILS)))
    assert account.stacks.find(STACK) is None
    assert not account.buckets


def test_an_update_that_fails_leaves_what_was(account: Account) -> None:
    account.deploy(account.wanted())
    with pytest.raises(DeployError, match=r"UPDATE_ROLLBACK_COMPLETE.*Broken"):
        account.deploy(account.wanted(template(**FAILS)))
    assert account.deploy(account.wanted(Mode="observe")) == "UPDATE_COMPLETE"


def test_goes_on_after_a_run_that_ended_before_the_change_was_made(account: Account) -> None:
    first = account.proposed(account.wanted())
    first.bucket.create()
    second = account.proposed(account.wanted())
    assert second.bucket.name == first.bucket.name
    assert account.deployer.carry_out(second).status == "CREATE_COMPLETE"
    assert account.buckets == [first.bucket.name]


def test_goes_on_from_a_creation_that_was_rolled_back(account: Account) -> None:
    proposal = account.proposed(account.wanted(template(**FAILS)))
    state = account.stacks.execute(proposal.change_set, happens=account.events.append)
    assert state is not None
    assert state.is_failed_creation
    assert account.deploy(account.wanted()) == "CREATE_COMPLETE"
    assert "its creation failed" in account.said[0]


def test_the_bucket_of_a_creation_that_was_rolled_back_is_the_next_ones(account: Account) -> None:
    proposal = account.proposed(account.wanted(template(**FAILS)))
    proposal.bucket.create()
    account.stacks.execute(proposal.change_set, happens=account.events.append)
    assert account.deploy(account.wanted()) == "CREATE_COMPLETE"
    assert account.buckets == [proposal.bucket.name]


def test_a_bucket_that_was_half_made_is_finished(account: Account) -> None:
    first = account.proposed(account.wanted())
    account.client("s3").create_bucket(Bucket=first.bucket.name)
    account.deploy(account.wanted())
    s3, (bucket,) = account.client("s3"), account.buckets
    assert bucket == first.bucket.name
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    state = account.deployer.to_remove(STACK)
    assert account.deployer.bucket_to_remove(STACK, state) is not None


def test_a_bucket_of_somebody_else_is_not_taken_for_one_that_was_made(account: Account) -> None:
    s3, theirs = account.client("s3"), "hangup-code-theirs"
    s3.create_bucket(Bucket=theirs)
    s3.put_object(Bucket=theirs, Key="precious", Body=b"1")
    account.proposed(account.wanted(bucket=theirs))
    with pytest.raises(DeployError, match="removed again: Broken"):
        account.deploy(account.wanted(template(**FAILS)))
    assert account.buckets == [theirs]
    assert s3.get_object(Bucket=theirs, Key="precious")["Body"].read() == b"1"


def test_a_change_of_somebody_else_that_waits_is_not_touched(account: Account) -> None:
    cloudformation = account.client("cloudformation")
    cloudformation.create_change_set(
        StackName=STACK,
        ChangeSetName="theirs",
        ChangeSetType="CREATE",
        TemplateBody=template(),
        Parameters=[
            {"ParameterKey": name, "ParameterValue": "x"} for name in ("CodeBucket", "CodeKey")
        ],
    )
    for refused in (
        lambda: account.deployer.propose(account.wanted()),
        lambda: account.deployer.to_remove(STACK),
        lambda: account.deployer.remove(STACK),
    ):
        with pytest.raises(DeployError, match="hangup deploy did not make"):
            refused()
    state = account.stacks.find(STACK)
    assert state is not None
    assert [name for name, _ in account.stacks.change_sets(STACK, state)] == ["theirs"]


def test_what_was_never_made_is_removed(account: Account) -> None:
    proposal = account.proposed(account.wanted())
    proposal.bucket.create()
    state = account.deployer.to_remove(STACK)
    assert account.deployer.bucket_to_remove(STACK, state) is not None
    account.deployer.remove(STACK)
    assert account.stacks.find(STACK) is None


def test_who_declines_after_an_interrupted_run_leaves_no_bucket(account: Account) -> None:
    account.proposed(account.wanted()).bucket.create()
    account.deployer.decline(account.proposed(account.wanted()))
    assert account.stacks.find(STACK) is None
    assert not account.buckets


def test_a_stack_of_somebody_else_is_not_touched(account: Account) -> None:
    account.client("cloudformation").create_stack(
        StackName=STACK,
        TemplateBody=template(),
        Parameters=[
            {"ParameterKey": name, "ParameterValue": "x"} for name in ("CodeBucket", "CodeKey")
        ],
    )
    with pytest.raises(DeployError, match="hangup deploy did not make"):
        account.deployer.propose(account.wanted())
    with pytest.raises(DeployError, match="hangup deploy did not make"):
        account.deployer.remove(STACK)
    assert account.stacks.find(STACK) is not None


def test_is_removed_with_its_bucket_where_that_is_wanted(account: Account) -> None:
    account.deploy(account.wanted())
    bucket = account.deployer.bucket_to_remove(STACK, account.deployer.to_remove(STACK))
    assert bucket is not None
    bucket.delete()
    account.deployer.remove(STACK)
    assert account.stacks.find(STACK) is None
    assert not account.buckets


def test_the_users_own_bucket_stays(account: Account) -> None:
    account.client("s3").create_bucket(Bucket="their-bucket")
    account.deploy(account.wanted(bucket="their-bucket"))
    state = account.deployer.to_remove(STACK)
    assert account.deployer.bucket_to_remove(STACK, state) is None
    account.deployer.remove(STACK)
    assert "their-bucket" in account.buckets
    with pytest.raises(ConfigurationError, match="no bucket nowhere"):
        account.deployer.propose(account.wanted(bucket="nowhere"))


def test_the_code_is_where_its_key_says(account: Account) -> None:
    account.client("s3").create_bucket(Bucket="their-bucket")
    account.client("s3").put_object(Bucket="their-bucket", Key="theirs.zip", Body=b"their code")
    wanted = replace(account.wanted(bucket="their-bucket"), code_key="theirs.zip")
    account.deploy(wanted)
    state = account.stacks.find(STACK)
    assert state is not None
    assert state.parameters["CodeKey"] == "theirs.zip"
    held = account.client("s3").get_object(Bucket="their-bucket", Key="theirs.zip")
    assert held["Body"].read() == b"their code"


def test_a_protected_stack_is_not_removed(account: Account) -> None:
    account.deploy(account.wanted())
    protect = account.client("cloudformation").update_termination_protection
    protect(StackName=STACK, EnableTerminationProtection=True)
    try:
        with pytest.raises(DeployError, match="termination protection"):
            account.deployer.remove(STACK)
    finally:
        protect(StackName=STACK, EnableTerminationProtection=False)


def test_what_is_not_there_is_said(account: Account) -> None:
    with pytest.raises(DeployError, match=f"no stack {STACK}"):
        account.deployer.remove(STACK)


def test_what_cloudformation_refuses_is_said(account: Account) -> None:
    with pytest.raises(BackendError, match="CreateChangeSet"):
        account.deployer.propose(account.wanted(template(Odd={"Type": "AWS::Odd::Thing"})))
