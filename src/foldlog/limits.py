"""Every bound, with its reason. Nothing in Foldlog grows without one of these.

Sizes are bytes, times are seconds, unless the name says otherwise.
"""

CATEGORY_CHARS = 64  # a category is a word in code, not data
KEY_BYTES = 256  # long enough for URNs and e-mail addresses; short enough for every database's index keys
TENANT_CHARS = 64  # a tenant is a short name of the operator's own making
NAME_CHARS = 128  # stored names of events and commands; CloudEvents asks for "type" to be short too
PART_CHARS = 64  # names of projections, handlers and indexes become names of tables
TAG_BYTES = 256  # a tag is `field:value`; it is an index key
TAGS = 16  # tags of one event; each costs one index row
COMMAND_ID_BYTES = 256  # room for "source/id" of a CloudEvent

EVENT_BYTES = 1_048_576  # one body; larger payloads belong into a blob store (claim check)
META_BYTES = 65_536  # ids, actor and headers of one event together
NESTING = 64  # levels of JSON; deeper input is an attack or a bug
INDEXED_BYTES = 1_024  # a row's key (a stream and a command id fit) or an indexed text: DynamoDB's keys end here
ROW_BYTES = 4_194_304  # one row of a read model

BATCH_EVENTS = 10_000  # events in one commit: a larger one would hold up every other writer
BATCH_ROWS = 50_000  # row changes in one commit; a projection's page stays far below
BATCH_BYTES = 67_108_864  # bodies, envelopes and rows in one commit
BATCH_STREAMS = 1_000  # streams in one commit; an engine may allow fewer, as its capabilities say (DynamoDB: 100)

QUERY_TYPES = 1_000  # types in one query; each is a term of the search
QUERY_SIDES = 100  # alternatives of one query; databases bound the depth of a condition (SQLite: 1,000)

PAGE = 1_000  # events of one read where the caller does not say
PAGE_MAX = 10_000  # events of one read: a page lives in memory
PAGE_BYTES = 16_777_216  # a page of large bodies is cut here, however few they are
FIND = 100  # rows of one `find` where the caller does not say
FIND_MAX = 10_000  # rows of one `find`

WRITER_QUEUE = 8_192  # batches waiting for the writer; then `Unavailable`: back-pressure instead of memory
WRITER_QUEUE_BYTES = 268_435_456  # and this many bytes of events and rows: a few large batches fill memory too
WRITER_GROUP = 512  # batches in one transaction: beyond it latency grows and the gain is gone
WRITER_GROUP_BYTES = 16_777_216  # and this many bytes, so that a group of large batches ends too
BUSY_TIMEOUT = 5.0  # waiting for another process's transaction before `Unavailable`
READERS = 4  # reader threads, each with a connection: reads are short and the machine is shared
READER_QUEUE = 8_192  # reads asked and not yet answered; then `Unavailable`
STREAM_CACHE = 65_536  # stream names and heads kept by an engine
WATCH_MIN = 0.001  # polling another process's commits: this fast while there are some …
WATCH_MAX = 0.02  # … and this slowly when nothing happens

COMMAND_ATTEMPTS = 10  # load, decide, commit on Conflict; then the Conflict goes to the caller
CONFLICT_JITTER = 0.01  # the first pause after a Conflict is at most this; it doubles, with full jitter
STATE_CACHE = 4_096  # decider states kept in memory, least recently used go first
COMMAND_WINDOW = 7 * 86_400.0  # how long a command id is remembered: a week covers a weekend's outage

FOLD_PAGE = 4_096  # events a projection folds and commits at once
ROW_CACHE = 65_536  # rows a projection keeps between pages
WINDOW = 1_024  # events of one handler in flight above its checkpoint
PARKED = 10_000  # events of one handler that may wait for a retry or behind a dead letter; then it stops reading
CONCURRENCY = 16  # keys of one handler at work at once where the handler does not say
HANDLER_TIMEOUT = 30.0  # one attempt of a handler
SENDS = 100  # commands one handled event may answer with
SENDS_BYTES = 4_194_304  # and their bodies: those of many keys are written in one commit
ERROR_CHARS = 4_000  # kept of a failed attempt's traceback
PARTITIONS = 16  # of a function; as many processes can share it; rows are stored by it, so it cannot change
MEMBERS = 1_000  # processes on one store; those beyond it do not count when partitions are shared
LEASE = 10.0  # an owner that has not renewed for this long is taken for dead
STANDBY = 1.0  # a worker looks this often whether processes came or went, and leases ran out
HANDOVER = 0.05  # and this often while it waits for its share, which the others are about to let go
CHECKPOINT = 1.0  # a checkpoint over events that concern nobody is written this often: each costs an fsync
OPERATOR_POLL = 1.0  # a worker looks this often for dead letters that another process replayed or discarded
IDLE_WAIT = 5.0  # a follower with nothing to do looks again after this at the latest
SETTLE = 30.0  # `settle` gives up after this
SWITCH = 0.0005  # a serving process hands the interpreter from thread to thread: a busy loop starves the writer less
STOP = 30.0  # a stopping worker waits this long for running attempts
IMPORT_BATCH = 1_000  # lines of an import in one commit
LINE_BYTES = 2_097_152  # one line of an import: an event and its envelope
