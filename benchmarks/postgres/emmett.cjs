// Emmett's side, driven by emmett.py: `node emmett.cjs PACKAGES URL` reads a command a line and answers each with JSON.
// Events carry the same envelope as Foldlog's, as metadata.
const { createRequire } = require('node:module');
const { createInterface } = require('node:readline');

const [packages, url] = process.argv.slice(2);
const fetched = createRequire(`${packages}/package.json`);
const { getPostgreSQLEventStore, postgreSQLRawSQLProjection, readMessagesBatch } = fetched(
  '@event-driven-io/emmett-postgresql',
);
const { SQL, dumbo } = fetched('@event-driven-io/dumbo');
const { Pool } = fetched('pg');

const STREAMS = 16;
const AT_ONCE = 64;
const EVENTS_AT_ONCE = 100;
const RUN = 10; // events of a stream in a row, when filling
const META = {
  correlation: '7d1f1d5c-2f0b-4c55-9f9b-0e6f5a8c2d10',
  causation: '0192f7d4-58a1-8c3e-b6d0-4a7be0a5c9f2',
  actor: 'user:ann@example.org',
  traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
  headers: { channel: 'web' },
};

const store = getPostgreSQLEventStore(url);
const pool = new Pool({ connectionString: url });
const versions = new Map();
let next = 0;

const seconds = () => Number(process.hrtime.bigint()) / 1e9; // the clock that Python's perf_counter reads, too

// The same fields as sample.py's `line`.
const event = (number) => ({
  type: 'order.line-added',
  data: {
    order: `order-${String(number).padStart(9, '0')}`,
    customer: `customer-${String((number * 7919) % 10007).padStart(7, '0')}`,
    sku: `sku-${String((number * 104729) % 997).padStart(4, '0')}-blue-xl`,
    quantity: (number % 9) + 1,
    note: 'leave at the door, ring twice, thanks',
  },
  metadata: META,
});

const events = (count) => Array.from({ length: count }, () => event(next++));

const append = async (stream, ready) => {
  const expected = versions.get(stream) ?? 0n;
  const expectedStreamVersion = expected === 0n ? 'STREAM_DOES_NOT_EXIST' : expected;
  const { nextExpectedStreamVersion } = await store.appendToStream(stream, ready, { expectedStreamVersion });
  versions.set(stream, nextExpectedStreamVersion);
};

const rate = async (count, work) => {
  const begin = seconds();
  await work();
  return { rate: count / (seconds() - begin) };
};

// A row for each order, folded from the first event on until `upto` are seen, or from now on without end. The consumer
// is not closed: that would close the store's connections.
const project = (name, startFrom, batchSize, upto) => {
  let seen = 0;
  const consumer = store.consumer({ pulling: { batchSize, pullingFrequencyInMs: 1 } });
  const projection = postgreSQLRawSQLProjection({
    name,
    canHandle: ['order.line-added'],
    init: () =>
      SQL`CREATE TABLE IF NOT EXISTS order_rows (key text PRIMARY KEY, lines bigint, quantity bigint, last text)`,
    evolve: (one) =>
      SQL`INSERT INTO order_rows AS r VALUES (${one.metadata.streamName}, 1, ${one.data.quantity}, ${one.data.sku})
        ON CONFLICT (key) DO UPDATE SET lines = r.lines + 1, quantity = r.quantity + excluded.quantity,
        last = excluded.last`,
  });
  consumer.projector({ processorId: name, projection, startFrom, stopAfter: () => ++seen === upto });
  return consumer.start();
};

const DO = {
  'one-writer': ({ count }) => {
    const ready = events(count);
    return rate(count, async () => {
      for (const [number, one] of ready.entries()) await append(`order-${number % STREAMS}`, [one]);
    });
  },
  senders: ({ count }) => {
    const ready = Array.from({ length: AT_ONCE }, () => events(Math.floor(count / AT_ONCE)));
    return rate(count, () =>
      Promise.all(
        ready.map(async (mine, number) => {
          for (const one of mine) await append(`sender-${number}`, [one]);
        }),
      ),
    );
  },
  hundreds: ({ times }) => {
    const ready = Array.from({ length: times }, () => events(EVENTS_AT_ONCE));
    return rate(times * EVENTS_AT_ONCE, async () => {
      for (const [number, group] of ready.entries()) await append(`order-${number % STREAMS}`, group);
    });
  },
  fill: async ({ count, streams, run = RUN }) => {
    for (let first = 0; first < count; first += run)
      await append(`order-${(first / run) % streams}`, events(Math.min(run, count - first)));
    return {};
  },
  rehydrate: ({ streams, each }) =>
    rate(streams * each, async () => {
      for (let number = 0; number < streams; number++) {
        const { state } = await store.aggregateStream(`order-${number}`, {
          evolve: (total, { data }) => total + data.quantity,
          initialState: () => 0,
        });
        if (state < each) throw new Error(`order-${number}: ${state}`);
      }
    }),
  'whole-log': async ({ page }) => {
    const reading = dumbo({ connectionString: url });
    let found = 0;
    const begin = seconds();
    for (let after = 0n, left = true; left; ) {
      const batch = await readMessagesBatch(reading.execute, { after, batchSize: page });
      found += batch.messages.length;
      after = batch.currentGlobalPosition;
      left = batch.areMessagesLeft;
    }
    const taken = seconds() - begin;
    await reading.close();
    return { rate: found / taken, events: found };
  },
  projection: async ({ count, turn }) => {
    await pool.query('DROP TABLE IF EXISTS order_rows');
    return rate(count, () => project(`rows-${turn}`, 'BEGINNING', 1000, count));
  },
  follow: async () => {
    project('live', 'END', 100).catch((error) => process.stderr.write(`${error}\n`));
    return {};
  },
  // Appends one after the other, each until its row can be read; another process folds.
  live: async ({ count }) => {
    const times = [];
    for (const one of events(count)) {
      const stream = `order-${next % STREAMS}`;
      const begin = seconds();
      await append(stream, [one]);
      for (;;) {
        const { rows } = await pool.query('SELECT last FROM order_rows WHERE key = $1', [stream]);
        if (rows[0]?.last === one.data.sku) break;
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      times.push(seconds() - begin);
    }
    return { times };
  },
  close: async () => {
    await store.close();
    await pool.end();
    return {};
  },
};

const serve = async () => {
  await store.schema.migrate();
  process.stdout.write('{}\n');
  for await (const line of createInterface({ input: process.stdin })) {
    const { what, ...told } = JSON.parse(line);
    process.stdout.write(`${JSON.stringify(await DO[what](told))}\n`);
    if (what === 'close') break;
  }
};

serve().then(
  () => process.exit(0),
  (error) => {
    process.stderr.write(`${error.stack ?? error}\n`);
    process.exit(1);
  },
);
