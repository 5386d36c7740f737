"""What `schema check` says of a change, and what `schema lock` makes of it."""

from typing import Any

import pytest

from foldlog import Upcast, command, event, limits
from foldlog.errors import Invalid, TooLarge
from foldlog.model.changes import Change, compare, relocked
from foldlog.model.form import SELF, Field, Form, Object, Type
from foldlog.model.history import History, Kept, Key, read_history, write_history
from foldlog.model.schema import Schemas

EMPTY = History({})


def opened(version: int = 1, name: str = "a.opened", tags: tuple[str, ...] = (), **fields: Any) -> type:
    defaults = {key: value[1] for key, value in fields.items() if isinstance(value, tuple)}
    types = {key: value[0] if isinstance(value, tuple) else value for key, value in fields.items()}
    ordered = dict(sorted(types.items(), key=lambda one: one[0] in defaults))
    return event(name, version=version, tags=tags)(type("Opened", (), {"__annotations__": ordered, **defaults}))


def code(*classes: type, upcasts: tuple[Upcast, ...] = ()) -> Schemas:
    return Schemas(classes, (), upcasts)


def locked(*classes: type, history: History = EMPTY, upcasts: tuple[Upcast, ...] = (), **options: Any) -> History:
    """The history once these classes are locked; through the file, as it is kept."""
    found, refused = relocked(history, code(*classes, upcasts=upcasts), **options)
    assert refused == []
    return read_history(write_history(found))


def only(history: History, *classes: type, upcasts: tuple[Upcast, ...] = ()) -> Change:
    (found,) = compare(history, code(*classes, upcasts=upcasts))
    return found


def said(change: Change) -> list[tuple[str, str]]:
    return [(one.breaks, one.path) for one in change.findings]


FIRST = opened(owner=str, age=int)


@pytest.mark.parametrize(
    ("now", "status", "verdict", "findings"),
    [
        (FIRST, "unchanged", "full", []),
        (opened(age=int, owner=str), "unchanged", "full", []),
        (opened(owner=str, age=int, note=(str, "")), "changed", "full", []),
        (opened(owner=str, age=int, note=str), "changed", "forward", [("backward", "$.note")]),
        (opened(owner=str), "changed", "backward", [("forward", "$.age")]),
        (opened(owner=str, age=(int, 0)), "changed", "full", []),
        (opened(owner=str, age=int | None), "changed", "backward", [("forward", "$.age")]),
        (opened(owner=str, age=str), "changed", "none", [("backward", "$.age"), ("forward", "$.age")]),
        (
            opened(who=str, age=int),
            "changed",
            "none",
            [("backward", "$.who"), ("forward", "$.owner")],
        ),
        (opened(owner=str, age=int, tags=("owner",)), "changed", "forward", [("backward", "$.owner")]),
    ],
)
def test_a_change_is_judged_in_both_directions(now, status, verdict, findings):
    change = only(locked(FIRST), now)
    assert (change.key, change.status, change.verdict) == (Key("event", "a.opened", 1), status, verdict)
    assert said(change) == findings
    assert change.locked is (status == "unchanged")
    for required, broken in {"backward": {"backward"}, "forward": {"forward"}, "full": {"backward", "forward"}}.items():
        assert said(change._replace(findings=change.breaks(required))) == [one for one in findings if one[0] in broken]


def test_a_tag_that_goes_is_missed_by_old_code():
    change = only(locked(opened(owner=str, tags=("owner",))), opened(owner=str))
    assert said(change) == [("forward", "$.owner")]
    assert "keep the tag" in change.findings[0].mend


def test_every_finding_says_how_to_mend_it():
    change = only(locked(opened(a=int, b=int)), opened(a=str, c=int))
    mends = {(one.breaks, one.path): one.mend for one in change.findings}
    assert mends["backward", "$.a"] == 'raise the version to 2 and list Upcast("a.opened", 1, change)'
    assert mends["backward", "$.c"].startswith("give the field a default; or raise the version to 2")
    assert mends["forward", "$.b"] == "keep the field until no old code runs that needs it"
    assert mends["forward", "$.a"].startswith("keep the old type until no old code runs")


def test_what_differs_is_told_field_by_field():
    change = only(locked(opened(a=int, b=int)), opened(a=str, c=(int, 5), tags=("a",)))
    assert [tuple(one) for one in change.steps] == [
        ("tags", "", "a"),
        ("a", "int", "str"),
        ("c", "", "int = 5"),
        ("b", "int", ""),
    ]


def test_all_shapes_of_a_version_must_be_read_not_only_the_last():
    """A field was a number, went, and comes back as a text: the last shape would not mind, the first does."""
    history = locked(opened(x=int, a=int))
    history = locked(opened(a=int), history=history)
    change = only(history, opened(a=int, x=(str, "")))
    assert said(change) == [("backward", "$.x")]
    assert len(history.live(change.key)) == 2


def test_a_shape_that_comes_back_is_the_last_again_and_stands_once():
    first, second = opened(a=int), opened(a=int, b=(int, 0))
    history = locked(first, history=locked(second, history=locked(first)))
    assert len(history.kept[Key("event", "a.opened", 1)]) == 2
    assert only(history, first).status == "unchanged"
    assert only(history, second).status == "changed"


def test_a_new_name_breaks_nobody_and_is_not_locked():
    history = locked(FIRST)
    new, old = compare(history, code(FIRST, opened(name="a.closed", why=str)))
    assert (new.key.name, new.status, new.locked, new.findings) == ("a.closed", "new", False, ())
    assert old.status == "unchanged"


STEP = Upcast("a.opened", 1, lambda old: {"owner": old["owner"]})


def test_a_raised_version_reads_what_is_stored_and_old_code_does_not_read_it():
    history = locked(FIRST)
    old, new = compare(history, code(opened(2, owner=str), upcasts=(STEP,)))
    assert (old.key.version, old.status, old.locked, old.findings) == (1, "upcast", True, ())
    assert (new.key.version, new.status, new.locked, new.verdict) == (2, "raised", False, "backward")
    assert "does not know 'a.opened' version 2" in new.findings[0].why
    assert [tuple(one) for one in new.steps] == [("age", "int", "")]
    history = locked(opened(2, owner=str), history=history, upcasts=(STEP,))
    assert [one.status for one in compare(history, code(opened(2, owner=str), upcasts=(STEP,)))] == [
        "upcast",
        "unchanged",
    ]


def test_a_renamed_event_is_a_raised_version_too():
    rename = Upcast("a.opened", 1, lambda old: old, to=("a.welcomed", 1))
    old, new = compare(locked(FIRST), code(opened(name="a.welcomed", owner=str), upcasts=(rename,)))
    assert (old.status, new.status, new.verdict) == ("upcast", "raised", "backward")


def test_a_name_that_no_code_reads_any_more_is_gone():
    change = only(locked(FIRST))
    assert (change.status, change.verdict, said(change)) == ("gone", "forward", [("backward", "$")])
    assert "lock --accept a.opened" in change.findings[0].mend


def test_a_version_never_falls():
    history = locked(opened(2, owner=str), upcasts=(STEP,), history=locked(FIRST))
    found = compare(history, code(FIRST))
    assert [one.status for one in found] == ["unchanged", "gone"]
    assert "at version 1, the lock file at 2" in found[1].findings[0].why


def test_events_and_commands_of_one_name_stand_apart():
    @command("a.opened")
    class Open:
        other: bool

    history, refused = relocked(EMPTY, Schemas([FIRST], [Open], ()))
    assert refused == []
    assert [one.status for one in compare(history, Schemas([FIRST], [Open], ()))] == ["unchanged"] * 2


def test_lock_refuses_what_breaks_and_leaves_everything_as_it_was():
    history = locked(FIRST)
    found, refused = relocked(history, code(opened(owner=int, age=int), opened(name="new")))
    assert found is history
    assert [one.key.name for one in refused] == ["a.opened"]


def test_lock_takes_a_forward_break_unless_that_is_asked_for():
    history, now = locked(FIRST), code(opened(owner=str))
    assert relocked(history, now)[1] == []
    for required in ("forward", "full"):
        assert [one.key.name for one in relocked(history, now, required)[1]] == ["a.opened"]
        taken, refused = relocked(history, now, required, ["a.opened"])
        assert refused == []
        assert len(taken.live(Key("event", "a.opened", 1))) == 2  # all of it is read, so nothing is given up


def test_what_is_accepted_is_given_up_and_kept_in_the_file():
    key = Key("event", "a.opened", 1)
    readable = opened(owner=str, age=int, note=(str, ""))
    history = locked(readable, history=locked(opened(owner=str, age=(int, 0), note=(str, ""), x=(int, 0))))
    assert len(history.live(key)) == 2
    now = opened(owner=str, age=int, note=str, x=int)
    history = locked(now, history=history, accepted=["a.opened"])
    assert [one.given_up for one in history.kept[key]] == [False, True, False]
    assert only(history, now).status == "unchanged"


def test_a_name_that_is_given_up_rests_and_is_compared_again_when_it_comes_back():
    history = locked(history=locked(FIRST), accepted=["a.opened"])
    assert compare(history, code()) == []
    again = only(history, opened(owner=int, age=int))
    assert again.breaks("backward")
    same = only(history, FIRST)
    assert (same.status, same.locked, same.findings) == ("changed", False, ())
    assert only(locked(FIRST, history=history), FIRST).status == "unchanged"


def test_only_what_breaks_can_be_accepted():
    with pytest.raises(Invalid, match=r"nothing is broken under the name 'a.opened'"):
        relocked(locked(FIRST), code(FIRST), accepted=["a.opened"])


def test_shapes_of_one_version_are_bounded(monkeypatch):
    monkeypatch.setattr(limits, "LOCK_SHAPES", 1)
    with pytest.raises(TooLarge, match="raise its version"):
        relocked(locked(FIRST), code(opened(owner=str)))


def test_a_lock_is_the_same_however_the_parts_are_ordered():
    other = opened(name="b.opened", a=int)
    assert write_history(locked(FIRST, other)) == write_history(locked(other, FIRST))


def test_changes_of_enumerations_and_options_are_told():
    before = Form({SELF: Object({"a": Field(Type("int"))}, ("type", "x"), closed=True)})
    history = History({Key("event", "a.opened", 1): (Kept(before),)})
    change = only(history, opened(a=int))
    assert [tuple(one) for one in change.steps] == [("Self (tag)", "('type', 'x')", ""), ("Self (closed)", "True", "")]
    assert change.verdict == "backward"
