"""The same for PostgreSQL: `python -m benchmarks --engine postgres`, on a server that is started for it.

`server.py` the server and its databases; the sides: `library.py` (PyPI `eventsourcing`), `message_db.py`, `emmett.py`
(which drives `emmett.cjs` by node), `bare.py` (the raw limit); `packages.py` fetches what comes by npm. The workloads:
`writing.py` `reading.py` `projecting.py` `latency.py` (whose other process is `follower.py`) `sharing.py` (`worker.py`)
`sagas.py` (with PyPI `dbos`).
"""
