from dataclasses import FrozenInstanceError, dataclass
from enum import Enum

import msgspec
import pytest

from foldlog import command, event
from foldlog.errors import Invalid, Misconfigured
from foldlog.model.event import Stored, field_names, stored, tags_of


class Row(Enum):
    A = "a"


@event("seat.taken", version=2, tags=("show", "guests", "row", "note"))
class Taken:
    show: int
    guests: tuple[str, ...] = ()
    row: Row | None = None
    note: str | None = None


def test_an_event_is_a_frozen_slotted_dataclass_with_a_stored_name():
    taken = Taken(5)
    assert taken == Taken(show=5)
    assert not hasattr(taken, "__dict__")
    assert stored(Taken) == Stored("event", "seat.taken", 2, ("show", "guests", "row", "note"))
    with pytest.raises(FrozenInstanceError):
        taken.show = 6


def test_a_command_has_a_stored_name_too():
    @command("seat.take")
    class Take:
        show: int

    assert stored(Take) == Stored("command", "seat.take", 1)


def test_a_frozen_struct_and_a_frozen_dataclass_are_taken_as_they_are():
    class Struct(msgspec.Struct, frozen=True):
        a: int

    @dataclass(frozen=True)
    class Data:
        a: int

    for cls in (Struct, Data):
        assert event("a", tags=("a",))(cls) is cls
        assert stored(cls) == Stored("event", "a", 1, ("a",))
        assert field_names(cls) == ("a",)
    assert field_names(int) == ()


def test_what_can_change_is_refused():
    class Struct(msgspec.Struct):
        a: int

    @dataclass
    class Data:
        a: int

    with pytest.raises(Misconfigured, match="Struct that can change: write frozen=True"):
        event("a")(Struct)
    with pytest.raises(Misconfigured, match="dataclass that can change: write frozen=True"):
        command("a")(Data)


def test_a_subclass_does_not_inherit_the_name_and_may_have_its_own():
    class Child(Taken):
        pass

    assert stored(Child) is None
    assert stored(event("seat.taken-too")(Child)).name == "seat.taken-too"
    assert stored(5) is None


@pytest.mark.parametrize("decorator", [event, command])
@pytest.mark.parametrize("name", ["", "1a", "a b", "a\n", "ä", "a" * 129, None, 5])
def test_a_bad_name_is_refused(decorator, name):
    with pytest.raises(Misconfigured, match="bad stored name"):
        decorator(name)


@pytest.mark.parametrize("decorator", [event, command])
def test_a_decorator_without_its_name_says_what_to_write(decorator):
    with pytest.raises(Misconfigured, match=r"\('name'\): the stored name is missing on Plain"):

        @decorator
        class Plain:
            pass


@pytest.mark.parametrize("version", [0, -1, True, 1.0, "1", 2**31])
def test_a_bad_version_is_refused(version):
    with pytest.raises(Misconfigured, match="whole number from 1"):
        event("a", version=version)


@pytest.mark.parametrize("tags", ["a", ("a", "a"), tuple(f"t{n}" for n in range(17))])
def test_bad_tags_are_refused(tags):
    with pytest.raises(Misconfigured, match="different field names"):
        event("a", tags=tags)


def test_a_tag_of_no_field_is_refused():
    with pytest.raises(Misconfigured, match=r"no field \['b'\]"):

        @event("a", tags=("a", "b"))
        class Made:
            a: int


def test_tags_are_made_of_fields():
    names = stored(Taken).tags
    assert tags_of(Taken(5), names) == ("show:5",)
    assert tags_of(Taken(5, ("x", "y", "x"), Row.A, ""), names) == ("show:5", "guests:x", "guests:y", "row:a", "note:")
    with pytest.raises(Invalid, match="at most 16 tags, this Taken has 18"):
        tags_of(Taken(5, tuple(map(str, range(17)))), names)
