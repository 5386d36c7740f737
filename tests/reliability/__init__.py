"""The long checks: crashes, faults and races with real processes. `python -m tests.reliability` runs them in full."""
