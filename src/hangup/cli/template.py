"""``hangup template``."""

from pathlib import Path
from typing import Annotated, Final

import typer

from hangup.cli.output import say
from hangup.errors import ConfigurationError
from hangup.ops.template import timeout_template

EXAMPLES: Final = (
    "hangup template",
    "hangup template --output hangup.template.json",
)
STATUS: Final = ("the template is printed, or written", "the file cannot be written")


def template(
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="Write it to this file, and print its name.",
            dir_okay=False,
        ),
    ] = None,
) -> int:
    """Print the CloudFormation template of the timeout alone.

    It adds the timeout to a stack that has everything else: the WebSocket API,
    the table of connections and the function of the $disconnect route, which
    are parameters. The functions' code is a zip in S3 (CodeBucket and CodeKey),
    which `hangup package --bucket NAME` uploads.
    """
    text = timeout_template()
    if output is None:
        say(text.removesuffix("\n"))
        return 0
    try:
        output.write_text(text, "utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{output} cannot be written ({error.strerror}): name another file with --output"
        ) from error
    say(str(output))
    return 0
