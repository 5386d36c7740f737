"""What a fold looks like, so that a change of it without a new version is noticed."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from foldlog.model.projection import Projection


def fingerprint(projection: Projection[Any, Any]) -> str:
    """A digest of the source of the fold and of `key`, whatever their comments, docstrings and layout.

    What they call is not part of it. "" where there is no source to read (a console, a frozen program).
    """
    try:
        texts = [_source(one) for one in (projection.fold, projection.key) if one is not None]
    except (OSError, TypeError):
        return ""
    return blake2b("\n".join(texts).encode(errors="replace"), digest_size=16).hexdigest()


def _source(function: Callable[..., Any]) -> str:
    text = textwrap.dedent(inspect.getsource(function))
    try:
        tree = ast.parse(text)
    except SyntaxError:  # a lambda in the midst of a call: its lines as they stand
        return text
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            # What the decorator says (version, switch, indexes) is no part of what the fold does.
            node.decorator_list = []
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
