"""Command ids and scopes by tags: done once, whoever asks again or at the same time."""

import asyncio

import pytest

from foldlog import App, Decider, Query, Receipt, Rejected, command, event
from foldlog.errors import Invalid
from tests.unit.bank import Close, Deposit, Deposited, Open, Opened, Take, account, evolve, names
from tests.unit.site import Site


def test_a_command_id_is_answered_the_same_way_again(site):
    async def main():
        async with site.app([account]).open(functions=False) as app:
            first = await app.send(account, "1", Open("ann"), command_id="a")
            again = await app.send(account, "1", Open("ann"), command_id="a")
            assert not first.repeated
            assert again == Receipt("account-1", 1, 1, (Opened("ann"),), "", "a", repeated=True)
            await app.send(account, "1", Deposit(2))
            assert (await app.send(account, "1", Open("ann"), command_id="a")) == again
            # Another stream, another tenant: another command.
            assert not (await app.send(account, "2", Open("ann"), command_id="a")).repeated
            assert not (await app.send(account, "1", Open("ann"), command_id="a", tenant="t")).repeated

    asyncio.run(main())


def test_a_command_id_with_another_payload_is_invalid(site):
    async def main():
        async with site.app([account]).open(functions=False) as app:
            await app.send(account, "1", Open("ann"), command_id="a")
            for other in (Open("bob"), Deposit(1), Close()):
                with pytest.raises(Invalid, match="used before"):
                    await app.send(account, "1", other, command_id="a")
            assert len([event async for event in app.read()]) == 1

    asyncio.run(main())


def test_refusals_and_empty_answers_are_remembered(site):
    async def main():
        async with site.app([account]).open(functions=False) as app:
            with pytest.raises(Rejected):
                await app.send(account, "1", Deposit(1), command_id="no")
            await app.send(account, "1", Open("ann"))
            with pytest.raises(Rejected) as caught:  # it would be possible now; the answer was given
                await app.send(account, "1", Deposit(1), command_id="no")
            assert caught.value.data == {"balance": None}
            assert not (await app.send(account, "1", Open("ann"), command_id="empty")).events
            await app.send(account, "1", Close())
            again = await app.send(account, "1", Open("ann"), command_id="empty")
            assert (again.events, again.version, again.repeated) == ((), 1, True)

    asyncio.run(main())


def test_a_command_id_is_forgotten_after_its_window(site, clock):
    async def main():
        async with site.app([account], command_window=60).open(functions=False) as app:
            await app.send(account, "1", Open("ann"), command_id="a")
            clock.advance(59)
            assert (await app.send(account, "1", Open("ann"), command_id="a")).repeated
            clock.advance(2)
            again = await app.send(account, "1", Open("ann"), command_id="a")
            assert (again.repeated, again.events) == (False, ())

    asyncio.run(main())


def test_an_id_that_expires_while_it_is_looked_up_is_new(clock):
    async def main():
        app = Site(clock=clock).app([account], command_window=60)
        async with app.open(functions=False):
            await app.send(account, "1", Open("ann"), command_id="a")
            found = app.link.inner.get

            async def late(table, keys):
                clock.advance(61)
                return await found(table, keys)

            app.link.inner.get = late
            assert not (await app.send(account, "1", Open("ann"), command_id="a")).repeated

    asyncio.run(main())


def test_the_same_id_at_the_same_time_is_done_once(site):
    async def main():
        apps = [site.app([account]) for _ in range(2)]
        for app in apps:
            await app.open_only()
        answers = await asyncio.gather(
            *(app.send(account, "1", Open("ann"), command_id="a") for app in apps for _ in range(4))
        )
        assert sorted(answer.repeated for answer in answers) == [False] + [True] * 7
        assert {(answer.version, answer.position, answer.events) for answer in answers} == {(1, 1, (Opened("ann"),))}
        for app in apps:
            await app.stop()

    asyncio.run(main())


def test_of_two_scopes_that_race_exactly_one_wins(site):
    async def main():
        apps = [site.app([names]) for _ in range(2)]
        for app in apps:
            await app.open_only()
        sends = [app.send(names, str(n), Take("ann")) for n, app in enumerate(apps * 4)]
        answers = await asyncio.gather(*sends, return_exceptions=True)
        assert sum(isinstance(answer, Receipt) for answer in answers) == 1
        assert {type(answer) for answer in answers} == {Receipt, Rejected}
        assert not isinstance(await apps[0].send(names, "z", Take("ann"), tenant="other"), Rejected)
        for app in apps:
            await app.stop()

    asyncio.run(main())


def test_a_scope_and_a_command_id(site):
    async def main():
        async with site.app([names]).open(functions=False) as app:
            for name in ("a", "b"):
                await app.send(names, "1", Take(name))
            first = await app.send(names, "1", Take("c"), command_id="x")
            again = await app.send(names, "1", Take("c"), command_id="x")
            assert (first.version, first.repeated) == (3, False)
            assert (again.version, again.events, again.repeated) == (3, first.events, True)
            with pytest.raises(Rejected):
                await app.send(names, "1", Take("c"), command_id="y")

    asyncio.run(main())


def test_an_empty_answer_of_a_scope_names_the_streams_version(site):
    quiet = Decider("quiet", _decide_once, _any_taken, initial=False, scope=_of_type)

    async def main():
        async with site.app([quiet]).open(functions=False) as app:
            await app.send(quiet, "1", Take("a"))
            assert (await app.send(quiet, "1", Take("a"))).version == 1
            assert (await app.send(quiet, "2", Take("a"))).version == 0

    asyncio.run(main())


def _decide_once(command: Take, taken: bool) -> list["TakenToo"]:
    return [] if taken else [TakenToo(command.name)]


def _any_taken(taken: bool, event: "TakenToo") -> bool:
    return True


def _of_type(command: Take) -> Query:
    return Query(types=("name.taken-too",)) | Query(tags=(f"name:{command.name}",))


@event("name.taken-too", tags=("name",))
class TakenToo:
    name: str


@pytest.mark.parametrize(
    "query",
    [Query(), Query(category="name"), Query(types=("name.taken",), category="name"), Query(stream="name-1"), "name"],
)
def test_a_scope_that_is_no_query_by_types_and_tags_is_refused(query):
    wrong = Decider("name", names.decide, names.evolve, initial=False, scope=lambda command: query)

    async def main():
        async with App("memory:", [wrong]).open(functions=False) as app:
            with pytest.raises(Invalid, match="scope"):
                await app.send(wrong, "1", Take("a"))

    asyncio.run(main())


def test_a_repeated_receipt_gives_what_can_still_be_decoded(site):
    @command("account.both")
    class Both:
        pass

    def decide(command: Both, state: int) -> list[Opened | Deposited]:
        return [Opened("ann"), Deposited(5)]

    def evolve_opened(state: int, event: Opened) -> int:
        return 1

    decide.__annotations__["command"] = Both
    old = Decider("account", decide, evolve_opened, initial=0)

    def decide_now(command: Both, state: int) -> list[Opened]:
        return [Opened("ann")]

    decide_now.__annotations__["command"] = Both
    new = Decider("account", decide_now, evolve_opened, initial=0)

    async def main():
        async with site.app([old]).open(functions=False) as app:
            first = await app.send(old, "1", Both(), command_id="a")
            assert len(first.events) == 2
        if site.url == "memory:":
            return  # the kept store decodes with the first app's types
        async with site.app([new]).open(functions=False) as app:
            again = await app.send(new, "1", Both(), command_id="a")
            assert (again.version, again.position, again.events) == (2, 2, (Opened("ann"),))

    asyncio.run(main())


def test_the_data_of_a_remembered_refusal_is_json(site):
    def decide(command: Open, state: int | None) -> list[Opened]:
        raise Rejected("no", "no", {"x": object()})

    part = Decider("account", decide, evolve, initial=None)

    async def main():
        async with site.app([part]).open(functions=False) as app:
            with pytest.raises(Rejected):
                await app.send(part, "1", Open("ann"))
            with pytest.raises(Invalid, match="JSON-able"):
                await app.send(part, "1", Open("ann"), command_id="a")

    asyncio.run(main())


def test_the_state_of_a_decider_with_a_scope_has_no_key():
    async def main():
        async with App("memory:", [names]).open(functions=False) as app:
            with pytest.raises(Invalid, match="by tags"):
                await app.get(names, "1")

    asyncio.run(main())
