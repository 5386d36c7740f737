"""`python -m benchmarks`: Foldlog, its peers and the raw limit, measured side by side in one run.

`measure.py` says what a workload is, `engines.py` what is measured on which engine; `ours.py`, `peer.py` and `raw.py`
are the sides, `ours_work.py` and `peer_work.py` what they do on both engines. `workloads/` is for SQLite, `postgres/`
for PostgreSQL; `report.py` prints and writes what came out. Quote ratios from one run, never absolutes.
"""
