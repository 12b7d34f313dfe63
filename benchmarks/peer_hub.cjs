// What the peer hub talks to: a chat and a memory that answer at once and remember nothing.
let posted = 0;
Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  async fetch(request) {
    await request.text();
    if (request.url.endsWith("/login")) return Response.json({ data: { authToken: "t", userId: "u" } });
    posted++;
    return Response.json({ success: true, ok: true, message: { _id: `p${posted}` }, results: { results: [] } });
  },
});
