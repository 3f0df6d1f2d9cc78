"""The account that calls AWS, and where: credentials, Region, endpoints and certificates.

Lambda puts all of it into the environment, and from there it is read. botocore takes a tenth of a
second of CPU time to load. It is asked only where it may know more: the environment has no keys
that last (functions with SnapStart fetch theirs), it names a profile, or there is a configuration
file.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import botocore

from hangup.aws.errors import UnansweredError
from hangup.aws.http.endpoints import endpoint_url

_CONFIG_FILE: Final = "~/.aws/config"
_ELSEWHERE: Final = ("AWS_CREDENTIAL_EXPIRATION", "AWS_DEFAULT_PROFILE", "AWS_PROFILE")
"""Variables that only botocore follows."""

_CERTIFICATES: Final = str(Path(botocore.__file__).with_name("cacert.pem"))
"""The authorities that botocore trusts. Lambda's zip has them."""

Environment = Mapping[str, str]


class Keys(NamedTuple):
    """What requests are signed with; ``token`` is that of a session, None for lasting keys."""

    access_key: str
    secret_key: str
    token: str | None


class Account(NamedTuple):
    """What a call needs to know.

    ``keys`` is called for every request, since keys may be refreshed at any time. It raises
    ``UnansweredError`` if there are none. ``url_of`` takes the name of a service. ``ca_file`` has
    the certificates, as PEM, that a server's must come from.
    """

    keys: Callable[[], Keys]
    region: str
    url_of: Callable[[str], str]
    ca_file: str


def account(env: Environment = os.environ) -> Account:
    """Return who calls AWS, and where. Raises ``UnansweredError`` if no Region is set."""
    access_key, secret_key = env.get("AWS_ACCESS_KEY_ID"), env.get("AWS_SECRET_ACCESS_KEY")
    if not access_key or not secret_key or any(env.get(name) for name in _ELSEWHERE):
        return _by_botocore(env)
    # Not Path's expanduser: it raises where the user has no home.
    if Path(os.path.expanduser(env.get("AWS_CONFIG_FILE") or _CONFIG_FILE)).is_file():  # noqa: PTH111
        return _by_botocore(env)
    token = env.get("AWS_SECURITY_TOKEN") or env.get("AWS_SESSION_TOKEN") or None
    keys = Keys(access_key, secret_key, token)
    region = _known(env.get("AWS_DEFAULT_REGION") or env.get("AWS_REGION"))
    return Account(
        keys=lambda: keys,
        region=region,
        url_of=partial(
            _url_of,
            region=region,
            env=env,
            is_set=lambda name: env.get(f"AWS_{name.upper()}", "").lower() == "true",
            in_file=lambda _: None,
        ),
        ca_file=env.get("AWS_CA_BUNDLE") or _CERTIFICATES,
    )


def _by_botocore(env: Environment) -> Account:
    from hangup.aws.clients import session  # noqa: PLC0415 - see above

    ours = session()
    credentials = ours.get_credentials()
    region = _known(ours.get_config_variable("region"))

    def keys() -> Keys:
        if credentials is None:
            raise UnansweredError("NoCredentialsError", "Unable to locate credentials")
        frozen = credentials.get_frozen_credentials()
        return Keys(frozen.access_key or "", frozen.secret_key or "", frozen.token)

    def in_file(service_id: str) -> str | None:
        profile = ours.get_scoped_config()
        services = ours.full_config.get("services", {}).get(profile.get("services"), {})
        return services.get(service_id, {}).get("endpoint_url") or profile.get("endpoint_url")

    return Account(
        keys=keys,
        region=region,
        # Without a client of botocore's: each reads a megabyte about its service.
        url_of=partial(
            _url_of,
            region=region,
            env=env,
            is_set=lambda name: bool(ours.get_config_variable(name)),
            in_file=in_file,
        ),
        ca_file=str(ours.get_config_variable("ca_bundle") or _CERTIFICATES),
    )


def _url_of(
    service: str,
    *,
    region: str,
    env: Environment,
    is_set: Callable[[str], bool],
    in_file: Callable[[str], str | None],
) -> str:
    """Return a service's URL: the one that somebody has configured, else its ordinary one."""
    if not is_set("ignore_configured_endpoint_urls"):
        service_id = {"secretsmanager": "secrets_manager"}.get(service, service)
        configured = (
            env.get(f"AWS_ENDPOINT_URL_{service_id.upper()}")
            or env.get("AWS_ENDPOINT_URL")
            or in_file(service_id)
        )
        if configured:
            return configured
    return endpoint_url(
        service,
        region,
        fips=is_set("use_fips_endpoint"),
        dual_stack=is_set("use_dualstack_endpoint"),
    )


def _known(region: str | None) -> str:
    """Return the Region. Raises ``UnansweredError`` if there is none."""
    if not region:
        raise UnansweredError("NoRegionError", "You must specify a region.")
    return region
