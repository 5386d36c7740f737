"""The workloads, in the order of the table."""

from benchmarks.measure import Workload
from benchmarks.workloads import growing, latency, projecting, reading, starting, writing

ALL: tuple[Workload, ...] = (
    writing.ONE_WRITER,
    writing.SENDERS,
    writing.TAGGED,
    writing.COMMANDS,
    writing.HUNDREDS,
    reading.REHYDRATE,
    reading.WHOLE_LOG,
    projecting.PLAIN,
    projecting.INDEXED,
    latency.LIVE,
    starting.IMPORTS,
    starting.FIRST_COMMIT,
    growing.FIXED,
    growing.NEW_STREAMS,
)
