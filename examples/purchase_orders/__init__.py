"""Purchase orders of a real company, as they went from requisition to paid invoice.

The log is that of the BPI Challenge 2019 (Boudewijn van Dongen, 4TU.ResearchData), one order per variant: 338,247
events of 11,973 orders, 42 activities. Fetch it there; it is not part of Foldlog.

    events.py      the 42 activities as typed events
    reading.py     the file, case by case, in flat memory; and its way into the store
    deviations.py  a handler that notices orders off the normal path, and the decider that judges them
    views.py       the read models
    orders.py      all of it in one App, and what its read models say, as figures
    plain.py       the same figures from a plain pass over the file, without Foldlog
    tour.py        both, side by side
"""
