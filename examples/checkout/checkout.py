"""The three apps. `foldlog run examples.checkout.checkout` runs the orchestrated one on the file checkout.db."""

from collections.abc import Sequence

from examples.checkout.choreography import CHOREOGRAPHY
from examples.checkout.domain import DECIDERS, Gateway, charging
from examples.checkout.mixed import MIXED
from examples.checkout.orchestration import ORCHESTRATION
from foldlog import App
from foldlog.model.clock import Clock

WAYS: dict[str, Sequence[object]] = {"choreography": CHOREOGRAPHY, "orchestration": ORCHESTRATION, "mixed": MIXED}


def open_checkout(url: str, way: str, gateway: Gateway, clock: Clock | None = None) -> App:
    """An app on any store; `way` says how its parts find together."""
    return App(url, [*DECIDERS, *WAYS[way], charging(gateway)], clock=clock)


app = open_checkout("sqlite:checkout.db", "orchestration", Gateway())

if __name__ == "__main__":
    app.run()
