// Logs in with the official JavaScript SDK, subscribes, sends, hears, edits, reacts; prints what it saw as one JSON line.
const { Rocketchat } = require("@rocket.chat/sdk");
const Socket = require("universal-websocket-client");

const { HOST, ROOM, SDK_USER, SDK_PASSWORD, OTHER } = process.env;
const silent = { debug() {}, info() {}, warn() {}, warning() {}, error() {} };
const seen = { heard: [], reactions: null, activity: null, deleted: false };

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

const bobTypes = () =>
  new Promise((resolve, reject) => {
    const socket = new Socket(`${HOST.replace("http", "ws")}/websocket`);
    const send = (frame) => socket.send(JSON.stringify(frame));
    socket.onerror = reject;
    socket.onopen = () => {
      send({ msg: "connect", version: "1", support: ["1"] });
      send({ msg: "method", method: "login", id: "1", params: [{ resume: JSON.parse(OTHER)["X-Auth-Token"] }] });
      const params = [`${ROOM}/user-activity`, "bob", ["user-typing"], {}];
      send({ msg: "method", method: "stream-notify-room", id: "2", params });
    };
    socket.onmessage = ({ data }) => {
      if (JSON.parse(data).methods?.[0] === "2") {
        socket.close();
        resolve();
      }
    };
  });

const main = async () => {
  const client = new Rocketchat({ host: HOST, useSsl: false, protocol: "ddp", logger: silent });
  await client.connect({});
  await client.login({ username: SDK_USER, password: SDK_PASSWORD });
  await client.subscribeRoom(ROOM);
  await client.subscribe("stream-notify-room", `${ROOM}/user-activity`);
  client.onStreamData("stream-room-messages", ({ fields }) => {
    seen.heard.push(fields.args[0].msg);
    seen.reactions = fields.args[0].reactions || null;
  });
  client.onStreamData("stream-notify-room", ({ fields }) => {
    if (fields.eventName.endsWith("/user-activity")) seen.activity = fields.args.slice(0, 2);
    if (fields.eventName.endsWith("/deleteMessage")) seen.deleted = true;
  });

  const { message: own } = await client.post("chat.sendMessage", { message: { rid: ROOM, msg: "from the sdk" } });
  await until("own message", () => seen.heard.length === 1);
  await client.post("chat.update", { roomId: ROOM, msgId: own._id, text: "from the sdk, edited" });
  await until("own edit", () => seen.heard.length === 2);
  const { message } = await bob("chat.sendMessage", { message: { rid: ROOM, msg: "from bob" } });
  await until("bob's message", () => seen.heard.length === 3);
  await client.post("chat.react", { messageId: message._id, emoji: ":eyes:", shouldReact: true });
  await until("the reaction", () => seen.reactions);
  await bobTypes();
  await until("typing", () => seen.activity);
  await bob("chat.delete", { roomId: ROOM, msgId: message._id });
  await until("the deletion", () => seen.deleted);
};

main().then(
  () => {
    process.stdout.write(`${JSON.stringify(seen)}\n`, () => process.exit(0));
  },
  (error) => {
    process.stderr.write(`${error.stack || error}\n`, () => process.exit(1));
  },
);
