// Reads texts from stdin and prints, for each, the user names that Rocket.Chat's own parser finds mentioned.
const { readFileSync } = require("node:fs");

const { parse } = require(`${process.env.MODULES}/@rocket.chat/message-parser`);

const names = (node) => {
  if (Array.isArray(node)) return node.flatMap(names);
  if (!node || typeof node !== "object") return [];
  if (node.type === "MENTION_USER") return [node.value.value];
  return Object.values(node).flatMap(names);
};

const texts = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(`${JSON.stringify(texts.map((text) => names(parse(text, { colors: true, emoticons: true }))))}\n`);
