# As printed on the first page of the documentation: one import too many and an open match for pyright in strict mode.
# pyright: standard
from dataclasses import dataclass
from foldlog import App, Context, Decider, Rejected, command, event, handler, projection

@event("account.opened")
class Opened:
    owner: str

@event("account.deposited")
class Deposited:
    amount: int

@command("account.open")
class Open:
    owner: str

@command("account.deposit")
class Deposit:
    amount: int

def decide(command: Open | Deposit, is_open: bool) -> list[Opened | Deposited]:
    match command:
        case Open(owner): return [] if is_open else [Opened(owner)]
        case Deposit(amount) if is_open and amount > 0: return [Deposited(amount)]
    raise Rejected("account.not-possible", f"cannot {command} now")

def evolve(is_open: bool, event: Opened | Deposited) -> bool:
    return True  # once opened, an account stays open

@projection("balances")
def balances(row: int | None, event: Deposited) -> int:
    return (row or 0) + event.amount

@handler("greet")
async def greet(event: Opened, ctx: Context) -> None:
    print(f"welcome, {event.owner}")

account = Decider("account", decide, evolve, initial=False)
app = App("sqlite:bank.db", parts=[account, balances, greet])

if __name__ == "__main__":
    app.run()  # the functions: projections and handlers
