from functools import partial, wraps
from inspect import Parameter
from typing import TYPE_CHECKING, Any, Optional, Union

import pytest

import foldlog
from foldlog import Context, Recorded, command, event, handler, projection
from foldlog.errors import Misconfigured
from foldlog.flow.attempt import Handling
from foldlog.flow.view import View
from foldlog.model.signature import Takes, hints, parameters, taken, wants

if TYPE_CHECKING:
    from elsewhere import Hidden


@event("a")
class A:
    x: int


@event("b")
class B:
    x: int


@command("c")
class C:
    x: int


def takes(function, on=None, index=0, kind="event"):
    return taken(function, index, "the fold", kind, on)


def test_events_are_read_from_the_annotation():
    def one(event: A): ...
    def union(event: A | B): ...
    def old_union(event: Union[A, B]): ...  # noqa: UP007 - the older way of writing it counts as well
    def text(event: "A | B"): ...

    assert takes(one) == Takes((A,), recorded=False)
    assert takes(union) == takes(old_union) == takes(text) == Takes((A, B), recorded=False)


def test_recorded_is_seen():
    def one(event: Recorded[A | B]): ...
    def text(event: "Recorded[A]"): ...
    def every(event: Recorded): ...
    def any_of(event: Recorded[Any]): ...

    assert takes(one) == Takes((A, B), recorded=True)
    assert takes(text) == Takes((A,), recorded=True)
    assert takes(every) == takes(any_of) == Takes((), recorded=True)


def test_on_says_it_explicitly():
    def silent(event): ...
    def hidden(event: "Hidden"): ...
    def hidden_recorded(event: "foldlog.Recorded[Hidden]"): ...
    def recorded(event: Recorded[Any]): ...

    assert takes(silent, on=A) == takes(hidden, on=A) == Takes((A,), recorded=False)
    assert (
        takes(silent, on=[A, B]) == takes(silent, on=(A, B)) == takes(silent, on=A | B) == Takes((A, B), recorded=False)
    )
    assert takes(hidden_recorded, on=A) == takes(recorded, on=A) == Takes((A,), recorded=True)
    assert takes(silent, on=Recorded[A]) == Takes((A,), recorded=True)


def test_partials_methods_wrappers_and_callable_objects_are_functions_too():
    def fold(extra: int, event: A): ...

    class Callable:
        def __call__(self, event: A): ...

        def method(self, event: A): ...

    @wraps(fold)
    def wrapped(*args): ...

    for function in (partial(fold, 1), partial(partial(fold), 1), Callable(), Callable().method):
        assert takes(function) == Takes((A,), recorded=False)
    assert takes(wrapped, index=1) == Takes((A,), recorded=False)


@pytest.mark.parametrize("cure", ["module level", "TYPE_CHECKING", "on="])
def test_what_cannot_be_resolved_is_misconfigured_with_the_cure(cure):
    class Local:
        pass

    def local(event: "Local"): ...
    def hidden(event: "Hidden"): ...
    def missing(event: "foldlog.Nothing"): ...
    def broken(event: "A |"): ...  # noqa: F722 - planted: a broken annotation
    def wrong(event: "A | 5"): ...

    for function in (local, hidden, missing, broken, wrong):
        with pytest.raises(Misconfigured, match=cure):
            takes(function)


def test_a_part_whose_event_cannot_be_resolved_is_cured_by_on():
    @projection("rows", on=A)
    def rows(row: int | None, event: "Hidden") -> int:
        return 1

    @handler("greet", on=A)
    async def greet(event: "Hidden", ctx: Context) -> None: ...

    assert View(rows).takes.types == Handling(greet).takes.types == (A,)


def test_an_answer_that_cannot_be_resolved_is_misconfigured():
    @projection("rows")
    def rows(row: int | None, event: A) -> "Hidden":
        return 1

    with pytest.raises(Misconfigured, match="Hidden"):
        View(rows)


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        (int, "int is no event: write @event"),
        (C, r"C is no event but the command 'c': name events here"),
        (Optional[A], "NoneType is no event"),  # noqa: UP045 - the older way of writing it
        (Any, "Any is no event"),
        (list[A], "list is no event"),
        (type("Child", (A,), {}), "Child is no event"),
    ],
)
def test_what_is_no_event_is_misconfigured(annotation, why):
    def fold(event): ...

    fold.__annotations__["event"] = annotation
    with pytest.raises(Misconfigured, match=why):
        takes(fold)


def test_wrong_shapes_are_misconfigured():
    def silent(event): ...
    def nothing(): ...
    def keyword(*, event: A): ...

    with pytest.raises(Misconfigured, match="annotate parameter 'event' with its events, or write on="):
        takes(silent)
    for function in (nothing, keyword):
        with pytest.raises(Misconfigured, match="event is parameter number 1"):
            takes(function)
    with pytest.raises(Misconfigured, match="takes no event"):
        takes(silent, on=())
    with pytest.raises(Misconfigured, match="A is no command"):
        takes(silent, on=A, kind="command")
    assert takes(silent, on=C, kind="command").types == (C,)


def test_parameters_are_the_positional_ones():
    def function(a, /, b, *rest, c, **more): ...

    assert [one.name for one in parameters(function)] == ["a", "b"]
    assert all(isinstance(one, Parameter) for one in parameters(function))


def test_a_context_is_asked_for_by_its_annotation_or_by_its_place():
    def without(event: A): ...
    def annotated(event: A, ctx: Context): ...
    def bare(event: A, ctx): ...
    def wrong(event: A, ctx: int): ...

    assert not wants(without, 1, Context, "h")
    assert wants(annotated, 1, Context, "h")
    assert wants(bare, 1, Context, "h")
    with pytest.raises(Misconfigured, match="parameter 'ctx' can only be a Context"):
        wants(wrong, 1, Context, "h")


def test_hints_of_something_without_annotations_are_empty():
    assert hints(len, "key") == {}
    assert hints(lambda row: row, "key").get("return") is None
