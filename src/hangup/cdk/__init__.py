"""The infrastructure, as AWS CDK constructs.

``IdleConnectionTimeout`` is the idle timeout alone, for a stack that exists already;
``HangupStack`` is the whole reference application.
"""

from importlib.util import find_spec

from hangup.cdk.node import choose_node
from hangup.errors import BuildError, MissingExtraError

if find_spec("aws_cdk") is None:
    raise MissingExtraError("hangup.cdk", "cdk")
choose_node()

# CDK starts Node.js when it is imported, so these must come after the choice.
from hangup.cdk.idle_connection_timeout import IdleConnectionTimeout  # noqa: E402
from hangup.cdk.stack import HangupStack  # noqa: E402

__all__ = ["BuildError", "HangupStack", "IdleConnectionTimeout"]
