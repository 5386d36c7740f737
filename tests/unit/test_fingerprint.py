"""Fingerprints: the same in every process, another one for every change that a fold can notice."""

import importlib.util
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache, partial, singledispatch
from itertools import count

import pytest

from foldlog.errors import TooLarge
from foldlog.model.fingerprint import fingerprint

MODULE = """
import enum
import math
import re
import threading
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cached_property

import msgspec

RATE = Decimal("1.10")
NAMES = frozenset({"ann", "bob", "cid", "dan"})
KINDS = {int: 1, str: 2}
LOCK = threading.Lock()
PATTERN = re.compile("a+")

class Grade(enum.Enum):
    FINE = "fine"
    POOR = "poor"

@dataclass(frozen=True)
class Line:
    amount: int = 3
    grade: Grade = Grade.FINE
    rest: list = field(default_factory=list)

    @property
    def twice(self):
        return self.amount * 2

    @cached_property
    def thrice(self):
        return self.amount * 3

class Struct(msgspec.Struct, frozen=True):
    amount: int = 4

def inner(amount):
    return math.floor(amount * RATE)

def make(limit):
    def check(amount):
        return min(amount, limit)
    return check

check = make(10)

def evolve(state, event, extra=1):
    if event.name in NAMES and PATTERN.match(event.name) and type(event) in KINDS:
        with LOCK:
            return state + inner(event.amount) + extra
    return max([check(one) for one in (Line().twice, Struct().amount)])
"""
numbers = count()


@pytest.fixture
def load(tmp_path):
    """Imports a text as a module of its own name."""

    def load(text):
        name = f"fingerprinted_{next(numbers)}"
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        finally:
            del sys.modules[name]
        return module

    return load


def test_it_is_the_same_in_another_module_and_with_other_comments_and_lines(load):
    assert fingerprint(load(MODULE).evolve) == fingerprint(load("# first\n\n" + MODULE).evolve)


def test_it_is_the_same_in_every_process(tmp_path):
    path = tmp_path / "fold.py"
    path.write_text(MODULE + "\nfrom foldlog.model.fingerprint import fingerprint\nprint(fingerprint(evolve))\n")
    seen = {
        subprocess.run(
            [sys.executable, str(path)], env={"PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("state + inner", "state - inner"),
        ('Decimal("1.10")', 'Decimal("1.20")'),
        ('"dan"', '"eve"'),
        ("int: 1", "int: 3"),
        ('"a+"', '"b+"'),
        ("amount: int = 3", "amount: int = 5"),
        ("amount: int = 4", "amount: int = 5"),
        ("self.amount * 2", "self.amount * 7"),
        ("self.amount * 3", "self.amount * 7"),
        ('POOR = "poor"', 'POOR = "bad"'),
        ("default_factory=list", "default_factory=dict"),
        ("math.floor", "math.ceil"),
        ("make(10)", "make(11)"),
        ("min(amount, limit)", "max(amount, limit)"),
        ("extra=1", "extra=2"),
        ("check(one) for", "check(one) + 1 for"),
    ],
)
def test_a_change_anywhere_below_the_fold_changes_it(load, old, new):
    assert old in MODULE
    assert fingerprint(load(MODULE).evolve) != fingerprint(load(MODULE.replace(old, new)).evolve)


def test_a_change_beside_the_fold_leaves_it(load):
    beside = MODULE + "\ndef other():\n    return 1\n"
    assert fingerprint(load(MODULE).evolve) == fingerprint(load(beside).evolve)


def test_what_a_module_is_asked_for_counts_however_deep(load):
    outer, inner, deep = (type(sys)(name) for name in ("outer", "inner", "deep"))
    outer.inner, inner.deep = inner, deep
    inner.limit, inner.outer = 1, outer

    def made(value):
        deep.limit = value
        module = load("def evolve(state):\n    return outer.inner.deep.limit\n")
        module.outer = outer
        return fingerprint(module.evolve)

    assert made(1) == made(1)
    assert made(1) != made(2)


def test_callables_of_every_kind_are_looked_into():
    class Adds:
        def __init__(self, amount):
            self.amount = amount

        def __call__(self, state):
            return state + self.amount

        def method(self, state):
            return state

    def add(state, amount):
        return state + amount

    def less(state, amount):
        return state - amount

    def dispatched(for_text):
        @singledispatch
        def evolve(event):
            return 0

        evolve.register(str, for_text)
        return evolve

    def again():
        return [
            *(
                Adds(1),
                Adds(2),
                Adds(1).method,
                partial(add, amount=1),
                partial(add, amount=2),
                partial(less, amount=1),
            ),
            *(lru_cache(add), lru_cache(less), dispatched(add), dispatched(less), "x".join, "y".join, len),
            *(Decimal(1), datetime(2026, 1, 1, tzinfo=UTC), [1, (2,)], {1: [2]}, {(1, 2)}, staticmethod(add)),
        ]

    first, second = again(), again()
    told = [fingerprint(one) for one in first]
    assert told == [fingerprint(one) for one in second]
    assert len(set(told)) == len(told)
    first[8](1)
    assert fingerprint(first[8]) == told[8]


def test_circles_end_and_empty_cells_count():
    def first(state):
        return second(state) if state else later(state)

    def second(state):
        return first(state)

    circle = [first]
    circle.append(circle)
    before = fingerprint(circle)
    assert before == fingerprint(circle)

    def later(state):
        return state

    assert fingerprint(circle) != before


def test_more_than_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr("foldlog.limits.FINGERPRINT", 4)
    assert fingerprint([[], []])
    with pytest.raises(TooLarge, match="more than 4 functions"):
        fingerprint([[], [], []])


def test_texts_that_utf8_cannot_hold_are_no_obstacle():
    assert fingerprint("\ud800") != fingerprint("\ud801")


def test_what_cannot_be_looked_into_counts_by_its_type():
    assert fingerprint(i for i in ()) == fingerprint(i for i in (1,))
    assert fingerprint(textwrap) == fingerprint(textwrap)
