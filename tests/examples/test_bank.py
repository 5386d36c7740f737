from pathlib import Path

from examples.bank import Deposit, Deposited, Open, Opened, account, app, balances, greet
from foldlog import App
from foldlog.testing import given


def test_an_account_opens_once_and_takes_deposits():
    given(account).when(Open("Ann")).then(Opened("Ann"))
    given(account, Opened("Ann")).when(Open("Ann")).then_nothing()
    given(account, Opened("Ann")).when(Deposit(5)).then(Deposited(5))


def test_what_is_not_possible_is_rejected():
    given(account).when(Deposit(5)).then_rejected("account.not-possible")
    given(account, Opened("Ann")).when(Deposit(0)).then_rejected("account.not-possible")


def test_a_balance_is_the_sum_of_deposits():
    given(balances, Deposited(5), Deposited(7)).then(12)


def test_who_opens_an_account_is_welcomed(capsys):
    given(greet).when(Opened("Ann")).then_nothing()
    assert capsys.readouterr().out == "welcome, Ann\n"


async def story(bank: App) -> int | None:
    async with bank:
        await bank.send(account, "17", Open("Ann"))
        receipt = await bank.send(account, "17", Deposit(5))
        await bank.settle()
        return await bank.get(balances, "17", after=receipt)


def test_the_bank_runs_on_its_file(tmp_path, monkeypatch, capsys, run):
    monkeypatch.chdir(tmp_path)
    assert app.url == "sqlite:bank.db"
    assert run(story(App(app.url, app.parts))) == 5
    assert capsys.readouterr().out == "welcome, Ann\n"
    assert (tmp_path / "bank.db").is_file()


def test_another_url_is_all_that_another_store_asks_for(url, run):
    assert run(story(App(url, app.parts))) == 5


def test_the_bank_is_the_readme_s_line_for_line():
    root = Path(__file__).parents[2]
    page = (root / "README.md").read_text("utf-8").partition('```python title="bank.py"\n')[2].partition("```")[0]
    code = (root / "examples" / "bank.py").read_text("utf-8")
    assert page
    assert "".join(line for line in code.splitlines(keepends=True) if not line.startswith("#")) == page
