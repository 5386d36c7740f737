"""`python -m benchmarks`: Foldlog, its peer and the raw limit, measured side by side in one run.

`measure.py` says what a workload is, `workloads/` holds one file for each kind, `ours.py`, `peer.py` and `raw.py` are
the three sides, `report.py` prints and writes what came out. Quote ratios from one run, never absolutes.
"""
