"""A shop without a conductor: five deciders that know nothing of each other, and handlers that answer with commands.

    order.py         placed, ready, paid, shipped, or cancelled
    stock.py         what is there of one product, and who has reserved it
    payment.py       captured, declined, refunded
    shipment.py      dispatched
    notification.py  which mail was sent
    outside.py       the payment gateway (down now and then) and the post office (refuses some addresses)
    steps.py         the choreography: which event makes which command follow
    views.py         the read models
    traffic.py       seeded customers
    shop.py          all of it in one App

When a line is out of stock or a payment declined, the order is cancelled, and from that event the way back follows:
stock released, money returned, the customer told.
"""
