"""The road of an event. Read these files in this order:

execute     a command is decided and its events committed
subscribe   pages of events up to the safe head, in order, nothing skipped
partition   which partition a key belongs to, and which partitions a process should hold
members     which processes run a function: their heartbeats
lease       who holds a partition, and up to where it came: the checkpoint's row
index       how a field of a row stands in an index
project     pages folded into rows, committed together with the checkpoint
inbox       what a handler has yet to do: waiting, retrying, dead; and the commands it answered with (the outbox)
attempt     one call of a handler: its answer, its verdict or its failure
mark        what was done, made durable: marks, outbox rows and checkpoint in one commit
outbox      a command that a handler answered with, sent once
deliver     events to handlers: order per key, retries, marks
deadletter  what an operator sees of it: list, replay, discard
"""
