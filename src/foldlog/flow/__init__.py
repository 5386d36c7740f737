"""The road of an event. Read these files in this order:

execute     a command is decided and its events committed
state       … on what: the fold of a stream or of what a scope finds
subscribe   pages of events up to the safe head, in order, nothing skipped
lease       who runs a function, and up to where it came: the checkpoint's row
view        a projection made ready: its table, its codec, its events
project     pages folded into rows, committed together with the checkpoint
fingerprint what a fold looks like, so that a change of it is noticed
serving     which version of a view is read: the pointer, the switch, and taking it back
rebuild     … brought up to the safe head beside live traffic
difference  … compared with another version, row by row
dropping    … and removed
inbox       what a handler has yet to do: waiting, retrying, dead; and the commands it answered with (the outbox)
attempt     one call of a handler: its answer, its verdict or its failure
mark        what was done, made durable: marks, outbox rows and checkpoint in one commit
deliver     events to handlers: order per key, retries, marks
reading     what can be read back: rows of a view, events of the log
deadletter  what an operator sees of it: list, replay, discard
"""
