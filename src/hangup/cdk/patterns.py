"""Patterns of CloudFormation parameters that are whole numbers.

CloudFormation knows bounds only for its type Number, and accepts 90.5 there; so the parameters are
text with a pattern.
"""

from typing import Final

FROM_75: Final = "7[5-9]|[89][0-9]|[1-9][0-9]{2}|[1-6][0-9]{3}|7[01][0-9]{2}|7200"
"""75 to 7200: seconds."""
FROM_1: Final = f"[1-9]|[1-6][0-9]|7[0-4]|{FROM_75}"
"""1 to 7200: seconds."""
FROM_0: Final = f"0|{FROM_1}"
"""0 to 7200: seconds."""
UP_TO_1000: Final = "0|[1-9][0-9]{0,2}|1000"
LIMIT: Final = "[1-9][0-9]{0,5}"
"""1 to 999999."""
