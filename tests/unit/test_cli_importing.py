"""Lines to commits: split where an engine's bound is met, atomic, resumable, broken lines by number."""

import asyncio
import io
import json

import pytest

from foldlog import limits
from foldlog.cli import importing
from foldlog.cli.importing import IMPORTS, Import, fingerprint, lines, skip, skip_lines
from foldlog.engines.memory import MemoryStore
from foldlog.errors import Conflict, Invalid, Unavailable
from foldlog.model.message import Kind
from foldlog.model.query import Query
from foldlog.ports.store import Capabilities, RowKey


def line(number, stream=None, **more):
    event = {"specversion": "1.0", "id": f"i{number}", "source": "/s", "type": "a.b", "subject": stream or "account-1"}
    return json.dumps({**event, "data": number, **more}).encode() + b"\n"


class Watched(MemoryStore):
    """A store that notes its batches, and fails one of them if told to."""

    def __init__(self, fail=0):
        super().__init__(Kind, now=lambda: 1)
        self.batches, self.fail = [], fail

    async def commit(self, batch):
        self.batches.append(batch)
        if len(self.batches) == self.fail:
            raise Unavailable("full")
        return await super().commit(batch)


def run(store, data, name="f", **options):
    async def work():
        await store.open()
        one = Import(store, name, **options)
        await one.resume()
        source = io.BytesIO(data)
        skip(source, one.mark.offset)
        rejects = []
        stopped = await one.run(source, lambda mark, broken: rejects.extend(broken))
        return one.mark, stopped, rejects

    return asyncio.run(work())


def stored(store):
    return [json.loads(event.body) for event in asyncio.run(store.read(Query(), 0, limits.PAGE_MAX)).events]


def test_lines_are_committed_in_batches_with_their_progress() -> None:
    store = Watched()
    data = b"".join(line(n) for n in range(2_500))
    mark, stopped, rejects = run(store, data)
    assert (stopped, rejects, mark.imported, mark.line, mark.offset) == (None, [], 2_500, 2_501, len(data))
    assert [len(batch.appends[0].drafts) for batch in store.batches] == [1_000, 1_000, 500]
    assert all(len(batch.rows) == 1 for batch in store.batches)
    assert stored(store) == list(range(2_500))


def test_a_batch_ends_where_too_many_streams_begin() -> None:
    store = Watched()
    store.capabilities = Capabilities(batch_streams=100, durable=False)
    names = [f"account-{n % 250}" for n in range(1_000)]
    mark, _, _ = run(store, b"".join(line(n, stream) for n, stream in enumerate(names)))
    assert mark.imported == 1_000
    assert len(store.batches) == 10
    assert all(len(batch.appends) <= 100 for batch in store.batches)
    for name in set(names):
        events = asyncio.run(store.read(Query(stream=name))).events
        assert [json.loads(event.body) for event in events] == [n for n, one in enumerate(names) if one == name]


def test_a_batch_ends_where_it_gets_too_large() -> None:
    store = Watched()
    run(store, b"".join(line(n, data="x" * 1_000_000) for n in range(20)))
    assert len(store.batches) == 2


@pytest.mark.parametrize("fail", [1, 2, 3])
def test_an_import_that_failed_goes_on_where_it_was(fail) -> None:
    store = Watched(fail)
    data = b"".join(line(n) for n in range(2_500))
    with pytest.raises(Unavailable):
        run(store, data)
    assert stored(store) == list(range((fail - 1) * 1_000))
    run(store, data)
    assert stored(store) == list(range(2_500))
    mark, _, _ = run(store, data)
    assert (mark.imported, len(stored(store))) == (2_500, 2_500)


def test_two_imports_under_one_name_do_not_double_anything() -> None:
    store = Watched()

    async def both():
        await store.open()
        one, two = Import(store, "f"), Import(store, "f")
        await one.run(io.BytesIO(line(1)), lambda *_: None)
        await two.run(io.BytesIO(line(1)), lambda *_: None)

    with pytest.raises(Conflict):
        asyncio.run(both())
    assert stored(store) == [1]


def test_without_a_name_no_progress_is_kept() -> None:
    store = Watched()
    run(store, line(1), name="")
    assert store.batches[0].rows == []
    key = RowKey("", "f")
    assert asyncio.run(store.get(IMPORTS, [key])) == {}


BROKEN = {
    "bad JSON": b"{\n",
    "a key twice": b'{"id":"1","id":"2"}\n',
    "NaN": line(1).replace(b'"data": 1', b'"data": NaN'),
    "nested": line(1).replace(b'"data": 1', b'"data": ' + b"[" * 200 + b"]" * 200),
    "very deeply nested": line(1).replace(b'"data": 1', b'"data": ' + b"[" * 10_000 + b"]" * 10_000),
    "bad name": line(1, "Account-1"),
    "no CloudEvent": b'{"hello": 1}\n',
    "an array": b"[" + line(1).strip() + b"]\n",
    "not UTF-8": b'{"a": "\xff"}\n',
    "too long": line(1, data="x" * limits.LINE_BYTES),
    "one byte too long": b" " * limits.LINE_BYTES + b"\n",
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_line_is_named_by_its_number(broken) -> None:
    data = line(0) + b"\r\n" + broken + line(3)
    store = Watched()
    mark, stopped, _ = run(store, data)
    assert (stopped.number, mark.line, stored(store)) == (3, 3, [0])
    mark, stopped, rejects = run(store, data, skip=True)
    assert (stopped, [one.number for one in rejects], mark.skipped) == (None, [3], 1)
    assert stored(store) == [0, 3]


def test_only_broken_lines_are_counted_and_noted_too() -> None:
    store = Watched()
    mark, _, rejects = run(store, b"x\n" * 2_500, skip=True)
    assert (mark.skipped, len(rejects), len(store.batches)) == (2_500, 2_500, 3)


def test_lines_end_where_they_end() -> None:
    found = list(lines(io.BytesIO(b"a\n\nbc"), 5, 10))
    assert found == [(5, 12, b"a\n"), (6, 13, b"\n"), (7, 15, b"bc")]
    long = b"x" * (limits.LINE_BYTES * 2)
    assert list(lines(io.BytesIO(long + b"\ny"), 1, 0)) == [(1, len(long) + 1, None), (2, len(long) + 2, b"y")]


def test_going_forward_by_lines_and_bytes() -> None:
    source = io.BytesIO(b"a\nbb\nc\n")
    assert (skip_lines(source, 3), source.read()) == (5, b"c\n")
    assert skip_lines(io.BytesIO(b"a\n"), 1) == 0
    with pytest.raises(Invalid):
        skip_lines(io.BytesIO(b"a\n"), 9)

    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    pipe = Pipe(b"abcdef")
    skip(pipe, 4)
    assert pipe.read() == b"ef"
    with pytest.raises(Invalid):
        skip(Pipe(b"abc"), 4)


def test_a_fingerprint_tells_files_apart(tmp_path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"a" * importing.FINGERPRINT + b"bc")
    first = fingerprint(path)
    assert fingerprint(path) == first
    path.write_bytes(b"a" * importing.FINGERPRINT + b"b")
    assert fingerprint(path) != first
    path.write_bytes(b"b" + b"a" * importing.FINGERPRINT + b"b")
    assert fingerprint(path) != first
