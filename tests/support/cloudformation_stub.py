"""CloudFormation on loopback, for the command line: one stack, with outputs."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest

from tests.support.aws_stub import AwsStub

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

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, answer = cloudformation.answer(body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            # Who was interrupted does not wait for it.
            with contextlib.suppress(ConnectionError):
                self.wfile.write(answer.encode())

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", endpoint)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    yield cloudformation
    server.shutdown()
    server.server_close()


def assert_one_sentence(text: str) -> None:
    """Check that an error is one line that begins with who says it, without a traceback."""
    assert text.startswith("hangup: ")
    assert text.count("\n") == 1
    assert text.endswith("\n")
