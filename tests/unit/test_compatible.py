"""What the checker calls readable is read, by msgspec itself: on random classes, random changes and random values."""

import msgspec
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from foldlog.errors import Invalid, Misconfigured
from foldlog.model.codec import Codec
from foldlog.model.compatible import gaps
from foldlog.testing.instances import bodies
from tests.unit.shapes import built, changed, draw_class, form, same
import os

@given(st.data())
@settings(deadline=None, max_examples=int(os.environ.get("N","300")), suppress_health_check=list(HealthCheck))
def test_nothing_that_is_called_readable_fails_or_changes(data):
    plan = draw_class(data.draw)
    other = changed(data.draw, plan)
    try:
        old, new = built(plan), built(other)
        writer, reader = Codec(old, "old"), Codec(new, "new")
    except (TypeError, Misconfigured):
        assume(False)
    found = gaps(form(new), form(old))
    raw = data.draw(bodies(form(old)))
    try:
        body, value = writer.encode(writer.decode(msgspec.json.encode(raw)))
    except Invalid:
        event("invalid")
        assume(False)
    if found:
        event("not readable")
        return
    event("readable" + (" changed" if plan!=other else ""))
    read = reader.decode(body)
    assert same(value, read), (value, read)
