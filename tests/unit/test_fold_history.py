"""`fold_history`: every locked shape is read and folded, and what fails is named with the body that does it."""

import subprocess
import sys

import pytest

import foldlog.testing
from foldlog import App, Decider, Recorded, Upcast, command, event, projection
from foldlog.errors import Invalid, Misconfigured, NotFound
from foldlog.model.changes import relocked
from foldlog.model.history import FILE, History, write_history
from foldlog.system import Resolved
from foldlog.testing import fold_history
from foldlog.testing import history as module


@event("wallet.filled", tags=("owner",))
class FilledOnce:
    owner: str
    amount: int


@event("wallet.filled", version=2, tags=("owner",))
class Filled:
    owner: str
    cents: int


@event("wallet.emptied")
class Emptied:
    why: str = ""


@command("wallet.fill")
class FillOnce:
    amount: int


@command("wallet.fill", version=2)
class Fill:
    cents: int


def decide_once(command: FillOnce, state: int) -> list[FilledOnce]:
    return []


def evolve_once(state: int, event: FilledOnce) -> int:
    return state + event.amount


def decide(command: Fill, state: int) -> list[Filled]:
    return []


def evolve(state: int, event: Filled | Emptied) -> int:
    return state + event.cents if isinstance(event, Filled) else 0


@projection("owners", key=lambda event: event.owner if event.owner.isascii() and event.owner.isalnum() else [])
def owners(row: int | None, event: Filled) -> int:
    return (row or 0) + 1


@projection("tags")
def tags(row: list[str] | None, event: Recorded[Filled]) -> list[str]:
    assert event.tags in ((f"owner:{event.data.owner}",), ())
    return [*(row or []), event.stream, *event.tags]


first = App("memory:", [Decider("wallet", decide_once, evolve_once, initial=0)])


def event_up(old):
    return {"owner": old["owner"], "cents": old["amount"]}


def command_up(old):
    return {"cents": old["amount"]}


wallet = Decider("wallet", decide, evolve, initial=0)


def second(*more, to_event=event_up, to_command=command_up):
    steps = [Upcast("wallet.filled", 1, to_event), Upcast("wallet.fill", 1, to_command)]
    return App("memory:", [wallet, owners, tags, *steps, *more])


def lock(path, *apps):
    history = History({})
    for app in apps:
        history, refused = relocked(history, Resolved(app.parts).schemas())
        assert not refused
    path.write_bytes(write_history(history))
    return path


@pytest.fixture
def file(tmp_path):
    return lock(tmp_path / FILE, first, second())


def test_every_old_shape_is_read_and_folded(file):
    seen = []

    def noted(old):
        seen.append(old)
        return event_up(old)

    assert fold_history(second(to_event=noted), file) == 5
    assert len(seen) >= 2 * module.EXAMPLES
    assert {frozenset(old) for old in seen} == {frozenset({"owner", "amount"})}
    assert len({old["amount"] for old in seen}) > 10


def test_without_upcasts_the_first_app_reads_its_own_shapes(tmp_path):
    assert fold_history(first, lock(tmp_path / FILE, first), examples=5) == 2


def test_an_upcast_that_fails_on_some_bodies_is_found_with_the_smallest_one(file):
    def wrong(old):
        return {"owner": old["owner"], "cents": old["amount"] if old["amount"] < 1000 else "many"}

    with pytest.raises(AssertionError) as failed:
        fold_history(second(to_event=wrong), file)
    text = str(failed.value)
    assert text.startswith("event wallet.filled version 1, shape 1: ")
    assert '"amount": 1000' in text
    assert "is not read: " in text


def test_an_upcast_of_a_command_that_fails_is_found(file):
    with pytest.raises(AssertionError, match=r"command wallet.fill version 1, shape 1: .*\n.*KeyError: 'sum'"):
        fold_history(second(to_command=lambda old: {"cents": old["sum"]}), file)


def test_a_fold_that_fails_is_found(file):
    @projection("brittle")
    def brittle(row: int | None, event: Filled) -> int:
        return 1 // min(5_000 - min(event.cents, 5_000), 1)

    with pytest.raises(AssertionError, match=r"is not folded by Projection\('brittle'.*ZeroDivisionError") as failed:
        fold_history(second(brittle), file)
    assert ('"amount": 5000' in str(failed.value)) or ('"cents": 5000' in str(failed.value))


def test_a_row_that_cannot_be_stored_is_found(file):
    @projection("endless")
    def endless(row: float | None, event: Emptied) -> float:
        return float("inf")

    with pytest.raises(AssertionError, match=r"not folded by Projection\('endless'"):
        fold_history(second(endless), file)


def test_a_decider_that_expects_what_went_before_gets_it(file):
    def strict(state: dict[str, int], event: Filled | Emptied) -> dict[str, int]:
        if isinstance(event, Emptied):
            del state["cents"]  # a fold that changes its state in place must not spoil the next example
            return state
        return {"cents": event.cents}

    decider = Decider("wallet", decide, strict, initial={})
    steps = [Upcast("wallet.filled", 1, event_up), Upcast("wallet.fill", 1, command_up)]
    app = App("memory:", [decider, *steps])
    with pytest.raises(AssertionError, match=r"is not evolved by Decider\('wallet'\): KeyError: 'cents'"):
        fold_history(app, file, examples=5)
    assert fold_history(app, file, examples=5, after={decider: [Filled("Ann", 5)]}) == 5
    assert fold_history(app, file, examples=5, unfolded=[decider]) == 5


def test_a_projection_folds_what_went_before_first(file):
    @projection("rest")
    def rest(row: int | None, event: Filled | Emptied) -> int | None:
        assert isinstance(event, Filled) or row is not None
        return 1 if isinstance(event, Filled) else None

    with pytest.raises(AssertionError, match="is not folded by"):
        fold_history(second(rest), file, examples=3)
    assert fold_history(second(rest), file, examples=3, after={rest: [Filled("Ann", 5)]}) == 5


def test_a_shape_that_no_code_reads_is_found(file):
    with pytest.raises(AssertionError, match=r"command wallet.fill version 2, .*\n.*this code knows version 1"):
        fold_history(App("memory:", [first.parts[0]]), file)


def test_shapes_that_were_given_up_are_left_alone(tmp_path):
    history, _ = relocked(History({}), Resolved(second().parts).schemas())
    history, _ = relocked(
        history, Resolved(first.parts).schemas(), accepted=["wallet.filled", "wallet.emptied", "wallet.fill"]
    )
    path = tmp_path / FILE
    path.write_bytes(write_history(history))
    assert fold_history(first, path, examples=3) == 2


def test_bad_input_is_told(file, tmp_path):
    with pytest.raises(NotFound, match="`foldlog schema APP lock` writes the first one"):
        fold_history(first, tmp_path / "none.json")
    with pytest.raises(Invalid, match=r"Projection\('owners', version=1\) is no decider or projection of this app"):
        fold_history(first, file, unfolded=[owners])
    file.write_bytes(b"{")
    with pytest.raises(Invalid, match="the lock file is not acceptable as JSON"):
        fold_history(first, file)


def test_without_hypothesis_the_kit_says_what_to_install(file, monkeypatch):
    monkeypatch.setattr(module, "_try", None)
    with pytest.raises(Misconfigured, match="pip install hypothesis"):
        foldlog.testing.fold_history(first, file)


def test_the_kit_imports_without_hypothesis():
    script = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "from foldlog.testing import given, fold_history\n"
        "from foldlog import App\n"
        "try: fold_history(App('memory:', []))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == ("Misconfigured random instances of old shapes need Hypothesis: pip install hypothesis\n")
