"""Which version of a view is read: the switch, taking it back, rows that do not fit."""

import asyncio
import logging
from dataclasses import dataclass

import pytest

from foldlog import Unavailable, projection
from foldlog.errors import Conflict, Invalid, Misconfigured, NotFound
from foldlog.flow import serving
from foldlog.flow.lease import checkpoints
from foldlog.flow.serving import Served
from foldlog.testing import FakeClock
from tests.unit.bank import Closed, Deposit, Deposited, Opened, account, balances, evolve
from tests.unit.site import Site
from tests.unit.view_versions import Account, all_rows, doubled, fill, filled, indexed, manual, other, twice, wide


def test_the_old_version_is_read_until_the_new_one_is_built(site):
    async def main():
        await filled(site)
        app = site.app([account, doubled])
        async with app.open(functions=False):
            assert await all_rows(app, doubled) == {"0": 10, "1": 10, "2": 10}
            assert await app.get(doubled, "1") == 10
        async with site.app([account, doubled]) as app:
            await app.settle()
            assert await all_rows(app, doubled) == {"0": 20, "1": 20, "2": 20}
            assert await app.get(doubled, "1") == 20
            assert (await serving.pointer(app.system.store, "balances"))[0] == Served(2, 1)

    asyncio.run(main())


def test_a_manual_switch_waits_and_is_seen_a_second_later_at_most():
    clock = FakeClock()
    site = Site(clock=clock)

    async def main():
        await filled(site)
        async with site.app([account, manual]) as app:
            store = app.system.store
            await app.settle()
            assert await app.get(manual, "1") == 10
            assert await serving.switch(store, "balances", 2) == Served(2, 1)
            assert await serving.switch(store, "balances", 2) == Served(2, 1)
            assert await app.get(manual, "1") == 10
            clock.advance(1.0)
            assert await app.get(manual, "1") == 20
            assert await serving.back(store, "balances") == Served(1, 2)
            clock.advance(1.0)
            assert await app.get(manual, "1") == 10

    asyncio.run(main())


def test_what_was_taken_back_does_not_switch_again_by_itself(site):
    async def main():
        await filled(site)
        async with site.app([account, doubled]) as app:
            await app.settle()
            await serving.back(app.system.store, "balances")
        async with site.app([account, doubled]) as app:
            await app.send(account, "1", Deposit(5))
            await app.settle()
            assert await app.get(doubled, "1") == 10
            assert (await serving.progress(app.system.store, "balances", 1)).behind == 1

    asyncio.run(main())


def test_an_older_code_does_not_take_the_reads_with_it(site, caplog):
    async def main():
        async with site.app([account, doubled]) as app:
            await fill(app)
            await app.settle()
        async with site.app([account, balances]) as app:
            await app.settle()
            assert await app.get(balances, "1") == 20
            assert (await serving.pointer(app.system.store, "balances"))[0] == Served(2, 0)
            await serving.switch(app.system.store, "balances", 1)
        with caplog.at_level(logging.WARNING):
            async with site.app([account, doubled]) as app:
                await app.settle()
                assert await app.get(doubled, "1") == 10
        assert "keeps version 2 of a view whose version 1 is read" in caplog.text % ()

    asyncio.run(main())


def test_rows_that_do_not_fit_are_unavailable_until_the_own_ones_are_built(site):
    async def main():
        await filled(site)
        app = site.app([account, other])
        async with app.open(functions=False):
            for ask in (app.get(other, "1"), app.find(other)):
                with pytest.raises(Unavailable, match=r"version 1 is read now.* version 2 is 0\.0 % built") as told:
                    await ask
                assert 0 < told.value.retry_after <= 60
            assert await app.get(other, "nobody") is None
        async with site.app([account, other]) as app:
            await app.settle()
            assert await app.get(other, "1") == Account(10)

    asyncio.run(main())


def test_an_index_of_the_new_version_is_not_there_before_it(site):
    async def main():
        await filled(site)
        app = site.app([account, indexed])
        async with app.open(functions=False):
            with pytest.raises(Unavailable, match="version 2"):
                await app.find(indexed, "balance", 10)
        async with site.app([account, indexed]) as app:
            await app.settle()
            page = await app.find(indexed, "balance", 10, limit=2)
            rest = await app.find(indexed, "balance", 10, after=page[-1])
            assert [found.key for found in [*page, *rest]] == ["0", "1", "2"]

    asyncio.run(main())


@dataclass(frozen=True)
class Owned:
    balance: int
    owner: str = "ann"


def wider(row: Owned | None, event: Opened | Deposited | Closed) -> Owned:
    return Owned(evolve(row.balance if row else None, event) or 0)


def test_a_page_of_one_version_is_read_on_in_another(site):
    reverse = projection("people", version=2, indexes=("owner", "balance"))(wider)
    plain = projection("people", indexes=("balance",))(wide)

    async def main():
        async with site.app([account, plain]) as app:
            await fill(app)
            await app.settle()
            page = await app.find(plain, "balance", limit=1)
        async with site.app([account, reverse]) as app:
            await app.settle()
            assert [found.key for found in await app.find(reverse, "balance", after=page[-1])] == ["1", "2"]
            by_key = await app.find(reverse, limit=1)
            assert [found.key for found in await app.find(reverse, after=by_key[-1])] == ["1", "2"]

    asyncio.run(main())


def test_a_rolling_deployment_reads_on_both_sides(site):
    async def main():
        await filled(site)
        new = site.app([account, other])
        async with site.app([account, balances]) as old, new.open():
            await new.settle()
            assert (await serving.pointer(new.system.store, "balances"))[0] == Served(2, 1)
            assert await new.get(other, "1") == Account(10)
            receipt = await old.send(account, "1", Deposit(1))
            await old.settle()
            old.system.serving.forget(old.system.views["balances"])  # as after a second
            assert await old.get(balances, "1") == 11
            assert {found.value for found in await old.find(balances)} == {10, 11}
            assert await new.get(other, "1", after=receipt) == Account(11)
        late = site.app([account, balances])
        async with late.open(functions=False):
            with pytest.raises(Unavailable, match="nobody keeps version 1 up"):
                await late.get(balances, "1")

    asyncio.run(main())


def test_waiting_for_a_receipt_goes_by_the_version_that_is_read(site):
    async def main():
        await filled(site)
        async with site.app([account, manual]) as app:
            await app.settle()
            receipt = await app.send(account, "1", Deposit(1))
            with pytest.raises(Unavailable, match=r"view\.balances\.1 did not come to position"):
                await app.get(manual, "1", after=receipt, timeout=0.05)
            await serving.switch(app.system.store, "balances", 2)
            app.system.serving.forget(app.system.views["balances"])
            assert await app.get(manual, "1", after=receipt) == 22

    asyncio.run(main())


def test_a_sender_reads_its_inline_row_while_the_version_is_built(site):
    old = projection("inline", inline=True)(balances.fold)
    new = projection("inline", version=2, inline=True)(twice)

    async def main():
        async with site.app([account, old]) as app:
            await fill(app)
            await app.settle()
        app = site.app([account, new])
        async with app.open(functions=False):
            await app.send(account, "1", Deposit(1))
            assert await app.get(new, "1") == 22
            assert await app.get(new, "2") == 10
            assert await all_rows(app, new) == {"0": 10, "1": 10, "2": 10}
            assert (await serving.pointer(app.system.store, "inline"))[0] == Served(1)
        older = site.app([account, old])
        async with older.open(functions=False):
            await older.send(account, "2", Deposit(1))
            assert await older.get(old, "2") == 11
        async with site.app([account, new]) as app:
            await app.settle()
            assert await all_rows(app, new) == {"0": 20, "1": 22, "2": 22}
        older = site.app([account, old])
        async with older.open(functions=False):
            await older.send(account, "0", Deposit(1))
            assert await older.get(old, "0") == 11  # its own row, newer than what is read

    asyncio.run(main())


def test_of_two_versions_that_are_seen_first_together_one_is_read(site):
    async def main():
        one, two = site.app([account, balances]), site.app([account, manual])
        async with one.open(functions=False), two.open(functions=False):
            await asyncio.gather(
                *(serving.register(app.system.store, app.system.views["balances"]) for app in (one, two, one, two))
            )
            store = one.system.store
            known = await serving.versions(store, "balances")
            served, _ = await serving.pointer(store, "balances")
            assert [version.version for version in known] == [1, 2]
            assert [version.version for version in known if version.served] == [served.current]

    asyncio.run(main())


def test_a_fold_that_was_changed_without_a_new_version_is_told(site, caplog):
    async def main():
        await filled(site)
        with caplog.at_level(logging.WARNING):
            async with site.app([account, projection("balances")(balances.fold)]) as app:
                await app.settle()
            assert "without a new version" not in caplog.text
            async with site.app([account, projection("balances")(twice)]) as app:
                await app.settle()
            assert "the fold was changed without a new version" in caplog.text

    asyncio.run(main())


def test_what_cannot_be_switched_to_is_refused(site):
    async def main():
        await filled(site)
        app = site.app([account, manual])
        async with app.open(functions=False):
            store = app.system.store
            with pytest.raises(NotFound, match="no version 2 in this store; there: 1"):
                await serving.switch(store, "balances", 2)
            with pytest.raises(Invalid, match="no version to go back to"):
                await serving.back(store, "balances")
            await serving.register(store, app.system.views["balances"])
            with pytest.raises(Invalid, match=r"0\.0 % built: `foldlog views rebuild` builds it"):
                await serving.switch(store, "balances", 2)

    asyncio.run(main())
    with pytest.raises(Misconfigured, match="switch is"):
        projection("balances", switch="now")(twice)


def test_of_two_switches_at_once_one_is_told(site):
    async def main():
        await filled(site)
        async with site.app([account, manual]) as app:
            store = app.system.store
            await app.settle()

            def first(link, batch):
                link.before = lambda *_: None
                raise Conflict("views/balances", 1, 2, row="views/balances")

            app.link.before = first
            with pytest.raises(Conflict):
                await serving.switch(store, "balances", 2)
            assert (await serving.pointer(store, "balances"))[0] == Served(1)

    asyncio.run(main())


def test_indexes_changed_without_a_new_version_are_refused_when_the_function_starts(site):
    changed = projection("accounts", indexes=("balance",))(wide)

    async def main():
        await filled(site, projection("accounts")(wide))
        app = site.app([account, changed])
        await app.start()
        with pytest.raises(Misconfigured, match=r"the indexes \(\) and this code declares \(balance\).*version=2"):
            await app.settle()
        # Its leases are free at once, for a process whose code fits.
        held = await checkpoints(app.system.store, changed.table)
        assert {one.owner for one in held.values()} == {""}
        await app.stop()
        async with site.app([account, projection("accounts")(wide)]) as before:
            await before.settle()
        async with site.app([account, projection("accounts", version=2, indexes=("balance",))(wide)]) as cured:
            await cured.settle()

    asyncio.run(main())
