from foldlog.engines.memory import MemoryStore
from foldlog.testing.contract import StoreContract


class TestMemory(StoreContract):
    def connect(self, tmp_path, start=0):
        return MemoryStore(start=start)
