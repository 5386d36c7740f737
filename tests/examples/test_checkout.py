"""Three ways, the same ends."""

import pytest

from examples.checkout.checkout import WAYS, open_checkout
from examples.checkout.domain import PATIENCE, Answer, Capture, Gateway, Place, Receive, order, payment, stock
from foldlog.ports.store import Range
from foldlog.testing import FakeClock

RANGE = Range()

STORIES = {
    # what the gateway answers, how many are asked for, whether time passes, whether an answer comes late: and the ends
    "all goes well": (Answer.PAID, 2, False, False, ("confirmed", 3, 10)),
    "declined": (Answer.DECLINED, 2, False, False, ("cancelled", 5, 0)),
    "out of stock": (Answer.PAID, 6, False, False, ("cancelled", 5, 0)),
    "no answer in time": (Answer.NONE, 2, True, False, ("cancelled", 5, 0)),
    "an answer too late is refunded": (Answer.NONE, 2, True, True, ("cancelled", 5, 0)),
    "an answer just in time": (Answer.NONE, 2, False, True, ("confirmed", 3, 10)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("story", STORIES)
def test_every_way_comes_to_the_same_end(url, way, story, run):
    answer, quantity, late, then, end = STORIES[story]

    async def main():
        gateway, clock = Gateway(), FakeClock()
        gateway.answers["1"] = answer
        async with open_checkout(url, way, gateway, clock) as app:
            await app.send(stock, "book", Receive(5))
            await app.send(order, "1", Place("1", "book", quantity, 10))
            await app.settle()
            if late:
                clock.advance(PATIENCE + 1)
                await app.settle()
            if then:
                await app.send(payment, "1", Capture())
                await app.settle()
            clock.advance(10 * PATIENCE)
            await app.settle()
            found = (await app.get(order, "1")).status, (await app.get(stock, "book")).free
            assert (*found, (await app.get(payment, "1")).taken) == end
            assert await app.dead_letters() == []
            for process in app.system.processes.values():
                assert (await app.system.store.scan(process.table, RANGE)).rows == []

    run(main())


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_that_comes_too_late_is_given_back(url, way, run):
    async def main():
        gateway, clock = Gateway(), FakeClock()
        gateway.answers["1"] = Answer.NONE
        async with open_checkout(url, way, gateway, clock) as app:
            await app.send(stock, "book", Receive(5))
            await app.send(order, "1", Place("1", "book", 1, 10))
            await app.settle()
            clock.advance(PATIENCE + 1)
            await app.settle()
            await app.send(payment, "1", Capture())
            await app.settle()
            types = [one.type async for one in app.read("payment-1")]
            assert types == ["payment.requested", "payment.withdrawn", "payment.captured", "payment.refunded"]

    run(main())
