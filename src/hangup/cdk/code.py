"""The Lambda zip as CDK takes it."""

from pathlib import Path

from aws_cdk import aws_lambda as lambda_

from hangup.cdk.bundle import build_lambda_zip, content_hash


def lambda_code(architecture: lambda_.Architecture) -> lambda_.AssetCode:
    """Build the zip for ``architecture``, and return it as functions' code.

    Raise BuildError if it cannot be built.
    """
    return code_of(build_lambda_zip(architecture=architecture.name))


def code_of(lambda_zip: Path) -> lambda_.AssetCode:
    """Return a zip as functions' code, named by its content.

    CDK's own name is the hash of the zip's bytes: a different zlib would deploy the same code anew.
    """
    return lambda_.Code.from_asset(str(lambda_zip), asset_hash=content_hash(lambda_zip))
