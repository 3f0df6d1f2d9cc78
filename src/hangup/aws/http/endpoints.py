"""Where AWS's services are: the host names of every partition, with FIPS and dual stack.

The tests compare these with botocore's rules, for all Regions and services that are called here.
"""

from typing import Final, NamedTuple


class _Partition(NamedTuple):
    """What the names of its Regions begin with, and what the names of its hosts end with."""

    regions: str
    suffix: str
    dual_stack_suffix: str


_CHINA: Final = _Partition("cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn")
_GOVERNMENT: Final = _Partition("us-gov-", "amazonaws.com", "api.aws")
_COMMERCIAL: Final = _Partition("", "amazonaws.com", "api.aws")
_PARTITIONS: Final = (
    _CHINA,
    _GOVERNMENT,
    _Partition("us-iso-", "c2s.ic.gov", "api.aws.ic.gov"),
    _Partition("us-isob-", "sc2s.sgov.gov", "api.aws.scloud"),
    _Partition("eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    _Partition("us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    _Partition("eusc-", "amazonaws.eu", "api.amazonwebservices.eu"),
    _COMMERCIAL,  # and every Region that is in no other
)


def endpoint_url(service: str, region: str, *, fips: bool = False, dual_stack: bool = False) -> str:
    """Return the URL of a service, by its name in host names, in a Region."""
    partition = next(p for p in _PARTITIONS if region.startswith(p.regions))
    if partition is _GOVERNMENT and service in ("dynamodb", "sqs") and not dual_stack:
        fips = False  # these have FIPS at their ordinary names
    if service == "secretsmanager" and (
        partition in (_COMMERCIAL, _GOVERNMENT) or (partition is _CHINA and not fips)
    ):
        dual_stack = False  # likewise
    suffix = partition.dual_stack_suffix if dual_stack else partition.suffix
    return f"https://{service}{'-fips' if fips else ''}.{region}.{suffix}"
