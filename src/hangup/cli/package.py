"""``hangup package``."""

import shutil
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from hangup.cli.deployments import EndpointUrl, Profile, Region, Where
from hangup.cli.options import AsJson
from hangup.cli.output import interrupted_means, say, say_aside, say_json, waiting
from hangup.errors import BuildError, ConfigurationError
from hangup.ops.lambda_zips import DISTRIBUTION, installed_zip
from hangup.ops.package import Uploaded, upload
from hangup.ops.wiring import bucket_of

EXAMPLES: Final = (
    "hangup package --output hangup-lambda.zip",
    "hangup package --bucket my-artifacts --region eu-west-1",
    "hangup package --bucket my-artifacts --architecture x86_64 --json",
)
STATUS: Final = ("the zip is written, or both are uploaded", "it cannot be built or uploaded")


class Architecture(StrEnum):
    """The processors of Lambda."""

    ARM64 = "arm64"
    X86_64 = "x86_64"


def package(  # noqa: PLR0913 - the command's options
    *,
    architecture: Annotated[
        Architecture, typer.Option("--architecture", help="Processor of the functions.")
    ] = Architecture.ARM64,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="FILE", help="Write the zip to this file.", dir_okay=False
        ),
    ] = None,
    bucket: Annotated[
        str | None,
        typer.Option(
            "--bucket",
            metavar="NAME",
            help="Upload the zip and the template to this bucket of your account.",
        ),
    ] = None,
    profile: Profile = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    as_json: AsJson = False,
) -> int:
    """Write the zip of the functions, or upload it with the template.

    With --bucket it uploads both, named by their content, and prints the
    parameters CodeBucket and CodeKey of the template, and the template's URL
    for nested stacks (TemplateURL). The bucket must be of your account and in
    the Region of the stack.
    """
    if output is None and bucket is None:
        raise typer.BadParameter("give one of them", param_hint="'--output' or '--bucket'")
    lambda_zip = functions_zip(architecture)
    if output is not None:
        try:
            shutil.copyfile(lambda_zip, output)
        except OSError as error:
            raise ConfigurationError(
                f"{output} cannot be written ({error.strerror}): name another file with --output"
            ) from error
    uploaded = None
    if bucket is not None:
        where = Where(profile=profile, region=region, endpoint_url=endpoint_url)
        with (
            interrupted_means("what is uploaded stays; run it again for the rest"),
            where.account(),
            waiting("Uploading"),
        ):
            uploaded = upload(lambda_zip.read_bytes(), bucket_of(bucket), architecture=architecture)
    _say(architecture, output, uploaded, as_json=as_json)
    return 0


def functions_zip(architecture: str) -> Path:
    """Return the zip of the functions: that which is installed, or one that is built now.

    Raise ``BuildError``, and ``ConfigurationError`` where neither is possible.
    """
    return installed_zip(architecture) or _built(architecture)


def _say(
    architecture: str, output: Path | None, uploaded: Uploaded | None, *, as_json: bool
) -> None:
    result = {"Architecture": str(architecture)}
    if output is not None:
        result["Output"] = str(output)
    if uploaded is not None:
        result |= {
            "CodeBucket": uploaded.bucket,
            "CodeKey": uploaded.code_key,
            "TemplateUrl": uploaded.template_url,
            "Region": uploaded.region,
        }
    if as_json:
        say_json(result)
        return
    for name, value in result.items():
        say((f"{name}: ", "bold"), value)


def _built(architecture: str) -> Path:
    """Build the zip, where the distribution that holds it is not installed; raise BuildError."""
    say_aside(f"{DISTRIBUTION} is not installed: building the zip in build/ ...")
    try:
        from hangup.cdk.bundle import build_lambda_zip  # noqa: PLC0415 - an extra, and slow
    except BuildError as error:
        raise BuildError(
            f"{error} Or install the finished zip: pip install 'hangup[cli]'"
        ) from None
    except ImportError:
        raise ConfigurationError(
            f"the zip of the functions is in {DISTRIBUTION}, which is not installed. Building it"
            " needs the extra cdk: pip install 'hangup[cli]', or pip install 'hangup[cdk]'"
        ) from None
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        built = build_lambda_zip(architecture=architecture)
    for one in said:
        say_aside(str(one.message))
    return built
