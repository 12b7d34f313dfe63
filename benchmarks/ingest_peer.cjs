// The usual design beside our ingest: each message one HTTP request, one durable insert, one BullMQ job, then 200.
// `bun ingest_peer.cjs serve` listens and prints its port; `bun ingest_peer.cjs load PORT CONNECTIONS SECONDS` prints requests a second.
const role = process.argv[2];
const text = "we moved orders to postgres, the port is 5433";

async function serve() {
  const { SQL } = require("bun");
  const { Queue } = require("bullmq");
  const sql = new SQL(process.env.BENCH_DATABASE, { max: 32 });
  await sql`CREATE TABLE IF NOT EXISTS bench_peer (id bigserial PRIMARY KEY, rc_id text NOT NULL UNIQUE, rid text NOT NULL,
    user_id text NOT NULL, text text NOT NULL, ts timestamptz NOT NULL DEFAULT now())`;
  const redis = new URL(process.env.BENCH_REDIS);
  const connection = { host: redis.hostname, port: Number(redis.port), password: decodeURIComponent(redis.password), db: 4 };
  const queue = new Queue("ingest", { connection, defaultJobOptions: { removeOnComplete: true } });
  await queue.waitUntilReady();
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      const said = await request.json();
      await sql`INSERT INTO bench_peer (rc_id, rid, user_id, text) VALUES (${said._id}, ${said.rid}, ${said.u}, ${said.msg})
        ON CONFLICT (rc_id) DO NOTHING`;
      await queue.add("message", { rc_id: said._id });
      return new Response("ok");
    },
  });
  console.log(server.port);
}

async function load(port, connections, seconds) {
  const run = `${Date.now()}-${process.pid}`;
  let sent = 0;
  let done = 0;
  let bad = 0;
  const until = performance.now() + seconds * 1000;
  const next = (socket) => {
    const number = sent++;
    const body = JSON.stringify({ _id: `${run}-${number}`, rid: `room${number % 50}`, u: `uid${number % 200}`, msg: text });
    socket.write(`POST / HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  };
  const open = () =>
    new Promise((ended) =>
      Bun.connect({
        hostname: "127.0.0.1",
        port,
        socket: {
          open: next,
          data(socket, answer) {
            if (answer.toString("latin1", 0, 15).startsWith("HTTP/1.1 200")) done++;
            else bad++;
            if (performance.now() < until) next(socket);
            else socket.end();
          },
          close: ended,
          error: ended,
        },
      }),
    );
  const began = performance.now();
  await Promise.all(Array.from({ length: connections }, open));
  if (bad) throw new Error(`${bad} requests were refused`);
  console.log(((done * 1000) / (performance.now() - began)).toFixed(1));
}

if (role === "serve") serve();
else load(...process.argv.slice(3).map(Number));
