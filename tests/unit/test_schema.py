import pytest

from foldlog import command, event
from foldlog.errors import Invalid, Misconfigured, Undecodable
from foldlog.model.schema import Schemas, Upcast


@event("account.opened", version=3, tags=("country",))
class Opened:
    owner: str
    country: str


@event("account.closed")
class Closed:
    why: str = ""


@event("account.closed")
class ClosedToo:
    pass


@command("account.open")
class Open:
    owner: str


def one_name(old):
    return {"owner": f"{old['first']} {old['last']}"}


def country(old):
    return {**old, "country": "??"}


STEPS = [Upcast("account.opened", 1, one_name), Upcast("account.opened", 2, country)]


def schemas(*steps, events=(Opened, Closed), commands=(Open,)):
    return Schemas(events, commands, steps or STEPS)


def read(system, name, version, body, encoding="json"):
    return system.kind("account", name, version, encoding).decode(body)


def test_a_value_is_stored_under_its_name_and_version():
    system = schemas()
    mark, body, again = system.encode(Opened("Ann", "NZ"))
    assert (mark.kind, mark.name, mark.version) == ("event", "account.opened", 3)
    assert read(system, mark.name, mark.version, body) == again == Opened("Ann", "NZ")
    assert system.tags(mark, again) == ("country:NZ",)
    assert system.tags(system.encode(Closed())[0], Closed()) == ()


def test_every_older_version_is_read_as_the_newest():
    system = schemas()
    assert read(system, "account.opened", 1, b'{"first":"Ann","last":"Lee"}') == Opened("Ann Lee", "??")
    assert read(system, "account.opened", 2, b'{"owner":"Ann"}') == Opened("Ann", "??")


def test_a_renamed_event_is_read_under_its_new_name_and_found_under_both():
    rename = [
        Upcast("acct.open", 1, lambda old: {"first": old["n"], "last": ""}, to=("account.opened", 1)),
        Upcast("ancient", 7, lambda old: {"n": old["m"]}, to=("acct.open", 1)),
    ]
    system = schemas(*STEPS, *rename)
    assert read(system, "ancient", 7, b'{"m":"Ann"}') == Opened("Ann ", "??")
    assert system.names([Opened]) == ("account.opened", "acct.open", "ancient")
    assert system.names([Closed]) == ("account.closed",)
    assert system.names([]) == ()


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ([], "no Upcast starts at version 1"),
        ([STEPS[0]], "leads to 'account.opened' version 2"),
        ([STEPS[1]], "no Upcast starts at version 1"),
        ([*STEPS, STEPS[0]], "two upcasts start at 'account.opened' version 1"),
        ([*STEPS, Upcast("account.opened", 3, country)], "leads to 'account.opened' version 4"),
        ([*STEPS, Upcast("a", 1, country, to=("a", 1))], "circle"),
        ([*STEPS, Upcast("a", 1, country, to=("b", 1)), Upcast("b", 1, country, to=("a", 1))], "circle"),
        (
            [
                *STEPS,
                Upcast("c", 1, country, to=("a", 1)),
                Upcast("a", 1, country),
                Upcast("a", 2, country, to=("a", 1)),
            ],
            "circle",
        ),
        ([*STEPS, Upcast("gone", 1, country)], "no listed event's version"),
    ],
)
def test_a_broken_chain_is_refused_when_the_app_starts(steps, why):
    with pytest.raises(Misconfigured, match=why):
        Schemas([Opened, Closed], [], steps)


@pytest.mark.parametrize(
    ("name", "version", "to"), [("", 1, None), ("a b", 1, None), ("a", 0, None), ("a", True, None), ("a", 1, ("b", 0))]
)
def test_an_upcast_checks_its_own_words(name, version, to):
    with pytest.raises(Misconfigured):
        Upcast(name, version, country, to=to)


def test_an_upcast_says_where_it_leads():
    assert str(STEPS[0]) == "Upcast(account.opened 1 -> account.opened 2)"


@pytest.mark.parametrize(
    ("name", "version", "body", "encoding", "why"),
    [
        ("account.opened", 1, b'{"first":"Ann"}', "json", r"Upcast\(account.opened 1 .* failed: KeyError"),
        ("account.opened", 1, b"[1]", "json", "failed"),
        ("account.opened", 1, b"{", "json", "failed"),
        ("account.opened", 2, b'{"owner":5}', "json", "does not fit the code"),
        ("account.opened", 3, b'{"owner":5,"country":"NZ"}', "json", "Expected `str`"),
        ("account.opened", 4, b"{}", "json", "has version 4; this code knows version 3"),
        ("account.closed", 2, b"{}", "json", "has version 2; this code knows version 1"),
        ("unknown", 1, b"{}", "json", "is not known to this app: no listed part names its type"),
        ("account.closed", 1, b"{}", "sealed", "encoding 'sealed'"),
    ],
)
def test_what_cannot_be_read_is_undecodable_only_when_it_is_read(name, version, body, encoding, why):
    kind = schemas().kind("account", name, version, encoding)
    with pytest.raises(Undecodable, match=why):
        kind.decode(body)


def test_two_classes_under_one_name_are_refused():
    with pytest.raises(Misconfigured, match=r"stored name of two classes: .*Closed and .*ClosedToo"):
        schemas(events=[Opened, Closed, ClosedToo])


def test_the_same_class_listed_twice_is_one():
    assert schemas(events=[Opened, Closed, Opened]).event_names() == ("account.closed", "account.opened")


def test_a_class_without_a_stored_name_is_refused():
    with pytest.raises(Misconfigured, match="int has no stored name"):
        schemas(events=[int])


def test_a_value_of_no_listed_part_is_refused():
    with pytest.raises(Invalid, match="ClosedToo is no event or command of this app"):
        schemas().encode(ClosedToo())


def test_commands_are_found_by_name():
    system = schemas()
    assert system.command_names() == ("account.open",)
    assert system.command_type("account.open") is Open
    assert system.command_from_outside("account.open", '{"owner":"Ann"}') == Open("Ann")
    assert system.decode_command("account.open", 1, b'{"owner":"Ann"}') == Open("Ann")


def test_an_unknown_command_is_refused_and_the_known_ones_are_named():
    with pytest.raises(Invalid, match=r"unknown command 'account.burn'; known: account.open"):
        schemas().command_from_outside("account.burn", "{}")
    with pytest.raises(Invalid, match="known: none"):
        schemas(commands=[]).command_type("x")
    for name, version, why in (
        ("account.burn", 1, "command 'account.burn' version 1 is not known to this app"),
        ("account.open", 2, "command 'account.open' has version 2; this code knows version 1"),
    ):
        with pytest.raises(Undecodable, match=why):
            schemas().decode_command(name, version, b"{}")


@command("account.settle", version=3)
class Settle:
    amount: int
    why: str


COMMAND_STEPS = [
    Upcast("account.pay", 1, lambda old: {"amount": old["sum"]}, to=("account.settle", 2)),
    Upcast("account.settle", 1, lambda old: {"amount": old["total"]}),
    Upcast("account.settle", 2, lambda old: {**old, "why": "??"}),
]


def test_a_stored_command_of_an_older_version_is_read_as_the_newest():
    system = schemas(*STEPS, *COMMAND_STEPS, commands=(Open, Settle))
    assert system.decode_command("account.settle", 3, b'{"amount":5,"why":"x"}') == Settle(5, "x")
    assert system.decode_command("account.settle", 2, b'{"amount":5}') == Settle(5, "??")
    assert system.decode_command("account.settle", 1, b'{"total":5}') == Settle(5, "??")
    assert system.decode_command("account.pay", 1, b'{"sum":5}') == Settle(5, "??")
    assert read(system, "account.opened", 2, b'{"owner":"Ann"}') == Opened("Ann", "??")
    with pytest.raises(Undecodable, match=r"Upcast\(account.settle 1 .* failed: KeyError"):
        system.decode_command("account.settle", 1, b"{}")
    with pytest.raises(Undecodable, match="version 4; this code knows version 3"):
        system.decode_command("account.settle", 4, b"{}")
    with pytest.raises(Undecodable, match="is not known to this app"):
        read(system, "account.settle", 1, b'{"total":5}')


def test_where_upcasts_lead_is_told_for_events_and_for_commands():
    system = schemas(*STEPS, *COMMAND_STEPS, commands=(Open, Settle))
    assert system.leads("event", "account.opened", 1) == ("account.opened", 3)
    assert system.leads("event", "account.opened", 3) == ("account.opened", 3)
    assert system.leads("command", "account.pay", 1) == ("account.settle", 3)
    assert system.leads("event", "account.pay", 1) is None
    assert system.leads("command", "account.settle", 4) is None
    assert {mark.name for mark, _ in system.types()} == {
        "account.opened",
        "account.closed",
        "account.open",
        "account.settle",
    }


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ([], "command 'account.settle' is at version 3, and no Upcast starts at version 1"),
        (COMMAND_STEPS[1:2], "leads to 'account.settle' version 2"),
        ([*COMMAND_STEPS, Upcast("account.settle", 3, country, to=("account.settle", 1))], "circle"),
        ([*COMMAND_STEPS, Upcast("old", 1, country, to=("account.opened", 3))], None),
    ],
)
def test_chains_of_commands_are_checked_like_those_of_events(steps, why):
    if why is None:
        assert Schemas([Opened], [Settle], [*STEPS, *steps]).leads("event", "old", 1) == ("account.opened", 3)
        return
    with pytest.raises(Misconfigured, match=why):
        Schemas([Opened], [Settle], [*STEPS, *steps])


def test_an_upcast_to_a_name_of_both_an_event_and_a_command_is_refused():
    @command("account.closed")
    class Close:
        pass

    assert Schemas([Closed], [Close], []).command_names() == ("account.closed",)
    with pytest.raises(Misconfigured, match="stored name of an event and of a command: give one of them another name"):
        Schemas([Closed], [Close], [Upcast("gone", 1, country, to=("account.closed", 1))])


def test_a_field_that_the_command_does_not_have_is_refused():
    with pytest.raises(Invalid, match=r"has no field \$.age"):
        schemas().command_from_outside("account.open", '{"owner":"Ann","age":5}')
