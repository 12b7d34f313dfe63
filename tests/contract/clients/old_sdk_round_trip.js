// Logs in with the JavaScript SDK that most bots use (0.2), subscribes, sends, hears, edits, reacts; prints what it saw.
const { driver } = require("@rocket.chat/sdk");

const { HOST, ROOM, CLIENT_USER, CLIENT_PASSWORD, OTHER } = process.env;
const seen = { heard: [], reactions: null, meta: null, user: null };
const silent = { debug() {}, info() {}, warn() {}, warning() {}, error() {} };

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
  driver.useLog(silent);
  await driver.connect({ host: HOST.replace("http://", ""), useSsl: false });
  seen.user = await driver.login({ username: CLIENT_USER, password: CLIENT_PASSWORD });
  await driver.subscribeToMessages();
  driver.reactToMessages((error, message, meta) => {
    if (error || message.rid !== ROOM) return;
    seen.heard.push(message.msg);
    seen.reactions = message.reactions || null;
    seen.meta = { roomParticipant: meta.roomParticipant, roomType: meta.roomType };
  });
  const sent = await driver.sendToRoomId("from the sdk", ROOM);
  await until("own message", () => seen.heard.length === 1);
  await driver.asyncCall("updateMessage", { _id: sent._id, rid: ROOM, msg: "from the sdk, edited" });
  await until("own edit", () => seen.heard.length === 2);
  const { message } = await bob("chat.sendMessage", { message: { rid: ROOM, msg: "from bob" } });
  await until("bob's message", () => seen.heard.length === 3);
  await driver.asyncCall("setReaction", [":eyes:", message._id, true]);
  await until("the reaction", () => seen.reactions);
};

main().then(
  () => {
    process.stdout.write(`${JSON.stringify(seen)}\n`, () => process.exit(0));
  },
  (error) => {
    process.stderr.write(`${error.stack || JSON.stringify(error)}\n`, () => process.exit(1));
  },
);
