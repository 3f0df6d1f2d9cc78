"""Import botocore without AWS's C runtime; for the processes of Hangup's own functions.

botocore imports the runtime (``awscrt``) where it is installed, to sign with it: 50 ms of CPU at
each cold start, of every function. For the calls that go through botocore its own signer will do,
so it is imported here, before any adapter does, as if there were no such package. Whoever does need
the runtime imports ``awscrt`` as usual, and pays for it then.

``hangup.activity`` does without this: in other people's functions botocore is theirs.
"""

import sys

__all__: list[str] = []

_RUNTIME = "awscrt"

if _RUNTIME not in sys.modules:
    # What Python itself puts here for a module that must not be found.
    sys.modules[_RUNTIME] = None  # type: ignore[assignment]
    try:
        import botocore.compat  # noqa: F401 - decides for botocore as a whole
    finally:
        del sys.modules[_RUNTIME]
