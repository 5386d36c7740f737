"""The road of an event. Read these files in this order:

execute     a command is decided and its events committed
state       … on what: the fold of a stream or of what a scope finds
snapshot    … saved, for long streams: trusted only where nothing has changed
subscribe   pages of events up to the safe head, in order, nothing skipped
partition   which partition a key belongs to, and which partitions a process should hold
members     which processes run a function, and how it does there: their heartbeats
lease       who holds a partition, and up to where it came: the checkpoint's row
index       how a field of a row stands in an index
view        a projection made ready: its table, its codec, its events
inline      rows that who sends commits with the events
project     pages folded into rows, committed together with the checkpoint
stale       which rows lack an event, because their fold failed
serving     which version of a view is read: the pointer, the switch, and taking it back
awaited     rows that another process keeps, waited for: one look for all who wait
rebuild     … brought up to the safe head beside live traffic
difference  … compared with another version, row by row
dropping    … and removed
inbox       what a handler or process has yet to do: waiting, retrying, dead; and the commands it answered with
effect      what the lanes work off, whichever part it is: an attempt, and what came of it
attempt     one call of a handler: its answer, its verdicts or its failure
timers      timers of processes: rows that ring by appending an event
orchestrate one step of a process: state, commands and timers, rows of one commit; what became of its commands
page        what one call is about: an event, or what several lanes have ready
breaker     when calls stop because they fail for many keys
gate        … and the lanes that wait meanwhile
window      the events that are in memory
mark        what was done, made durable: marks, outbox rows and checkpoint in one commit
outbox      the commands it answered with, sent from their rows
monotonic   this process's own clock, that nobody sets
wakeup      when what waits for a time goes on, whatever the clock does
lanes       what each key has to do, worked off in order: attempts, retries, what is finished
deliver     events to handlers and processes: what comes in, what partitions come and go, what operators ask for
reading     what can be read back: rows of a view, events of the log
travel      the same as of a position or a time: folded from the cut log
deadletter  what an operator sees of it: list, replay, discard
recall      what an instance of a process went through, folded again from the log
instances   … and what an operator sees of it, and cancels
recur       schedules: commands at fixed times, once over all processes

Beside the road: fork (where a log is cut and begins again), trace (what an event came from and what came of it),
standing (how each function stands, and who runs it), checkup (what is wrong with functions and events).
"""
