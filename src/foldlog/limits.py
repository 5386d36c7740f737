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

CONNECT_TIME = 10  # making a connection to a server, whole seconds; then `Unavailable`
STATEMENT_TIME = 30.0  # one statement on a server; then it is given up, and what it wrote is undone
STATEMENTS = 500  # plans that one connection keeps; an app has some dozens
OUTCOME = 30.0  # a commit whose answer was lost is asked after for this long; restarts take less
RETRIES = 20  # a batch that deadlocks, or that others keep overtaking, is tried this often; then `Unavailable`
WRITER_KEPT = 7 * 86_400.0  # a process that has not written for a week is forgotten: none waits so long for an answer
WATCH_HEARD = 0.25  # and this slowly where commits are called out (NOTIFY): only a call that got lost waits for it
WATCH_AGAIN = 0.2  # a lost connection is made anew after this
NOTIFY_GAP = 0.001  # between two wake-up calls of one process: commits of busy senders share one
CONNECTIONS = 4  # that read, of one process; beside them one writes and one watches
PURGE = 256  # puts into a table whose rows expire, between two removals of some of those past their time
SMALL = 8_192  # a body or envelope up to this is read with its page; a larger one by itself, so that pages are bounded
TAIL = 500  # newest events that a process keeps for its functions: each is fetched once; who is behind reads by index
HEAD_PAGE = 10_000  # positions that are looked at at once to find the safe head
HEAD_KEPT = 1.0  # the safe head is stored this often: a new process looks on from there
CLOCK_SKEW = 120.0  # clocks of writers differ by less: reads by time look this far around what they look for
TAG_LOCKS = 256  # slots that tags and types share when conditions lock them: so many locks a transaction can hold

COMMAND_ATTEMPTS = 10  # load, decide, commit on Conflict; then the Conflict goes to the caller
CONFLICT_JITTER = 0.01  # the first pause after a Conflict is at most this; it doubles, with full jitter
STATE_CACHE = 4_096  # decider states kept in memory, least recently used go first
SNAPSHOT_BYTES = 1_048_576  # a larger state costs more to save and read than the events it stands for
SNAPSHOT_QUEUE = 64  # states waiting to be saved, kept in memory; those that find it full are saved another time
SNAPSHOT_STOP = 2.0  # a closing app waits this long for them: what is not saved then costs time only
FINGERPRINT = 10_000  # functions, classes and values that a fold's code may lead to: beyond it is a framework's inside
COMMAND_WINDOW = 7 * 86_400.0  # how long a command id is remembered: a week covers a weekend's outage

FOLD_PAGE = 4_096  # events a projection folds and commits at once
SERVED = 1.0  # a process that knows which version of a view is read looks again after this: a switch is seen by then
REBUILD_LEAST = 64  # events of a rebuild's shortest page: below it the reads cost more than the folds
REBUILD_SLICE_LIVE = 0.002  # a fold holds a process that serves for this long while others write …
REBUILD_SLICE = 0.02  # … and for this while nobody does, so that its tasks come on
REBUILD_SLICE_ALONE = 0.5  # … and for this where nothing else runs: between two, leases are renewed, Ctrl-C heard
REBUILD_ROWS = 32_768  # rows that a rebuild folds before it stores them: each is written once, however often it changed
REBUILD_ROWS_LEAST = 4_096  # … and at least while others write: smaller commits of the same pages would only be more
REBUILD_COMMIT_LIVE = 0.005  # in between, so many that a commit holds the store for this long
REBUILD_STORE = 1.0  # … and at the latest after this: so much is folded again after a crash …
REBUILD_STORE_SELDOM = (
    10.0  # … or, where that takes long, after so many times as long as it took, five seconds at most …
)
REBUILD_STORE_LIVE = 5.0  # … or so much while others write: fewer commits get in their way …
REBUILD_STORE_SHARE = 0.005  # … in a process of its own even fewer: they hold the store for this share of the time …
REBUILD_STORE_RARELY = 60.0  # … and at most this
REBUILD_RESTS = 1.0  # rests as long as what it held them for while others write: they have half of the time
REBUILD_REST = 1.0  # the longest rest; a slow --rate makes pages shorter instead, so that leases are renewed
REBUILD_CALM = 1.0  # nobody has written for this long: a rebuild goes at full speed
REBUILD_MEASURE = 1.0  # the rate, for progress and ETA, is stored this often: each costs an fsync
TELL = 0.25  # a progress bar moves this often: an eye sees no more, and each look is a read
RETRY_AFTER = 60.0  # no caller is told to come back later than this: what it waits for may have gone faster
DIFF_PAGE = 1_000  # rows of each side that a comparison holds in memory
DIFFERENCES = 20  # differing rows that `views diff` shows where nobody says
ROW_CACHE = 65_536  # rows a projection keeps between pages
WINDOW = 1_024  # events of one handler in flight above its checkpoint
WINDOW_BYTES = 67_108_864  # and their bodies; one event more is taken, however large
PARKED = 10_000  # events of one handler that may wait for a retry or behind a dead letter; then it stops reading
CONCURRENCY = 16  # keys of one handler at work at once where the handler does not say
HANDLER_PAGE = 100  # events of one call of a handler that takes lists, where it does not say
HANDLER_PAGE_MAX = 1_000  # and at most: less than WINDOW, so that the next page can come together meanwhile
HANDLER_TIMEOUT = 30.0  # one attempt of a handler
HELD = 0.5  # an async handler that blocks the event loop longer is named in the log; a busy machine alone takes 0.1
BREAKER_KEYS = 1_000  # keys that a breaker remembers the last call of
BREAKER_PATIENCE = 86_400.0  # an outage is noticed and over in a day; what still fails then may be a bug
SENDS = 100  # commands one handled event may answer with
ANSWERED_BYTES = 983_040  # one command of a process that hears what became of it: the answer, an event, carries it
SENDS_BYTES = 4_194_304  # and their bodies: those of many keys are written in one commit
TIMERS = 100  # pending timers of one instance of a process; its row names them
INSTANCES = 100  # instances of a process that one event may be for
PROCESS_PAGE = 100  # events that a process folds and commits at once
PROCESS_CONCURRENCY = 64  # instances at work at once where the process does not say; their commands share commits
CLOCK_LOOK = 60.0  # whoever waits for a time of day looks at the clock again after this: it may have been set
SCHEDULE = 1.0  # seconds between two commands of a schedule, at least: each costs a commit
RINGING = 256  # due timers that are read, and rung, at once
KEY_STRIDE = 1_000  # items of one event: those for its second key count from here, and so on; more than SENDS
ERROR_CHARS = 4_000  # kept of a failed attempt's traceback
PARTITIONS = 16  # of a function; as many processes can share it; rows are stored by it, so it cannot change
STOPPED_CHARS = 500  # of why a function has stopped for good: each heartbeat of its process carries it
MEMBERS = 1_000  # processes on one store; those beyond it do not count when partitions are shared
LEASE = 10.0  # an owner that has not renewed for this long is taken for dead
STANDBY = 1.0  # a worker looks this often whether processes came or went, and leases ran out
HANDOVER = 0.05  # and this often while it waits for its share, which the others are about to let go
CHECKPOINT = 1.0  # a checkpoint over events that concern nobody is written this often: each costs an fsync
LAG = 1_000  # events that `functions` counts behind a checkpoint, then it says "more": a page of reading …
LAG_LOOKED = 10_000  # … and looks at, where most of them are behind no checkpoint of their own partition
BACKLOG = 10_000  # rows of a function that `functions` counts what waits, or is dead, in: as many as may wait
WATCH = 3_600  # seconds between two looks of `--watch`
OPERATOR_POLL = 1.0  # a worker looks this often for dead letters that another process replayed or discarded
IDLE_WAIT = 5.0  # a follower with nothing to do looks again after this at the latest
SETTLE = 30.0  # `settle` gives up after this
TRACE = 10_000  # events of one chain of causes that `why` keeps in memory and shows
TRACE_PASSES = 8  # times that `why` reads the log for events whose correlation is not that of their cause
FSYNC_SLOW = 0.02  # a slower fsync gives under 50 commits a second that do not share one: `doctor` warns
FSYNC_FAST = 0.00002  # no disk that keeps what it was given answers faster: `doctor` warns
DISK_LOW = 1_073_741_824  # less free space, or less than the log itself takes, and `doctor` warns
FOLD_SLOW = 0.001  # seconds a fold takes for one event before `doctor` warns: a rebuild would do 1,000 a second
FOLD_SAMPLE = 2_000  # events that `doctor` times each fold on …
FOLD_TIME = 2.0  # … for so long at most
DECODE_SAMPLE = 25  # oldest and newest events of each kind that `doctor` decodes
COLD_START = 1.0  # a serverless caller waits for it: `doctor` warns
SWITCH = 0.0005  # a serving process hands the interpreter from thread to thread: a busy loop starves the writer less
STOP = 30.0  # a stopping worker waits this long for running attempts
IMPORT_BATCH = 1_000  # lines of an import in one commit
LINE_BYTES = 2_097_152  # one line of an import: an event and its envelope

LOCK_BYTES = 16_777_216  # a lock file: thousands of types with their histories; it is read into memory
LOCK_SHAPES = 1_000  # shapes kept of one version: more means that a version should have been raised long ago
SHAPE_CHARS = 65_536  # one field as text; the longest are Literals with many values

SIMULATION_TURNS = 5_000_000  # turns of a simulation's loop: about a minute of real time; a run that goes on is stuck
SIMULATION_TRACE = 100_000  # lines of one simulated run kept in memory
SIMULATION_STEPS = 1_000  # steps of a story that never ends
SIMULATION_FAULTS = 100  # faults in one run: with more, little else happens
SIMULATION_FINALLY = 8  # times that a dropped coroutine which awaits in its `finally` is closed
SIMULATION_PATIENCE = 5.0  # a simulated client waits this long for an answer, then sends again; in simulated time, as …
SIMULATION_AGAIN = 0.2  # … about this long before it sends again …
SIMULATION_GAP = 0.05  # … at most this long between two commands …
SIMULATION_LATENCY = 0.004  # … at most this long for one way to the store or into a handler …
SIMULATION_SLOW = 3.0  # … at most this long where the store is slow or its disk full …
SIMULATION_JUMP = 60.0  # … at most this far for a jump of a clock …
SIMULATION_WAIT = 315_576_000.0  # … at most ten years for a Wait …
SIMULATION_LIVED = 60.0  # … of which this long is lived through, since idle functions look around every second …
SIMULATION_REST = 1_800.0  # … and this long to come to rest once faults have stopped: retries take minutes
SIMULATION_RESTLESS = 2.0  # faults go on for this long while a run comes to rest, then they stop
SIMULATION_LOOK = 0.25  # whoever waits for rest looks this often
SIMULATION_CLIENTS = 32  # commands under way at once
SIMULATION_QUIET = 20  # a quiet point comes after about so many steps, and at the end
SIMULATION_SHRINK = 1_000  # runs that shrinking a failure may take
SIMULATION_TRIES = 4  # orders of things tried for each smaller story, before it counts as not failing
SIMULATION_PROCESSES = 16  # simulated processes over one store; interleavings worth seeing need two or three
SIMULATION_STORY = 120  # lines of a failure's story that are printed; its trace has all
SIMULATION_EARLIER = 12  # opportunities by which a listed fault is moved towards the begin, where a story gets shorter
TEST_EVENTS = 100  # events of a row that a printed test may hold; more is no test that anybody reads
