import gzip
import json
from itertools import islice

import pytest

from examples.demo import main
from examples.purchase_orders import plain
from examples.purchase_orders.deviations import Deviated, Inspect, Kind, Suspicion, off_the_path, purchase_order
from examples.purchase_orders.events import (
    ACTIVITIES,
    Change,
    GoodsReceived,
    InvoiceCancelled,
    InvoiceCleared,
    InvoiceReceived,
    OrderChanged,
    OrderCreated,
    OrderDeleted,
    OrderReactivated,
    PriceChanged,
    activity_of,
)
from examples.purchase_orders.orders import figures, open_orders
from examples.purchase_orders.reading import FILE, Importer, Unreadable, find, orders
from examples.purchase_orders.views import InvoicesRow, ReworkRow, Status, invoices, reached, rework
from foldlog import Send
from foldlog.testing import given

CREATED = "Create Purchase Order Item"


def line(case="1_1", n=0, activity=CREATED, time="2018-01-02T12:00:00+00:00"):
    return {"case": case, "n": n, "activity": activity, "time": time, "attrs": {}}


def written(path, *lines):
    path.write_bytes(gzip.compress("".join(json.dumps(one) + "\n" for one in lines).encode()))
    return path


# ---------------------------------------------------------------- the parts


def test_every_activity_is_one_event_and_back():
    assert len(ACTIVITIES) == 42
    assert [activity_of(typed) for typed in ACTIVITIES.values()] == list(ACTIVITIES)


def test_the_handler_asks_about_the_event_by_its_version():
    cleared = Send(purchase_order, "1_1", Inspect(Suspicion.CLEARED, 1))
    given(off_the_path, key="1_1").when(InvoiceCleared()).then(cleared)


def test_an_invoice_cleared_before_goods_is_noted_once():
    early = given(purchase_order, OrderCreated(), InvoiceCleared(), GoodsReceived(), InvoiceCleared())
    early.when(Inspect(Suspicion.CLEARED, 2)).then(Deviated(Kind.CLEARED_BEFORE_GOODS, 2))
    early.when(Inspect(Suspicion.CLEARED, 4)).then_nothing()
    noted = given(purchase_order, InvoiceCleared(), InvoiceCleared(), Deviated(Kind.CLEARED_BEFORE_GOODS, 1))
    noted.when(Inspect(Suspicion.CLEARED, 2)).then_nothing()


def test_deletions_and_price_changes_are_noted():
    given(purchase_order, OrderDeleted()).when(Inspect(Suspicion.DELETED, 1)).then(Deviated(Kind.DELETED, 1))
    late = given(purchase_order, GoodsReceived(), PriceChanged())
    late.when(Inspect(Suspicion.PRICE_CHANGED, 2)).then(Deviated(Kind.PRICE_CHANGED_AFTER_GOODS, 2))


def test_the_read_models_fold():
    quantity, price = OrderChanged(Change.QUANTITY), PriceChanged()
    given(rework, quantity, price, quantity).then(ReworkRow({"Change Quantity": 2, "Change Price": 1}, 1))
    given(invoices, InvoiceReceived(), InvoiceReceived(), InvoiceCleared()).then(InvoicesRow(2, 1, 1))
    given(invoices, InvoiceReceived(subsequent=True), InvoiceCancelled()).then(InvoicesRow(1, 1, 0))
    assert (reached(GoodsReceived()), reached(OrderReactivated())) == (Status.DELIVERED, Status.REQUESTED)


# ---------------------------------------------------------------- the file


def test_the_log_is_found_by_file_by_folder_and_by_the_data_folder(tmp_path):
    path = tmp_path / "event-logs" / FILE
    path.parent.mkdir()
    written(path, line())
    assert find(path) == find(path.parent) == find(tmp_path) == path


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (line(n=2, case="2_1"), "line 2: expected event 0 of order 2_1"),
        (line(n=1, activity="Dance"), "line 2: .*'Dance'"),
        (line(n=1, time="2018-01-02T12:00:00"), "line 2: .*time zone"),
        (line(n="1"), "after line 2: .*n"),
    ],
)
def test_a_bad_line_is_named(tmp_path, bad, says):
    path = written(tmp_path / FILE, line(), bad)
    with pytest.raises(Unreadable, match=says):
        list(orders(path))


def test_a_broken_path_or_file_is_said_clearly(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 2
    assert main([str(tmp_path)]) == 2
    whole = written(tmp_path / "whole.gz", *(line(case=f"{n}_1") for n in range(500))).read_bytes()
    (tmp_path / "cut.gz").write_bytes(whole[:-9])
    assert main([str(tmp_path / "cut.gz")]) == 2
    (tmp_path / "text.gz").write_text("no gzip")
    assert main([str(tmp_path / "text.gz")]) == 2
    said = capsys.readouterr().err
    assert "no such file or folder" in said
    assert f"no {FILE} in the folder" in said
    assert "Traceback" not in said


def test_a_second_import_is_refused_and_adds_nothing(tmp_path, run):
    path = written(tmp_path / FILE, line(), line(n=1, activity="Clear Invoice"), line(case="2_1"))

    async def story():
        async with open_orders(f"sqlite:{tmp_path / 'orders.db'}") as app:
            await Importer(app).run(orders(path))
            with pytest.raises(Unreadable, match="imported before"):
                await Importer(app).run(orders(path))
            await app.settle()
            return await figures(app), [event async for event in app.read("purchase_order-1_1", limit=1)]

    found, (first,) = run(story())
    assert found == plain.figures(path)
    assert first.occurred.isoformat() == "2018-01-02T12:00:00+00:00"


def test_the_figures_are_the_same_on_another_store(tmp_path, postgres_url, capsys):
    path = written(tmp_path / FILE, line(), line(n=1, activity="Clear Invoice"), line(case="2_1"))
    assert main([str(path), "--url", postgres_url()]) == 0
    assert "on PostgreSQL" in capsys.readouterr().out


def test_figures_that_differ_fail_the_demonstration(tmp_path, monkeypatch, capsys):
    path = written(tmp_path / FILE, line(), line(case="2_1"))
    assert main([str(path)]) == 0
    right = plain.figures(path)
    monkeypatch.setattr(plain, "figures", lambda *_: right | {"orders": 3})
    assert main([str(path)]) == 1
    assert "1 differ" in capsys.readouterr().out


# ---------------------------------------------------------------- the real log


@pytest.mark.parametrize("url", ["memory", "postgres"], indirect=True)
def test_the_first_orders_of_the_real_log_agree(purchase_order_log, url, run):
    async def story():
        async with open_orders(url) as app:
            await Importer(app).run(islice(orders(purchase_order_log), 300))
            await app.settle(60)
            return await figures(app)

    assert run(story()) == plain.figures(purchase_order_log, 300)


@pytest.mark.timeout(300)
def test_the_whole_real_log_agrees(purchase_order_log, capsys):
    assert main([str(purchase_order_log)]) == 0
    printed = capsys.readouterr().out
    assert "338,247 events of 11,973 orders" in printed
    assert "figures compared" in printed
    assert "all equal" in printed
