"""Everything that processes are written with: `from foldlog.process import Process, Timer, Cancel, ...`.

What `foldlog` itself exports is what every app needs; this is for those that have processes.
"""

from foldlog.model.process import Accepted, Cancel, Cancelled, Process, Timer
from foldlog.model.saga import Saga, Step, TimedOut, saga
from foldlog.model.schedule import Schedule

__all__ = ["Accepted", "Cancel", "Cancelled", "Process", "Saga", "Schedule", "Step", "TimedOut", "Timer", "saga"]
