"""CloudFormation on loopback, for the command line: one stack, with outputs."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs

import pytest

from tests.support.aws_stub import AwsStub
from tests.support.loopback import service

NAMES = (
    "ConnectionsTable",
    "SessionsTable",
    "DisconnectFunction",
    "JoinSecretArn",
    "FailedCleanupsQueueUrl",
)


class CloudFormation:
    """DescribeStacks, which speaks XML, of one stack whose name and outputs a test may change."""

    def __init__(self, management_endpoint: str) -> None:
        self.outputs = {name: f"the-{name}" for name in NAMES} | {
            "ManagementEndpoint": management_endpoint
        }
        self.name = "Hangup"
        self.asked: list[str] = []
        self.happens: Callable[[], object] = bool
        """What happens while the question is being answered."""
        self._asked, self._go = threading.Event(), threading.Event()

    def hold(self) -> None:
        """Keep everybody waiting who asks, until ``let_go``."""

        def wait() -> None:
            self._asked.set()
            self._go.wait(60)

        self.happens = wait

    def let_go(self) -> None:
        """Answer those who wait."""
        self._go.set()

    def wait_until_asked(self) -> None:
        """Return once somebody waits."""
        assert self._asked.wait(60)

    def answer(self, body: bytes) -> tuple[int, str]:
        name = parse_qs(body.decode())["StackName"][0]
        self.asked.append(name)
        self.happens()
        if name != self.name:
            message = f"Stack with id {name} does not exist"
            return 400, (
                "<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code>"
                f"<Message>{message}</Message></Error></ErrorResponse>"
            )
        members = "".join(
            f"<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>"
            for key, value in self.outputs.items()
        )
        return 200, (
            "<DescribeStacksResponse><DescribeStacksResult><Stacks><member>"
            f"<StackName>{name}</StackName><Outputs>{members}</Outputs>"
            "</member></Stacks></DescribeStacksResult></DescribeStacksResponse>"
        )


@contextlib.contextmanager
def cloudformation_beside(
    aws: AwsStub, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CloudFormation]:
    """Let the command line find it, and wait for nothing."""
    cloudformation = CloudFormation(aws.management_endpoint)

    with service(cloudformation.answer) as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", f"http://127.0.0.1:{port}")
        monkeypatch.setattr("time.sleep", lambda _seconds: None)
        yield cloudformation


def assert_one_sentence(text: str) -> None:
    """Check that an error is one line that begins with who says it, without a traceback."""
    assert text.startswith("hangup: ")
    assert text.count("\n") == 1
    assert text.endswith("\n")
