"""The options that several commands have, and what they lead to."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from hangup.aws.deployment import DeployedStack, deployed_join_secret, deployed_stack
from hangup.core.bounds import WholeNumber

STATE_DIR: Final = Path(".hangup")
"""Where `hangup up` keeps its state, below the current folder."""

_STACK: Final = "Hangup"


def whole_number(at_least: int, at_most: int, *, step: int = 1) -> Callable[[str], int]:
    """Return a parser of an option's value: digits only, both bounds included."""
    number = WholeNumber(at_least=at_least, at_most=at_most, step=step)

    def parse(text: str) -> int:
        try:
            return number.parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse


def add_precise(parser: argparse.ArgumentParser) -> None:
    """Add ``--precise``."""
    parser.add_argument(
        "--precise",
        action="store_true",
        help="close to the second, by a queue, instead of to the minute",
    )


def add_stack(parser: argparse.ArgumentParser) -> None:
    """Add ``--stack`` and ``--local``, of which one says where the stack is."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--stack",
        default=_STACK,
        metavar="NAME",
        help=f"name of the CloudFormation stack on AWS (default: {_STACK})",
    )
    where.add_argument(
        "--local", action="store_true", help="the stack that `hangup up` runs in this folder"
    )


def same_stack(options: argparse.Namespace) -> Sequence[str]:
    """Return the options that lead to the same stack again."""
    if options.local:
        return ["--local"]
    return [] if options.stack == _STACK else ["--stack", options.stack]


def stack_of(options: argparse.Namespace) -> DeployedStack:
    """Return the stack that the options name.

    Raise ``BackendError`` or ``LocalStackError`` if there is no such reference stack.
    """
    if not options.local:
        return deployed_stack(options.stack)
    from hangup.local.up import local_stack  # noqa: PLC0415 - its parts are an extra

    return local_stack(STATE_DIR)


def join_secret_of(options: argparse.Namespace) -> str:
    """Return the join secret of the stack that the options name; raise as ``stack_of`` does."""
    if not options.local:
        return deployed_join_secret(options.stack)
    from hangup.local.up import local_join_secret  # noqa: PLC0415 - its parts are an extra

    return local_join_secret(STATE_DIR)
