// Logs in with Rocket.Chat's own DDP client, subscribes, sends, hears, edits, reacts; prints what it saw as one JSON line.
const { createHash } = require("node:crypto");
globalThis.WebSocket = require("ws");
const { DDPSDK } = require("@rocket.chat/ddp-client");

const { HOST, ROOM, CLIENT_USER, CLIENT_PASSWORD, OTHER } = process.env;
const seen = { heard: [], reactions: null, user: null, rest: null };

const until = async (what, check) => {
  for (let tries = 0; tries < 400; tries += 1) {
    if (check()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`never saw ${what}: ${JSON.stringify(seen)}`);
};

const bob = (route, body) =>
  fetch(`${HOST}/api/v1/${route}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...JSON.parse(OTHER) },
    body: JSON.stringify(body),
  }).then((response) => response.json());

const main = async () => {
  const sdk = await DDPSDK.createAndConnect(HOST);
  await sdk.account.loginWithPassword(CLIENT_USER, createHash("sha256").update(CLIENT_PASSWORD).digest("hex"));
  seen.user = sdk.account.uid;
  const subscription = sdk.stream("room-messages", [ROOM], (message) => {
    seen.heard.push(message.msg);
    seen.reactions = message.reactions || null;
  });
  await subscription.ready();
  await sdk.call("sendMessage", { _id: "fromtheddpclient1", rid: ROOM, msg: "from the client" });
  await until("own message", () => seen.heard.length === 1);
  await sdk.call("updateMessage", { _id: "fromtheddpclient1", rid: ROOM, msg: "from the client, edited" });
  await until("own edit", () => seen.heard.length === 2);
  const { message } = await bob("chat.sendMessage", { message: { rid: ROOM, msg: "from bob" } });
  await until("bob's message", () => seen.heard.length === 3);
  await sdk.rest.post("/v1/chat.react", { messageId: message._id, emoji: ":eyes:", shouldReact: true });
  await until("the reaction", () => seen.reactions);
  seen.rest = (await sdk.rest.get("/v1/me")).username;
};

main().then(
  () => {
    process.stdout.write(`${JSON.stringify(seen)}\n`, () => process.exit(0));
  },
  (error) => {
    process.stderr.write(`${error.stack || JSON.stringify(error)}\n`, () => process.exit(1));
  },
);
