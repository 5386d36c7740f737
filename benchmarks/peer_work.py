"""What the peer does in the workloads that both of its modules have."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count, islice
from uuid import UUID

from benchmarks.measure import Sample
from benchmarks.ours_work import AT_ONCE, EVENTS_AT_ONCE, STREAMS, rate
from benchmarks.peer import Order, Peer, added
from benchmarks.sample import Line, line


class Writing:
    """Appends of ever new events to aggregates of its own; what is written is made before the clock starts."""

    def __init__(self, peer: Peer, numbers: Iterator[int] | None = None) -> None:
        self._peer, self._numbers = peer, numbers or count()
        self._orders = peer.new_orders(AT_ONCE)

    def one_writer(self, events: int) -> Sample:
        turns = [self._events(order, events // STREAMS) for order in self._orders[:STREAMS]]
        ready = [one for turn in zip(*turns, strict=True) for one in turn]
        return rate(len(ready), lambda: [self._peer.shop.events.put([one]) for one in ready])

    def senders(self, events: int, threads: int = AT_ONCE) -> Sample:
        each = events // threads
        ready = [self._events(order, each) for order in self._orders[:threads]]

        def sender(mine: list[Order.LineAdded]) -> None:
            for one in mine:
                self._peer.shop.events.put([one])

        return rate(each * threads, lambda: in_threads([partial(sender, mine) for mine in ready]))

    def commands(self, commands: int, threads: int = AT_ONCE) -> Sample:
        """Commands to aggregates at hand, each saved."""
        each = commands // threads
        orders = self._peer.new_orders(threads)
        ready = [[line(one) for one in islice(self._numbers, each)] for _ in orders]

        def sender(order: Order, mine: list[Line]) -> None:
            for one in mine:
                order.add(*one)
                self._peer.shop.save(order)

        works = [partial(sender, order, mine) for order, mine in zip(orders, ready, strict=True)]
        return rate(each * threads, lambda: in_threads(works))

    def hundreds(self, times: int) -> Sample:
        groups = [self._events(self._orders[number % STREAMS], EVENTS_AT_ONCE) for number in range(times)]
        return rate(times * EVENTS_AT_ONCE, lambda: [self._peer.shop.events.put(group) for group in groups])

    def _events(self, order: Order, number: int) -> list[Order.LineAdded]:
        """The next events of one aggregate. `Order` itself is not told of them."""
        heads = self._peer.heads
        first = heads[order.id] + 1
        heads[order.id] += number
        return [added(one, order.id, first + at) for at, one in enumerate(islice(self._numbers, number))]


def rehydrate(peer: Peer, ids: Sequence[UUID], each: int) -> Sample:
    """Aggregates of `each` events, from the store."""
    begin = time.perf_counter()
    found: list[Order] = [peer.shop.repository.get(one) for one in ids]
    taken = time.perf_counter() - begin
    assert len(found) == len(ids)
    return {"rate": len(ids) * each / taken}


def in_threads(works: Sequence[Callable[[], object]]) -> None:
    """Run each in a thread of its own and wait for all. An exception of one is raised."""
    errors: list[Exception] = []

    def guarded(work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
