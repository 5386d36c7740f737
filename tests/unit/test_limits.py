import ast
from pathlib import Path

from foldlog import limits

SOURCE = Path(limits.__file__).read_text("utf-8")
NAMES = [node.targets[0].id for node in ast.parse(SOURCE).body if isinstance(node, ast.Assign)]


def test_every_limit_is_a_bound_with_its_reason_beside_it():
    lines = [line for line in SOURCE.splitlines() if line and line[0].isupper() and " = " in line]
    assert len(lines) == len(NAMES)
    assert [line for line in lines if "  # " not in line] == []
    assert all(getattr(limits, name) > 0 for name in NAMES)


def test_limits_that_lean_on_each_other_agree():
    assert limits.PAGE <= limits.PAGE_MAX
    assert limits.FIND <= limits.FIND_MAX
    assert limits.EVENT_BYTES < limits.PAGE_BYTES
    assert limits.EVENT_BYTES + limits.META_BYTES < limits.LINE_BYTES
    assert limits.EVENT_BYTES < limits.BATCH_BYTES
    assert limits.WATCH_MIN < limits.WATCH_MAX < limits.IDLE_WAIT
    assert limits.CONCURRENCY <= limits.WINDOW
    assert limits.IMPORT_BATCH <= limits.BATCH_EVENTS
    assert limits.HANDLER_TIMEOUT <= limits.STOP
