"""What the readers of model text share."""

import re

TAG = re.compile(r"</?(?:think|answer)>")
ASCII_SPACE = " \t\r\n\f\v"


def storable_text(text: str) -> str:
    r"""Make model text safe to write as UTF-8: lone surrogates become visible escapes.

    Example:
        >>> storable_text("sharp\ud800")
        'sharp\\ud800'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
