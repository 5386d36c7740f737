"""Deterministic simulation of an app: seeded stories, named faults, invariants, failures told as short stories.

    simulation = Simulation(parts, story, [no_money_made], world=Bank)
    simulation.check(seeds=500)

Read these files in this order:

story       the commands that are sent, and what came of each
fault       what can go wrong, by name, and the dice that say when it does
loop        an event loop without a clock, a selector or threads
link        a process's way to the store, where most faults happen
process     the real worker over its link, in a lane that can stall or end at any call
trace       what happened, in order
seen        what an invariant gets to see, and the invariants that hold for every app
run         one run of one case
shrink      a failing case made small
simulation  the public face
"""

from foldlog.testing.simulation.fault import Fault
from foldlog.testing.simulation.run import Case, Ran
from foldlog.testing.simulation.seen import Broken, Seen
from foldlog.testing.simulation.simulation import Found, Report, Simulation
from foldlog.testing.simulation.story import Sent, Story, Wait

__all__ = ["Broken", "Case", "Fault", "Found", "Ran", "Report", "Seen", "Sent", "Simulation", "Story", "Wait"]
