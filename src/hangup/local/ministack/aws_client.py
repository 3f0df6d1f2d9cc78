"""boto3 clients for the local engine, which the user's own AWS set-up cannot redirect."""

import os
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, cast

import boto3
import botocore.session
from botocore.config import Config

REGION: Final = "us-east-1"
ACCOUNT: Final = "000000000000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """An access key; ``session_token`` for those of an assumed role."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None


ROOT: Final = Credentials(access_key_id="test", secret_access_key="test")  # noqa: S106 - MiniStack's
"""The account's root, which may do everything."""

_lock = threading.Lock()


def aws_client(service: str, endpoint_url: str, credentials: Credentials = ROOT) -> Any:  # noqa: ANN401
    """Return a boto3 client of ``service``; calls give up after seconds, not minutes."""
    with _lock:  # making a client is not thread-safe, using one is
        return cast("Any", _session()).client(
            service,
            region_name=REGION,
            endpoint_url=endpoint_url,
            aws_access_key_id=credentials.access_key_id,
            aws_secret_access_key=credentials.secret_access_key,
            aws_session_token=credentials.session_token,
            config=Config(
                connect_timeout=2,
                read_timeout=65,  # a synchronous invocation may take the function's 60 s
                retries={"mode": "standard", "total_max_attempts": 2},
                max_pool_connections=50,
                proxies={},  # loopback: HTTP_PROXY does not apply
            ),
        )


@cache
def _session() -> boto3.Session:
    """Return a session without the user's profile, configuration and credential files."""
    # (config key, environment variable, default, conversion): no key, no variable, only a default.
    isolated = {
        "profile": (None, None, None, None),
        "config_file": (None, None, os.devnull, None),
        "credentials_file": (None, None, os.devnull, None),
    }
    return boto3.Session(botocore_session=botocore.session.Session(session_vars=isolated))
