from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from foldlog import (
    Context,
    Decider,
    Query,
    Recorded,
    Rejected,
    Send,
    Upcast,
    command,
    event,
    handler,
    projection,
)
from foldlog.errors import Invalid
from foldlog.model.principal import Principal
from foldlog.testing import FakeClock, given


@event("account.opened")
class Opened:
    owner: str


@event("account.deposited", tags=("by",))
class Deposited:
    amount: int
    by: str = ""


@event("account.closed")
class Closed:
    pass


@event("quiet")
class Quiet(msgspec.Struct, frozen=True, eq=False):
    note: str = ""


@command("account.open")
class Open:
    owner: str


@command("account.deposit")
class Deposit:
    amount: int
    by: str = ""


@command("quiet")
class Whisper:
    note: str


@command("account.burn")
class Burn:
    answer: Any = None


def decide(command: Open | Deposit, is_open: bool) -> list[Opened | Deposited]:
    match command:
        case Open(owner):
            return [] if is_open else [Opened(owner)]
        case Deposit(amount, by) if is_open and amount > 0:
            return [Deposited(amount, by)]
    raise Rejected("account.not-possible", f"cannot {command} now", {"open": is_open})


def evolve(is_open: bool, event: Opened | Deposited) -> bool:
    return True


account = Decider("account", decide, evolve, initial=False)


@projection("balances")
def balances(row: int | None, event: Deposited | Closed) -> int | None:
    return None if isinstance(event, Closed) else (row or 0) + event.amount


def failing(match: str) -> Any:
    return pytest.raises(AssertionError, match=match)


# ---------------------------------------------------------------- deciders


def test_a_decider_decides():
    given(account, Opened("Ann")).when(Deposit(5)).then(Deposited(5))
    given(account).when(Open("Ann")).then(Opened("Ann"))
    given(account, Opened("Ann")).when(Open("Ann")).then_nothing()
    refusal = given(account).when(Deposit(5)).then_rejected("account.not-possible")
    assert refusal.data == {"open": False}


def test_a_decision_that_is_not_the_expected_one_shows_the_difference():
    opened = given(account, Opened("Ann"))
    with failing(
        r"(?s)Decider\('account'\) decided otherwise.*\n- Deposited\(amount=6, by=''\)\n.*\+ Deposited\(amount=5"
    ):
        opened.when(Deposit(5)).then(Deposited(6))
    with failing(r"\+ Deposited\(amount=5, by=''\)"):
        opened.when(Deposit(5)).then_nothing()
    with failing(r"- Deposited\(amount=5"):
        opened.when(Deposit(5)).then(Deposited(5), Deposited(5))
    with failing(r"- Opened\(owner='Ann'\)\n\+ nothing"):
        opened.when(Open("Ann")).then(Opened("Ann"))
    with failing("refused with 'account.not-possible': cannot Deposit"):
        given(account).when(Deposit(5)).then(Deposited(5))
    with failing(r"should refuse with 'x', and decided\n  Deposited\(amount=5"):
        opened.when(Deposit(5)).then_rejected("x")
    with failing(r"should refuse with 'x', and decided\n  nothing"):
        opened.when(Open("Ann")).then_rejected("x")
    with failing("should refuse with 'x', and refused with 'account.not-possible'"):
        given(account).when(Deposit(5)).then_rejected("x")


def test_wrong_use_with_a_decider_is_explained():
    with pytest.raises(TypeError, match="write then_nothing"):
        given(account).when(Open("Ann")).then()
    with pytest.raises(Invalid, match=r"takes Deposit, Open, not Opened"):
        given(account).when(Opened("Ann"))
    with pytest.raises(Invalid, match=r"takes no Closed; its events: account.deposited, account.opened"):
        given(account, Closed())
    with pytest.raises(Invalid, match="takes no Open; its events"):
        given(account, Open("Ann"))
    with pytest.raises(Invalid, match="takes no int"):
        given(account, 5)
    for part in (decide, 5, Upcast("account.opened", 1, dict)):
        with pytest.raises(TypeError, match="cannot be given: name a decider, a projection, a handler or a process"):
            given(part)


@event("door.opened", version=2)
class DoorOpened:
    by: str


@command("door.open", version=3)
class OpenDoor:
    by: str


@projection("visits")
def visits(row: int | None, event: DoorOpened) -> int:
    return (row or 0) + 1


@handler("ring")
async def ring(event: DoorOpened, ctx: Context) -> Send:
    return Send("door", "1", OpenDoor(event.by))


def test_a_part_of_events_with_older_versions_needs_no_upcast():
    def decide(command: OpenDoor, state: None) -> list[DoorOpened]:
        return [DoorOpened(command.by)]

    def evolve(state: None, event: DoorOpened) -> None:
        return None

    door = Decider("door", decide, evolve, initial=None)
    given(door, DoorOpened("Ann")).when(OpenDoor("Bob")).then(DoorOpened("Bob"))
    given(visits, DoorOpened("Ann")).when(DoorOpened("Bob")).then(2)
    given(ring).when(DoorOpened("Ann")).then(Send("door", "1", OpenDoor("Ann")))


def test_what_does_not_survive_storage_fails_in_the_unit_test():
    for stumble in (
        lambda: given(account, Opened(5)),
        lambda: given(account).when(Open(Decimal(1))),
        lambda: given(account, Opened("Ann")).when(Deposit(5)).then(Deposited("5")),
    ):
        with pytest.raises(Invalid, match=r"does not fit its own fields|would be read as"):
            stumble()

    def wrong(command: Deposit, state: int) -> list[Deposited]:
        return [Deposited(command.amount / 2)]

    with pytest.raises(Invalid, match="does not fit its own fields"):
        given(Decider("wrong", wrong, evolve, initial=False)).when(Deposit(5))


def burning(answer):
    def decide(command: Burn, state: bool) -> list[Opened]:
        return answer

    return given(Decider("account", decide, evolve, initial=False))


def test_an_answer_that_is_no_list_of_events_is_refused():
    with pytest.raises(Invalid, match="answers Opened: return a list of events"):
        burning(Opened("Ann")).when(Burn())
    with pytest.raises(Invalid, match="answers Open, which is no event"):
        burning([Open("Ann")]).when(Burn())
    with pytest.raises(Invalid, match="answers int, which is no event"):
        burning([5]).when(Burn())
    with pytest.raises(Invalid, match="Closed is no event or command"):
        burning([Closed()]).when(Burn())


def test_an_exception_that_is_no_refusal_goes_through():
    def broken(command: Burn, state: bool) -> list[Opened]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        given(Decider("account", broken, evolve, initial=False)).when(Burn())


def test_a_decider_may_ask_for_the_time_and_for_who_asks():
    def stamped(command: Open, state: bool, ctx: Context) -> list[Opened]:
        return [Opened(f"{ctx.principal.actor} {ctx.now.isoformat()}")]

    clock = FakeClock(datetime(2030, 1, 1, tzinfo=UTC))
    decider = Decider("account", stamped, evolve, initial=False)
    given(decider).when(Open("")).then(Opened(" 2026-01-01T00:00:00+00:00"))
    given(decider, clock=clock, principal=Principal("ann")).when(Open("")).then(Opened("ann 2030-01-01T00:00:00+00:00"))


def test_a_scope_finds_its_events_by_types_and_tags():
    def limited(command: Deposit, total: int) -> list[Deposited]:
        return [Deposited(total + command.amount, command.by)]

    def add(total: int, event: Deposited | Opened) -> int:
        return total + (event.amount if isinstance(event, Deposited) else 100)

    history = (Opened("Ann"), Deposited(1, "ann"), Deposited(2, "bob"), Deposited(3, "ann"))

    def by_scope(scope):
        return given(Decider("account", limited, add, initial=0, scope=scope), *history).when(Deposit(0, "ann"))

    by_scope(lambda c: Query(tags=(f"by:{c.by}",))).then(Deposited(4, "ann"))
    by_scope(lambda c: Query(types=("account.opened",))).then(Deposited(100, "ann"))
    by_scope(lambda c: Query(tags=("by:bob",)) | Query(types=("account.opened",))).then(Deposited(102, "ann"))
    for wrong in (lambda c: None, lambda c: Query()):
        with pytest.raises(Invalid, match="must return a Query by types or tags"):
            by_scope(wrong)


def test_values_that_compare_by_identity_are_compared_as_written():
    def whisper(command: Whisper, state: bool) -> list[Quiet]:
        return [Quiet(command.note)]

    def hear(state: bool, event: Quiet) -> bool:
        return state

    decider = Decider("quiet", whisper, hear, initial=False)
    given(decider, Quiet("x")).when(Whisper("a")).then(Quiet("a"))
    with failing(r"- Quiet\(note='b'\)"):
        given(decider).when(Whisper("a")).then(Quiet("b"))


# ---------------------------------------------------------------- projections


def test_a_projection_folds():
    given(balances, Deposited(5), Deposited(7)).then(12)
    given(balances, Deposited(5)).when(Deposited(7)).then(12)
    given(balances).then(None)
    given(balances, Deposited(5), Closed()).then(None)
    given(balances, Deposited(5), Closed(), Deposited(1)).then(1)
    with failing(r"Projection\('balances', version=1\) made another row.*\n- 13\n\+ 12"):
        given(balances, Deposited(5), Deposited(7)).then(13)
    with failing(r"- None\n\+ 5"):
        given(balances, Deposited(5)).then(None)
    with pytest.raises(Invalid, match="takes no Opened"):
        given(balances, Opened("Ann"))


def test_a_projection_may_see_the_envelope():
    @projection("seen")
    def seen(row: list[str] | None, event: Recorded[Opened]) -> list[str]:
        return [
            *(row or []),
            f"{event.key} {event.version} {event.data.owner} {event.recorded.year} {event.meta.actor}",
        ]

    given(seen, Opened("Ann"), Opened("Bob"), principal=Principal("me")).then(["1 1 Ann 2026 me", "1 2 Bob 2026 me"])
    given(seen, Opened("Ann"), key="17").then(["17 1 Ann 2026 "])


def test_a_projection_by_key_makes_several_rows():
    @projection("people", key=lambda event: event.by.split())
    def people(row: int | None, event: Deposited) -> int:
        return (row or 0) + event.amount

    history = given(people, Deposited(1, "ann bob"), Deposited(2, "ann"), Deposited(4, ""))
    history.then(3, key="ann")
    history.then(1, key="bob")
    history.then(None, key="carl")
    given(people, Deposited(1, "ann")).then(1)
    given(people, Deposited(1, "")).then(None)
    with pytest.raises(TypeError, match=r"made the rows 'ann', 'bob': name one, then\(row, key=...\)"):
        history.then(3)
    with failing("made another row for 'bob'"):
        history.then(2, key="bob")


def test_a_row_must_survive_storage_and_fit_its_index():
    @projection("wrong")
    def wrong(row: int | None, event: Deposited) -> int:
        return f"{event.amount}"

    @projection("sum", inline=True)
    def inline(row: int | None, event: Deposited | Closed) -> int | None:
        return None if isinstance(event, Closed) else (row or 0) + event.amount

    with pytest.raises(Invalid, match="does not fit"):
        given(wrong, Deposited(5))
    with pytest.raises(Invalid, match="does not fit"):
        given(balances, Deposited(5)).then("5")
    given(inline, Deposited(5)).then(5)
    given(inline, Deposited(5), Closed()).then(None)
