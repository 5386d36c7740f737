"""All parts of the shop in one App. `foldlog run examples.shop.shop` runs it on the file shop.db."""

from examples.shop.notification import notification
from examples.shop.order import order
from examples.shop.outside import Gateway, PostOffice
from examples.shop.payment import payment
from examples.shop.shipment import shipment
from examples.shop.steps import STEPS, to_the_outside
from examples.shop.stock import stock
from examples.shop.views import VIEWS
from foldlog import App


def shop(url: str, gateway: Gateway, post: PostOffice) -> App:
    deciders = [order, stock, payment, shipment, notification]
    return App(url, [*deciders, *STEPS, *to_the_outside(gateway, post), *VIEWS])


app = shop("sqlite:shop.db", Gateway(), PostOffice())

if __name__ == "__main__":
    app.run()
