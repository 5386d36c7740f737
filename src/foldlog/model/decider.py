"""The decider: `decide(command, state) -> events`, `evolve(state, event) -> state`, and where it starts.

After Jérémie Chassaing, "Functional Event Sourcing Decider" (2021).
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from foldlog.errors import Invalid, Misconfigured
from foldlog.model.stream import check_category

if TYPE_CHECKING:
    from foldlog.model.query import Query

C = TypeVar("C")
S = TypeVar("S")
E = TypeVar("E")


class Decider(Generic[C, S, E]):
    """Decides about commands for the entities of one category.

    `decide(command, state)` returns the events that follow, `[]` for none, or raises `Rejected`; it may take a third
    parameter annotated `Context` to ask for the time and the principal. `evolve(state, event)` returns the next state.
    Both are pure: no I/O, no change of `state` in place (states are cached). `initial` is the state before any event.
    Whatever else they raise is a fault of theirs; `Unavailable`, which is the store's to say, too: the caller gets a
    RuntimeError that names it.

    With `scope`, a function from a command to a `Query` by types and tags, the state is the fold of what the query
    finds; the events still go to the stream `category-key`, with any version, on the condition that nothing new
    matches the query.

    With `snapshot`, a number from 1, the state of an entity is saved beside the log whenever at least so many events
    were folded since it was last saved, so that a long stream is loaded in the time of its last events. The state must
    be of a type that can be stored, as an event's fields are, and `evolve` annotated with it. None, the default, saves
    nothing. Errors: `Misconfigured`.
    """

    __slots__ = ("category", "decide", "evolve", "initial", "scope", "snapshot")

    def __init__(
        self,
        category: str,
        decide: Callable[[C, S], Sequence[E]] | Callable[[C, S, Any], Sequence[E]],
        evolve: Callable[[S, E], S],
        initial: S,
        *,
        scope: "Callable[[C], Query] | None" = None,
        snapshot: int | None = None,
    ) -> None:
        try:
            self.category = check_category(category)
        except Invalid as error:
            raise Misconfigured(error.message) from error
        if snapshot is not None and (type(snapshot) is not int or snapshot < 1):
            raise Misconfigured(f"decider {category!r}: snapshot is a number of events, from 1")
        if snapshot is not None and scope is not None:
            raise Misconfigured(
                f"decider {category!r}: a state by scope belongs to a command and cannot be saved: leave snapshot= out"
            )
        self.decide: Callable[..., Sequence[E]] = decide
        self.evolve = evolve
        self.initial = initial
        self.scope = scope
        self.snapshot = snapshot

    def __repr__(self) -> str:
        return f"Decider({self.category!r})"
