"""The environment: the only file of the library that reads it."""

import os


def app() -> str:
    """FOLDLOG_APP: the APP of commands that are called without one."""
    return os.environ.get("FOLDLOG_APP", "")
