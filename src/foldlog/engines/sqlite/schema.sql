-- The schema of a Foldlog database, version 1. Statements are separated by blank lines.

-- Which log this is: a random id, and an epoch that rises when positions are used again.
CREATE TABLE log (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id TEXT NOT NULL,
    epoch INTEGER NOT NULL
) STRICT

-- Streams by a small number, because it stands in every event and in its index.
CREATE TABLE streams (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL
) STRICT

-- Appends and reads of one stream find its number; "is there any tenant but ''" is its last entry.
CREATE UNIQUE INDEX streams_by_name ON streams (tenant, name)

-- What an event is stored as. Small: readers keep it in memory. Ids are given without gaps.
CREATE TABLE kinds (
    id INTEGER PRIMARY KEY,
    category TEXT NOT NULL,
    type TEXT NOT NULL,
    schema INTEGER NOT NULL,
    encoding TEXT NOT NULL,
    UNIQUE (category, type, schema, encoding)
) STRICT

-- The log. `time` never falls as `position` rises, so that reads by time search positions and need no index.
CREATE TABLE events (
    position INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    version INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    time INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    meta BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT

-- Reads of one stream and its head; the primary key is the last guard of optimistic concurrency. An index in two tables:
-- what is new stands in the second one and moves over in order, see merging.py.
CREATE TABLE by_stream (
    stream INTEGER NOT NULL,
    version INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (stream, version)
) STRICT, WITHOUT ROWID

CREATE TABLE by_stream_new (
    stream INTEGER NOT NULL,
    version INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (stream, version)
) STRICT, WITHOUT ROWID

-- Reads by type and category. The position is the rowid, which every index ends with.
CREATE INDEX events_by_kind ON events (kind)

-- Reads of one tenant's events. The default tenant has no entries, so that who has no tenants pays nothing.
CREATE INDEX events_by_tenant ON events (tenant, kind) WHERE tenant > ''

-- Reads and conditions by tag, in two tables like by_stream.
CREATE TABLE by_tag (
    tenant TEXT NOT NULL,
    tag TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (tenant, tag, position)
) STRICT, WITHOUT ROWID

CREATE TABLE by_tag_new (
    tenant TEXT NOT NULL,
    tag TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (tenant, tag, position)
) STRICT, WITHOUT ROWID

-- The tables of rows: table 7's rows stand in `rows_7`. AUTOINCREMENT: the id of a dropped table never returns.
CREATE TABLE tables (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    indexes TEXT NOT NULL,
    expiring INTEGER NOT NULL
) STRICT

CREATE TRIGGER events_stay BEFORE UPDATE ON events BEGIN SELECT raise(ABORT, 'events are never changed'); END

CREATE TRIGGER events_are_kept BEFORE DELETE ON events BEGIN SELECT raise(ABORT, 'events are never deleted'); END
