"""`python -m qponder_lib.cli`."""

from qponder_lib.cli import app

app()
