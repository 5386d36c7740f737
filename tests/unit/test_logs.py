"""Structured logs: a JSON object a line, with the correlation id."""

import asyncio
import io
import json
import logging

import pytest

from foldlog import Backoff, handler, projection
from foldlog.errors import Misconfigured
from foldlog.runtime.logs import JsonFormatter, log_json
from tests.unit.bank import Open, Opened, account
from tests.unit.site import Site


def lines_of(work):
    stream = io.StringIO()
    logger, root = logging.getLogger("foldlog"), logging.getLogger()
    kept, root.handlers = root.handlers, []
    try:
        log_json(stream)
        log_json(stream)  # twice is once
        work()
    finally:
        root.handlers = kept
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_dead_letter_is_logged_with_its_correlation_id(clock):
    @handler("see", retry=Backoff(2, 1, 1))
    async def see(event: Opened) -> None:
        raise ValueError("broken")

    async def main():
        async with Site(clock=clock).app([account, see]) as app:
            await app.send(account, "1", Open("x"), correlation="c-1")
            await app.settle()

    first, second = lines_of(lambda: asyncio.run(main()))
    assert (first["level"], first["attempt"]) == ("warning", 1)
    assert first["message"] == "attempt failed: handler.see, attempt 1 at account-1@1: ValueError: broken"
    assert second["level"] == "error"
    assert second["message"] == "dead letter: handler.see, attempt 2 at account-1@1: ValueError: broken"
    assert (second["function"], second["stream"], second["position"]) == ("handler.see", "account-1", 1)
    assert second["correlation"] == "c-1"
    assert second["error"] == "ValueError: broken"
    assert second["time"].endswith("+00:00")


def test_a_function_that_stops_for_good_is_logged_with_what_is_wrong_in_the_text():
    site = Site()

    @projection("count")
    def count(row: int | None, event: Opened) -> int:
        return (row or 0) + 1

    async def main():
        async with site.app([account, count]) as app:
            await app.settle()
        changed = projection("count", indexes=("total",))(count.fold)
        async with site.app([account, changed]) as app:
            with pytest.raises(Misconfigured):
                await app.settle()

    (line,) = [one for one in lines_of(lambda: asyncio.run(main())) if one["level"] == "critical"]
    assert line["message"].startswith("view.count.1: stopped for good, until this process starts anew: misconfigured: ")
    assert line["message"].endswith("give the projection version=2, which is built beside the one that is read")
    assert "Traceback" not in line["message"]
    assert line["exception"].startswith("Traceback")


def test_whatever_is_logged_is_one_line_of_json():
    def work():
        log = logging.getLogger("foldlog.test")
        log.info("line\nbreak %s", "\udc80", extra={"what": object(), "empty": ""})
        try:
            int("x")
        except ValueError:
            log.exception("failed")

    odd, failed = lines_of(work)
    assert odd["message"] == "line\nbreak \udc80"
    assert "empty" not in odd
    assert "object" in odd["what"]
    assert "ValueError: invalid" in failed["exception"]


def test_a_program_that_has_set_up_logging_keeps_it():
    stream = io.StringIO()
    logging.getLogger().addHandler(own := logging.NullHandler())
    try:
        log_json(stream)
        assert not logging.getLogger("foldlog").handlers
    finally:
        logging.getLogger().removeHandler(own)
    assert JsonFormatter().format(logging.makeLogRecord({"msg": "x"})).startswith("{")
