"""A stored event in a test: a line of `foldlog export`, with its whole envelope, as the app's code reads it."""

from datetime import datetime
from typing import Any

from foldlog.app import App
from foldlog.errors import Misconfigured
from foldlog.model.cloudevents import SOURCE, from_cloudevent, from_line
from foldlog.model.message import Recorded, to_micros
from foldlog.system import Resolved


def exported(app: App, line: str) -> Recorded[Any]:
    """The recorded event of one line (a CloudEvent in JSON), to be given to `given(part, ...)` or `.when(...)`.

    Its types and upcasts are those of the app; no store is opened. Errors: `Invalid` for what is no such line,
    `Undecodable` for an event that does not fit the code, `Misconfigured` for an app that cannot be made.
    """
    resolved = Resolved(app.parts)
    if resolved.faults:
        raise Misconfigured(faults=tuple(resolved.faults))
    attributes = from_line(line.encode())
    tenant, stream, draft = from_cloudevent(attributes)
    kind = resolved.schemas().kind(stream.partition("-")[0], draft.type, draft.schema, draft.encoding)
    when = attributes.get("recordedtime") or attributes.get("time")
    time = to_micros(datetime.fromisoformat(when)) if isinstance(when, str) else 0
    recorded = Recorded[Any](
        int(attributes.get("foldposition", "1")),
        tenant,
        stream,
        int(attributes.get("foldversion", "1")),
        kind,
        time,
        draft.meta,
        draft.body,
        str(attributes["source"]).removeprefix(SOURCE),
    )
    _ = recorded.data  # what cannot be decoded fails here, and not inside the part
    return recorded
