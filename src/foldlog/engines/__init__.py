"""The stores: one backend a file, each behind the port of ports/store.py. Read memory.py first, batch.py with it."""
