import copy
import pickle
import re

import pytest

from foldlog import errors
from foldlog.errors import Conflict, FoldlogError, Invalid, Rejected, Unavailable


def classes(root=FoldlogError, depth=0):
    """The tree as it is in code: (depth, class), parents first."""
    yield depth, root
    for child in root.__subclasses__():
        yield from classes(child, depth + 1)


def drawn():
    """The tree as the docstring draws it: (depth, name, status where one is written)."""
    for line in errors.__doc__.splitlines():
        found = re.match(r"    ([│ ├└─]*)([A-Z]\w+)\s+(\d{3})?", line)
        if found:
            branch, name, status = found.groups()
            yield len(branch) // 4, name, status


def sample(kind):
    if kind is Conflict:
        return Conflict("cart-1", 1, 2, row="t/k")
    if kind is Rejected:
        return Rejected("cart.closed", "it is closed", {"since": [1]})
    if kind is Unavailable:
        return Unavailable("busy", 2.5)
    return kind("said so")


KINDS = [kind for _, kind in classes()]


def test_the_drawn_tree_is_the_tree():
    assert [(depth, name) for depth, name, _ in drawn()] == [(depth, kind.__name__) for depth, kind in classes()]


def test_the_drawn_status_is_the_status():
    assert {name: int(status) for name, _, status in ((n, d, s) for d, n, s in drawn()) if status} == {
        kind.__name__: kind.status for kind in KINDS if kind.__name__ != "Refused"
    }


def test_codes_are_stable_words_and_differ():
    codes = [kind.code for kind in KINDS if kind is not Rejected]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("again", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])  # noqa: S301 - our own
def test_an_error_survives_the_way_to_another_process(kind, again):
    error = sample(kind)
    other = again(error)
    assert type(other) is kind
    assert (str(other), other.message, other.code, vars(other)) == (
        str(error),
        error.message,
        error.code,
        vars(error),
    )


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {Conflict, Rejected}])
def test_the_first_line_of_the_docstring_is_the_message(kind):
    assert str(kind()) == kind.__doc__.split("\n")[0].strip()


def test_a_rejection_carries_its_own_code():
    error = Rejected("cart.closed")
    assert (error.code, error.message, error.data, error.status) == ("cart.closed", "cart.closed", None, 422)
    assert Invalid().code == "invalid"


def test_a_conflict_says_what_to_do():
    assert str(Conflict("cart-1", 1, 2)) == "cart-1: expected 1, found 2; load again and decide again"
