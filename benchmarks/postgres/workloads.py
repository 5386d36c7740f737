"""The workloads, in the order of the table."""

from benchmarks.measure import Workload
from benchmarks.postgres import latency, projecting, reading, sagas, sharing, writing

ALL: tuple[Workload, ...] = (
    writing.ONE_WRITER,
    writing.COMMANDS,
    writing.HUNDREDS,
    reading.REHYDRATE,
    reading.WHOLE_LOG,
    projecting.PROJECTION,
    latency.LIVE,
    sharing.SHARING,
    sagas.SAGAS,
)
