"""The stub of AWS as the benchmarks see it: start it, give it a table, ask what arrived."""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import botocore
import trustme

from benchmarks.stub import SERVICES

__all__ = ["Endpoints", "WorkNotDoneError"]


_ROOTS: Final = Path(botocore.__file__).with_name("cacert.pem")


class WorkNotDoneError(Exception):
    """A run that did not do what it was measured for."""


class Endpoints:
    """A running stub; ``with Endpoints.start(folder) as endpoints:`` ends it.

    ``urls`` are the addresses of the stub's services, over TLS; ``ca_file`` is what verifies them.
    """

    def __init__(
        self, process: "subprocess.Popen[str]", *, ports: Mapping[str, int], ca_file: Path
    ) -> None:
        self._process = process
        self._control = ports["control"]
        self.urls = {service: f"https://localhost:{ports[service]}" for service in SERVICES}
        self.ca_file = ca_file

    @classmethod
    def start(cls, folder: Path) -> Self:
        """Make a certificate authority in ``folder``, and return once the stub answers."""
        authority = trustme.CA()
        issued = authority.issue_cert("localhost", "127.0.0.1", "::1")
        ca_file, certificate, key = (folder / name for name in ("ca.pem", "cert.pem", "key.pem"))
        # With all the roots that boto3 trusts by itself: reading them is a part of what it costs.
        ca_file.write_bytes(_ROOTS.read_bytes() + authority.cert_pem.bytes())
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        process = subprocess.Popen(  # noqa: S603 - fixed words and our own paths
            [sys.executable, "-m", "benchmarks.stub", str(certificate), str(key)],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None  # noqa: S101 - for the type
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the stub of AWS ended with {process.wait()}")
        return cls(process, ports=json.loads(line), ca_file=ca_file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.communicate()  # closes its standard input, and waits

    def reset(self, *, records: int, talking: bool = False) -> None:
        """Forget what came, and have a table of so many connections, all idle for an hour.

        They are ``talking`` by API Gateway's account, or not.
        """
        new = {"records": records, "now_ms": _now_ms(), "talking": talking}
        self._ask("POST", json.dumps(new))

    @property
    def counts(self) -> dict[str, int]:
        """How many of each were asked for: ``claims``, ``notices``, ``closes``, ``handovers``..."""
        counts: dict[str, int] = self._ask("GET")["counts"]
        return counts

    def ids(self) -> dict[str, list[str]]:
        """Return the connections of all ``notices``, ``closes`` and ``handovers``, sorted."""
        ids: dict[str, list[str]] = self._ask("GET", path="/ids")
        return ids

    def check(self, *, closes: int, claims: int | None = None, **further: int) -> None:
        """Raise ``WorkNotDoneError`` unless exactly so many connections were closed, each once.

        That is a notice, a close and a hand-over for each of ``closes`` different connections, and
        nothing that a sweep does not ask for. ``claims`` is at least how many were claimed here.
        """
        state = self._ask("GET")
        counts, different = state["counts"], state["different"]
        expected = dict.fromkeys(("notices", "closes", "handovers"), closes)
        wrong = [
            f"{counts.get(kind, 0)} {kind} for {different[kind]} connections instead of {number}"
            for kind, number in expected.items()
            if not counts.get(kind, 0) == different[kind] == number
        ]
        wrong += [
            f"{counts.get(kind, 0)} {kind} instead of {number}"
            for kind, number in further.items()
            if counts.get(kind, 0) != number
        ]
        if claims is not None and counts.get("claims", 0) < claims:
            wrong.append(f"{counts.get('claims', 0)} claims instead of {claims}")
        wrong += [f"{count} times {kind}" for kind, count in counts.items() if "refused" in kind]
        if wrong:
            raise WorkNotDoneError("the run did not do its work: " + "; ".join(wrong))

    def _ask(self, method: str, body: str | None = None, path: str = "/") -> Any:  # noqa: ANN401
        connection = http.client.HTTPConnection("127.0.0.1", self._control, timeout=60)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            if answer.status != http.HTTPStatus.OK:
                raise RuntimeError(f"the stub of AWS answers {answer.status}")
            return json.loads(answer.read())
        finally:
            connection.close()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
