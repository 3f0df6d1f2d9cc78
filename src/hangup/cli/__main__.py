"""``python -m hangup.cli``: the command line without the script ``hangup``."""

import sys

from hangup.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
