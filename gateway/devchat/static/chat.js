// The devchat page. It talks to the same REST and realtime doors as every other client and knows no private way in.

const KEPT_SESSION = "devchat.session";
const HISTORY_COUNT = 50;
const CALL_TIMEOUT_MS = 15_000;
const TYPING_RENEW_MS = 5_000;
const TYPING_LIFETIME_MS = 15_000;
const READ_PAUSE_MS = 2_000;
const GROUP_GAP_MS = 5 * 60_000;
const BOTTOM_SLACK_PX = 48;
const QUICK_REACTIONS = ["eyes", "white_check_mark", "x", "octagonal_sign", "repeat", "pushpin", "thumbsup", "thumbsdown", "heart", "tada", "joy", "thinking"];
const ID_SIGNS = "23456789ABCDEFGHJKLMNPQRSTWXYZabcdefghijkmnopqrstuvwxyz";
const FAMILY = { c: "channels", p: "groups", d: "im" };
const ADDRESS = { c: "channel", p: "group", d: "direct" };
const SECTIONS = [["c", "Channels"], ["p", "Private rooms"], ["d", "Direct messages"]];
const SYSTEM_TEXTS = {
  uj: () => "joined the room",
  ul: () => "left the room",
  au: (message) => `added ${message.msg}`,
  ru: (message) => `removed ${message.msg}`,
  r: (message) => `renamed the room to ${message.msg}`,
  rm: () => "removed a message",
  message_pinned: (message) => `pinned a message: ${shorten(message.attachments?.[0]?.text ?? "", 80)}`,
  room_changed_topic: (message) => `set the topic: ${message.msg}`,
  room_changed_announcement: (message) => `set the announcement: ${message.msg}`,
  room_changed_description: (message) => `set the description: ${message.msg}`,
  "subscription-role-added": (message) => `made ${message.msg} ${message.role}`,
  "subscription-role-removed": (message) => `took the role ${message.role} from ${message.msg}`,
  "room-set-read-only": () => "made the room read only",
  "room-removed-read-only": () => "made the room writable",
  "room-archived": () => "archived the room",
  "room-unarchived": () => "reopened the room",
  "user-muted": (message) => `muted ${message.msg}`,
  "user-unmuted": (message) => `unmuted ${message.msg}`,
};

const state = { me: null, token: "", rooms: new Map(), room: null, thread: null, emoji: {}, people: new Map(), hasOlder: false };
const find = (id) => document.getElementById(id);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const shorten = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);
const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(17)), (value) => ID_SIGNS[value % ID_SIGNS.length]).join("");
const momentOf = (value) => (value && typeof value === "object" ? value.$date : Date.parse(value));

function make(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(options)) {
    if (value === undefined || value === null) continue;
    if (key === "class") node.className = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key in node && key !== "list") node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

function alertUser(text) {
  const note = make("p", {}, text);
  find("alerts").append(note);
  setTimeout(() => note.remove(), 8_000);
}

// ---------------------------------------------------------------- REST

async function rest(method, route, { body, form, query, headers = {} } = {}) {
  const search = query ? `?${new URLSearchParams(query)}` : "";
  const options = { method, headers: { ...headers } };
  if (state.token) Object.assign(options.headers, { "X-Auth-Token": state.token, "X-User-Id": state.me._id });
  if (body) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  } else if (form) {
    options.body = form;
  }
  const response = await fetch(`/api/v1/${route}${search}`, options);
  const answer = await response.json().catch(() => ({}));
  if (!response.ok || answer.success === false) throw new Error(answer.error || answer.message || `HTTP ${response.status}`);
  return answer;
}

// ---------------------------------------------------------------- realtime

class Link {
  // One realtime connection. Comes back by itself and subscribes again; `onReady` runs after each login.
  constructor({ onEvent, onReady, onState, onRefused }) {
    Object.assign(this, { onEvent, onReady, onState, onRefused });
    this.wanted = new Map();
    this.pending = new Map();
    this.number = 0;
    this.tries = 0;
    this.isClosed = false;
  }

  open() {
    this.onState("connecting");
    this.socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/websocket`);
    this.socket.onopen = () => this.send({ msg: "connect", version: "1", support: ["1"] });
    this.socket.onmessage = ({ data }) => this.receive(JSON.parse(data));
    this.socket.onclose = () => this.lost();
  }

  close() {
    this.isClosed = true;
    this.socket?.close(1000);
  }

  send(frame) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(frame));
  }

  call(method, ...params) {
    const id = `m${(this.number += 1)}`;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.settle(id, { error: { reason: "The server did not answer." } }), CALL_TIMEOUT_MS);
      this.pending.set(id, { resolve, reject, timer });
      if (this.socket?.readyState !== WebSocket.OPEN) this.settle(id, { error: { reason: "There is no connection just now." } });
      else this.send({ msg: "method", method, id, params });
    });
  }

  settle(id, { result, error }) {
    const waiting = this.pending.get(id);
    if (!waiting) return;
    clearTimeout(waiting.timer);
    this.pending.delete(id);
    if (error) waiting.reject(new Error(error.reason || error.message || String(error.error)));
    else waiting.resolve(result);
  }

  listen(stream, event) {
    const key = `${stream}|${event}`;
    if (this.wanted.has(key)) return;
    this.wanted.set(key, null);
    this.subscribe(key);
  }

  forget(stream, event) {
    const key = `${stream}|${event}`;
    const id = this.wanted.get(key);
    this.wanted.delete(key);
    if (id) this.send({ msg: "unsub", id });
  }

  subscribe(key) {
    const id = `s${(this.number += 1)}`;
    const [stream, event] = key.split("|");
    this.wanted.set(key, id);
    this.send({ msg: "sub", id, name: `stream-${stream}`, params: [event, { useCollection: false, args: [] }] });
  }

  receive(frame) {
    switch (frame.msg) {
      case "connected":
        this.logIn();
        break;
      case "ping":
        this.send(frame.id ? { msg: "pong", id: frame.id } : { msg: "pong" });
        break;
      case "result":
        this.settle(frame.id, frame);
        break;
      case "changed":
        if (frame.collection?.startsWith("stream-")) this.onEvent(frame.collection.slice(7), frame.fields.eventName, frame.fields.args);
        break;
      default:
    }
  }

  async logIn() {
    try {
      await this.call("login", { resume: state.token });
    } catch (error) {
      this.close();
      this.onRefused(error);
      return;
    }
    this.tries = 0;
    for (const key of this.wanted.keys()) this.subscribe(key);
    this.onState("online");
    await this.onReady();
  }

  async lost() {
    for (const id of [...this.pending.keys()]) this.settle(id, { error: { reason: "The connection was lost." } });
    if (this.isClosed) return;
    this.onState("offline");
    this.tries += 1;
    await pause(Math.min(500 * 2 ** this.tries, 15_000) * (0.5 + Math.random() / 2));
    if (!this.isClosed) this.open();
  }
}

let link = null;

// ---------------------------------------------------------------- text to nodes; never markup from text

const INLINE = new RegExp(
  [
    "`(?<code>[^`\\n]+)`",
    "\\[(?<label>[^\\]\\n]*)\\]\\((?<target>[^()\\s]+)\\)",
    "<(?<angle>https?://[^|>\\s]+)\\|(?<angleLabel>[^>\\n]+)>",
    "(?<url>https?://[^\\s<>]+)",
    "\\*\\*(?<bold2>[^*\\n]+)\\*\\*",
    "\\*(?<bold>[^*\\s](?:[^*\\n]*[^*\\s])?)\\*",
    "__(?<italic2>[^_\\n]+)__",
    "(?<![A-Za-z0-9])_(?<italic>[^_\\s](?:[^_\\n]*[^_\\s])?)_(?![A-Za-z0-9])",
    "~~?(?<strike>[^~\\s](?:[^~\\n]*[^~\\s])?)~~?",
    "(?<![A-Za-z0-9@.])@(?<user>[0-9A-Za-z][0-9A-Za-z._-]*)",
    "(?<![A-Za-z0-9#&/])#(?<room>[0-9A-Za-z][0-9A-Za-z._-]*)",
    ":(?<emoji>[a-z0-9_+-]+):",
  ].join("|"),
  "gu",
);

function inline(text, context, depth = 0) {
  const nodes = [];
  let position = 0;
  for (const match of text.matchAll(INLINE)) {
    const node = inlineNode(match, context, depth);
    if (!node) continue;
    if (match.index > position) nodes.push(text.slice(position, match.index));
    nodes.push(...[node].flat());
    position = match.index + match[0].length;
  }
  if (position < text.length) nodes.push(text.slice(position));
  return nodes;
}

function inlineNode({ groups: part }, context, depth) {
  const inner = (text) => (depth < 4 ? inline(text, context, depth + 1) : [text]);
  if (part.code !== undefined) return make("code", {}, part.code);
  if (part.target !== undefined) return anchor(part.target, part.label.trim() ? inner(part.label) : null);
  if (part.angle !== undefined) return anchor(part.angle, [part.angleLabel]);
  if (part.url !== undefined) {
    const url = part.url.replace(/[.,;:!?)\]'"]+$/, "");
    return [anchor(url, [url]), part.url.slice(url.length)];
  }
  const bold = part.bold2 ?? part.bold;
  if (bold !== undefined) return make("strong", {}, ...inner(bold));
  const italic = part.italic2 ?? part.italic;
  if (italic !== undefined) return make("em", {}, ...inner(italic));
  if (part.strike !== undefined) return make("del", {}, ...inner(part.strike));
  if (part.user !== undefined) return mention(part.user, context);
  if (part.room !== undefined) return roomMention(part.room, context);
  return state.emoji[part.emoji] ? make("span", { title: `:${part.emoji}:` }, state.emoji[part.emoji]) : null;
}

function anchor(target, label) {
  let url;
  try {
    url = new URL(target, location.origin);
  } catch {
    return null;
  }
  if (!["http:", "https:", "mailto:"].includes(url.protocol)) return null;
  // A link without a label is how a message is quoted; the quote itself is shown below.
  if (label === null) return make("span");
  return make("a", { href: url.href, target: "_blank", rel: "noopener noreferrer" }, ...label);
}

function mention(name, { mentions = [] }) {
  for (let known = name; known; known = known.slice(0, -1)) {
    const hit = mentions.find((each) => each.username === known);
    if (hit) {
      const isOwn = [state.me.username, "all", "here"].includes(known);
      return [make("span", { class: isOwn ? "mention own" : "mention", title: hit.name ?? known }, `@${known}`), name.slice(known.length)];
    }
    if (!/[._-]$/.test(known)) return null;
  }
  return null;
}

function roomMention(name, { channels = [] }) {
  const hit = channels.find((each) => each.name === name);
  return hit ? make("span", { class: "mention" }, `#${name}`) : null;
}

function blocks(text, context) {
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  const nodes = [];
  let paragraph = [];
  const flush = () => {
    if (paragraph.join("").trim()) nodes.push(make("p", {}, ...inline(paragraph.join("\n").replace(/^\n+|\n+$/g, ""), context)));
    paragraph = [];
  };
  for (let index = 0; index < lines.length; ) {
    const taken = fence(lines, index) ?? quote(lines, index, context) ?? list(lines, index, context) ?? table(lines, index, context) ?? heading(lines[index], context);
    if (taken) {
      flush();
      nodes.push(taken.node);
      index += taken.lines;
    } else {
      if (lines[index].trim()) paragraph.push(lines[index]);
      else flush();
      index += 1;
    }
  }
  flush();
  return nodes;
}

function fence(lines, start) {
  const opening = /^```([^`]*)$/.exec(lines[start]);
  if (!opening) return null;
  const end = lines.findIndex((line, index) => index > start && /^```\s*$/.test(line));
  if (end < 0) return null;
  const code = make("code", {}, lines.slice(start + 1, end).join("\n"));
  return { node: make("pre", { tabIndex: 0, "aria-label": opening[1].trim() ? `Code, ${opening[1].trim()}` : "Code" }, code), lines: end - start + 1 };
}

function quote(lines, start, context) {
  const taken = takeWhile(lines, start, /^> ?(.*)$/);
  if (!taken.length) return null;
  const inside = taken.map((match) => make("p", {}, ...inline(match[1], context)));
  return { node: make("blockquote", {}, ...inside), lines: taken.length };
}

function list(lines, start, context) {
  const bullets = takeWhile(lines, start, /^[-*] +(.*)$/);
  if (bullets.length) {
    const items = bullets.map(([, text]) => make("li", {}, ...taskOrText(text, context)));
    const isTaskList = bullets.every(([, text]) => TASK.test(text));
    return { node: make("ul", { class: isTaskList ? "tasks" : null }, ...items), lines: bullets.length };
  }
  const numbered = takeWhile(lines, start, /^(\d{1,6})\. +(.*)$/);
  if (!numbered.length) return null;
  const items = numbered.map(([, , text]) => make("li", {}, ...inline(text, context)));
  return { node: make("ol", { start: Number(numbered[0][1]) }, ...items), lines: numbered.length };
}

const RULE = /^\s*\|?(\s*:?-+:?\s*\|)+\s*(:?-+:?\s*)?$/;

// Known since Rocket.Chat 8.8; a client before that shows the bars.
function table(lines, start, context) {
  if (!lines[start].includes("|") || !RULE.test(lines[start + 1] ?? "")) return null;
  const sides = cells(lines[start + 1]).map((mark) => (mark.endsWith(":") ? (mark.startsWith(":") ? "center" : "right") : null));
  const row = (kind, line) => make("tr", {}, ...sides.map((side, index) => make(kind, { class: side }, ...inline(cells(line)[index] ?? "", context))));
  let end = start + 2;
  while (lines[end]?.includes("|")) end += 1;
  const head = make("thead", {}, row("th", lines[start]));
  const body = make("tbody", {}, ...lines.slice(start + 2, end).map((line) => row("td", line)));
  return { node: make("div", { class: "table", tabIndex: 0, role: "region", ariaLabel: "Table" }, make("table", {}, head, body)), lines: end - start };
}

function cells(line) {
  const inside = line.trim().replace(/^\|/, "").replace(/(?<!\\)\|$/, "");
  // A bar within code or behind a backslash is a sign like others.
  return inside.match(/(?:`[^`]*`|\\.|[^|])+|(?<=\|)(?=\|)/g)?.map((cell) => cell.replaceAll("\\|", "|").trim()) ?? [];
}

const TASK = /^\[([ xX])\] +(.*)$/;

function taskOrText(text, context) {
  const task = TASK.exec(text);
  return task ? [task[1] === " " ? "☐ " : "☑ ", ...inline(task[2], context)] : inline(text, context);
}

function heading(line, context) {
  const match = /^(#{1,4}) +(.+)$/.exec(line);
  return match ? { node: make(`h${match[1].length + 2}`, {}, ...inline(match[2], context)), lines: 1 } : null;
}

function takeWhile(lines, start, pattern) {
  const taken = [];
  for (let index = start; index < lines.length; index += 1) {
    const match = pattern.exec(lines[index]);
    if (!match) break;
    taken.push(match);
  }
  return taken;
}

// ---------------------------------------------------------------- message lists

class MessageList {
  // Rows in order of time. Whoever is at the bottom stays there while text grows; whoever reads above is not moved.
  constructor(scroller, list, { inThread }) {
    Object.assign(this, { scroller, list, inThread });
    this.rows = new Map();
    this.isStuck = true;
    this.top = 0;
    this.onArrival = () => {};
    scroller.addEventListener("scroll", () => this.noteScroll(), { passive: true });
    const keepBottom = new ResizeObserver(() => this.isStuck && this.toBottom());
    keepBottom.observe(list);
    keepBottom.observe(scroller);
  }

  noteScroll() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    const isAtEnd = scrollHeight - scrollTop - clientHeight < BOTTOM_SLACK_PX;
    if (this.isStuck && !isAtEnd && scrollTop >= this.top) {
      // The browser's own scroll, because text has grown or gone: nobody has turned a wheel, which would go up.
      this.toBottom();
      return;
    }
    this.isStuck = isAtEnd;
    this.top = scrollTop;
    this.onArrival(this.isStuck ? null : undefined);
  }

  toBottom() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.top = this.scroller.scrollTop;
  }

  clear() {
    this.rows.clear();
    this.list.replaceChildren();
    this.isStuck = true;
  }

  messages() {
    return [...this.rows.values()].map((row) => row.message).sort((one, other) => momentOf(one.ts) - momentOf(other.ts));
  }

  upsert(message) {
    const held = this.rows.get(message._id);
    if (held) {
      held.message = message;
      fillRow(held, this.inThread);
      return false;
    }
    const row = buildRow(message, this.inThread);
    this.rows.set(message._id, row);
    this.list.insertBefore(row.node, this.firstLaterThan(momentOf(message.ts)));
    fillRow(row, this.inThread);
    this.group(row.node);
    this.group(row.node.nextElementSibling);
    return true;
  }

  prepend(messages) {
    const { scrollHeight, scrollTop } = this.scroller;
    for (const message of messages) this.upsert(message);
    this.scroller.scrollTop = scrollTop + this.scroller.scrollHeight - scrollHeight;
  }

  remove(id) {
    const row = this.rows.get(id);
    if (!row) return;
    const next = row.node.nextElementSibling;
    row.node.remove();
    this.rows.delete(id);
    this.group(next);
  }

  firstLaterThan(moment) {
    let later = null;
    for (let node = this.list.lastElementChild; node && Number(node.dataset.ts) > moment; node = node.previousElementSibling) later = node;
    return later;
  }

  // A day's first message carries the day; close messages of one author share the head.
  group(node) {
    if (!node) return;
    const previous = node.previousElementSibling;
    const [moment, before] = [Number(node.dataset.ts), Number(previous?.dataset.ts ?? 0)];
    const isNewDay = new Date(moment).toDateString() !== new Date(before).toDateString();
    node.querySelector(":scope > .day")?.remove();
    if (isNewDay && !this.inThread) {
      const day = new Date(moment).toLocaleDateString(undefined, { weekday: "long", day: "numeric", month: "long" });
      node.prepend(make("div", { class: "day" }, day));
    }
    const shares = !isNewDay && previous?.dataset.author === node.dataset.author && moment - before < GROUP_GAP_MS;
    node.querySelector(".message").classList.toggle("grouped", Boolean(shares) && node.dataset.author !== "");
  }
}

function buildRow(message, inThread) {
  const isSystem = Boolean(message.t && message.t !== "e2e");
  const moment = momentOf(message.ts);
  const article = make("article", { class: isSystem ? "message system" : "message" });
  const node = make("li", { "data-ts": moment, "data-id": message._id, "data-author": isSystem ? "" : message.u._id + (message.alias ?? "") }, article);
  const row = { node, article, message, parts: null };
  if (!isSystem) buildParts(row, inThread);
  return row;
}

function buildParts(row, inThread) {
  const { message, article } = row;
  const name = message.alias || message.u.name || message.u.username;
  const time = new Date(momentOf(message.ts));
  const head = make(
    "header",
    { class: "message-head" },
    make("strong", {}, name),
    make("span", { class: "user-name" }, `@${message.u.username}`),
    make("time", { dateTime: time.toISOString(), title: time.toLocaleString() }, time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })),
  );
  if (message.bot) head.append(make("span", { class: "role-sign" }, "integration"));
  const body = make("div", { class: "body" });
  const files = make("div", { class: "files" });
  const below = make("div", { class: "below" });
  const main = make("div", { class: "message-main" }, body, files, below);
  const acts = buildActs(row, inThread);
  const more = make("button", { type: "button", class: "more-acts", "aria-label": `Acts for the message of ${name}`, onclick: () => acts.classList.toggle("open") }, "⋯");
  const avatar = make("img", { class: "avatar", src: message.avatar?.startsWith("/") ? message.avatar : `/avatar/${encodeURIComponent(message.u.username)}`, alt: "", width: 36, height: 36 });
  article.append(avatar, head, main, more, acts);
  row.parts = { body, files, below, acts };
}

function buildActs(row, inThread) {
  const { message } = row;
  const isOwn = message.u._id === state.me._id;
  const act = (label, text, onclick) => make("button", { type: "button", "aria-label": label, title: label, onclick }, text);
  const acts = make("div", { class: "acts", role: "group", "aria-label": "Acts for this message" });
  acts.append(act("Add a reaction", "☺", () => togglePicker(row)));
  if (!inThread) acts.append(act("Reply in a thread", "Reply", () => openThread(row.message.tmid ?? row.message._id)));
  if (isOwn) acts.append(act("Edit this message", "Edit", () => composerFor(inThread).edit(row.message)));
  if (isOwn) acts.append(act("Delete this message", "Delete", () => askToDelete(row.message)));
  return acts;
}

function fillRow(row, inThread) {
  const { message, article, parts } = row;
  if (!parts || message.t === "rm") {
    const text = message.t === "rm" ? "removed this message" : (SYSTEM_TEXTS[message.t]?.(message) ?? message.t);
    article.className = "message system";
    article.replaceChildren(make("strong", {}, message.u.username), ` ${text}`);
    row.parts = null;
    return;
  }
  parts.body.replaceChildren(...blocks(message.msg, message));
  if (message.editedAt) (parts.body.lastElementChild?.tagName === "P" ? parts.body.lastElementChild : parts.body).append(make("span", { class: "edited" }, " (edited)"));
  parts.files.replaceChildren(...(message.attachments ?? []).map(attachment));
  parts.below.replaceChildren(...reactions(message), ...threadLink(message, inThread));
}

function attachment(part) {
  if (part.message_link || (part.author_name && part.text)) {
    return make("blockquote", { class: "quote" }, make("strong", {}, part.author_name ?? ""), ...blocks(part.text ?? "", {}));
  }
  const href = part.title_link ?? part.image_url;
  if (!href?.startsWith("/file-upload/")) return make("div", { class: "quote" }, part.title ?? "", ...blocks(part.text ?? "", {}));
  const note = part.description ? make("p", {}, part.description) : "";
  const fileLink = make("a", { class: "file", href, target: "_blank", rel: "noopener" }, `📄 ${part.title ?? "file"}`);
  if (!part.image_url) return make("div", {}, note, fileLink);
  const picture = make("img", { class: "picture", src: href, alt: part.title ?? "picture", loading: "lazy" });
  return make("div", {}, note, make("a", { href, target: "_blank", rel: "noopener" }, picture));
}

function reactions(message) {
  return Object.entries(message.reactions ?? {}).map(([shortcode, { usernames }]) => {
    const name = shortcode.replaceAll(":", "");
    const isOwn = usernames.includes(state.me.username);
    const shown = `${state.emoji[name] ?? shortcode} ${usernames.length}`;
    const label = `${shown}, ${name.replaceAll("_", " ")}: ${usernames.join(", ")}. ${isOwn ? "Take yours away" : "Add yours"}`;
    const onclick = () => react(message, name, !isOwn);
    return make("button", { type: "button", class: "reaction", "aria-pressed": String(isOwn), "aria-label": label, title: usernames.join(", "), onclick }, shown);
  });
}

function threadLink(message, inThread) {
  if (inThread) return [];
  const open = (id) => () => openThread(id);
  if (message.tcount) return [make("button", { type: "button", class: "thread-link", onclick: open(message._id) }, message.tcount === 1 ? "1 reply" : `${message.tcount} replies`)];
  if (message.tmid) return [make("button", { type: "button", class: "thread-link", onclick: open(message.tmid) }, "in a thread")];
  return [];
}

let openPicker = null;

function closePicker() {
  openPicker?.remove();
  openPicker = null;
}

function togglePicker(row) {
  const isOpenHere = openPicker?.parentElement === row.article;
  closePicker();
  if (isOpenHere) return;
  const choose = (name) => () => {
    closePicker();
    row.parts?.acts.classList.remove("open");
    react(row.message, name, true);
  };
  const signs = QUICK_REACTIONS.map((name) => make("button", { type: "button", "aria-label": name.replaceAll("_", " "), title: name, onclick: choose(name) }, state.emoji[name] ?? name));
  openPicker = make("div", { class: "picker", role: "group", "aria-label": "Choose a reaction" }, ...signs);
  row.article.append(openPicker);
  const room = row.article.closest(".scroll").getBoundingClientRect();
  openPicker.classList.toggle("above", openPicker.getBoundingClientRect().bottom > room.bottom);
  signs[0].focus();
}

const react = (message, name, isWanted) => link.call("setReaction", `:${name}:`, message._id, isWanted).catch((error) => alertUser(`The reaction was refused: ${error.message}`));

function askToDelete(message) {
  find("delete-text").textContent = shorten(message.msg || message.file?.name || "", 300);
  openDialog("delete-dialog", () => link.call("deleteMessage", { _id: message._id }));
}

// ---------------------------------------------------------------- composers

class Composer {
  constructor(form, { label, placeOf }) {
    Object.assign(this, { form, placeOf, editing: null, typedAt: 0, choice: 0, candidates: [] });
    this.typing = make("p", { class: "typing", "aria-live": "polite" });
    this.text = make("textarea", { rows: 1, placeholder: label, "aria-label": label, "aria-autocomplete": "list", "aria-controls": `${form.id}-names` });
    this.names = make("ul", { id: `${form.id}-names`, role: "listbox", "aria-label": "People", hidden: true });
    this.editingText = make("span");
    this.editingBar = make("div", { class: "editing", hidden: true }, this.editingText, make("button", { type: "button", class: "quiet", onclick: () => this.stopEditing() }, "Cancel"));
    this.file = make("input", { type: "file", hidden: true, onchange: () => this.upload([...this.file.files]) });
    const attach = make("button", { type: "button", "aria-label": "Attach a file", title: "Attach a file", onclick: () => this.file.click() }, "📎");
    const send = make("button", { type: "submit", class: "primary" }, "Send");
    form.replaceChildren(this.typing, this.editingBar, make("div", { class: "suggestions" }, this.names), make("div", { class: "composer-box" }, this.text, attach, send), this.file);
    form.addEventListener("submit", (event) => this.submit(event));
    this.text.addEventListener("keydown", (event) => this.key(event));
    this.text.addEventListener("input", () => this.changed());
    this.text.addEventListener("blur", () => setTimeout(() => this.suggest([]), 150));
    this.text.addEventListener("paste", (event) => event.clipboardData.files.length && this.upload([...event.clipboardData.files]));
  }

  reset() {
    this.stopEditing();
    this.text.value = "";
    this.fit();
    this.showTyping([]);
  }

  fit() {
    this.text.style.height = "auto";
    this.text.style.height = `${this.text.scrollHeight + 2}px`;
  }

  changed() {
    this.fit();
    this.complete();
    if (!this.text.value.trim()) this.stopTyping();
    else if (Date.now() - this.typedAt > TYPING_RENEW_MS) {
      this.typedAt = Date.now();
      this.sayTyping(["user-typing"]);
    }
  }

  sayTyping(activities) {
    const { rid, tmid } = this.placeOf();
    if (rid) link.call("stream-notify-room", `${rid}/user-activity`, state.me.username, activities, tmid ? { tmid } : {}).catch(() => {});
  }

  stopTyping() {
    if (this.typedAt) this.sayTyping([]);
    this.typedAt = 0;
  }

  showTyping(names) {
    const text = names.length > 2 ? `${names.length} people are typing…` : names.length === 2 ? `${names.join(" and ")} are typing…` : names.length ? `${names[0]} is typing…` : "";
    if (this.typing.textContent !== text) this.typing.textContent = text;
  }

  key(event) {
    if (this.candidates.length && ["ArrowDown", "ArrowUp", "Enter", "Tab", "Escape"].includes(event.key)) {
      event.preventDefault();
      event.stopPropagation();
      this.chooseBy(event.key);
    } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.form.requestSubmit();
    } else if (event.key === "Escape" && this.editing) {
      event.stopPropagation();
      this.stopEditing();
    } else if (event.key === "ArrowUp" && !this.text.value && !this.editing) {
      const own = listFor(this === threadComposer).messages().findLast((message) => message.u._id === state.me._id && !message.t);
      if (own) {
        event.preventDefault();
        this.edit(own);
      }
    }
  }

  edit(message) {
    this.editing = message;
    this.editingText.textContent = "Editing your message";
    this.editingBar.hidden = false;
    this.text.value = message.msg;
    this.fit();
    this.text.focus();
  }

  stopEditing() {
    if (this.editing) this.text.value = "";
    this.editing = null;
    this.editingBar.hidden = true;
    this.fit();
  }

  async submit(event) {
    event.preventDefault();
    const text = this.text.value;
    const { rid, tmid } = this.placeOf();
    if (!text.trim() || !rid) return;
    const edited = this.editing;
    this.editing = null;
    this.editingBar.hidden = true;
    this.text.value = "";
    this.fit();
    this.stopTyping();
    listFor(Boolean(tmid)).isStuck = true;
    try {
      if (edited) await link.call("updateMessage", { _id: edited._id, rid, msg: text });
      else if (!(await link.call("sendMessage", { _id: newId(), rid, msg: text, ...(tmid && { tmid }) }))) this.giveBack(text);
    } catch (error) {
      alertUser(`Not sent: ${error.message}`);
      this.giveBack(text);
    }
  }

  giveBack(text) {
    if (!this.text.value) this.text.value = text;
    this.fit();
  }

  async upload(files) {
    const { rid, tmid } = this.placeOf();
    this.file.value = "";
    for (const file of files) {
      const form = new FormData();
      form.append("file", file);
      try {
        const kept = await rest("POST", `rooms.media/${rid}`, { form });
        await rest("POST", `rooms.mediaConfirm/${rid}/${kept.file._id}`, { body: { msg: "", ...(tmid && { tmid }) } });
      } catch (error) {
        alertUser(`${file.name} was not uploaded: ${error.message}`);
      }
    }
  }

  async complete() {
    const before = this.text.value.slice(0, this.text.selectionStart);
    const match = /(?:^|[\s(])@([0-9A-Za-z._-]*)$/.exec(before);
    if (!match) return this.suggest([]);
    const people = await peopleOf(this.placeOf().rid);
    const start = match[1].toLowerCase();
    return this.suggest(people.filter((user) => user.username.toLowerCase().startsWith(start) || user.name?.toLowerCase().startsWith(start)).slice(0, 6));
  }

  suggest(candidates, choice = 0) {
    Object.assign(this, { candidates, choice });
    this.names.hidden = !candidates.length;
    this.names.replaceChildren(
      ...candidates.map((user, index) =>
        make("li", { id: `${this.names.id}-${index}`, role: "option", "aria-selected": String(index === choice), onmousedown: (event) => (event.preventDefault(), this.insert(user)) }, make("strong", {}, `@${user.username}`), make("span", {}, user.name ?? "")),
      ),
    );
    if (candidates.length) this.text.setAttribute("aria-activedescendant", `${this.names.id}-${choice}`);
    else this.text.removeAttribute("aria-activedescendant");
  }

  chooseBy(key) {
    const count = this.candidates.length;
    if (key === "ArrowDown") this.suggest(this.candidates, (this.choice + 1) % count);
    else if (key === "ArrowUp") this.suggest(this.candidates, (this.choice + count - 1) % count);
    else if (key === "Escape") this.suggest([]);
    else this.insert(this.candidates[this.choice]);
  }

  insert(user) {
    const end = this.text.selectionStart;
    const before = this.text.value.slice(0, end).replace(/@[0-9A-Za-z._-]*$/, `@${user.username} `);
    this.text.value = before + this.text.value.slice(end);
    this.text.setSelectionRange(before.length, before.length);
    this.suggest([]);
    this.fit();
  }
}

async function peopleOf(rid) {
  const room = state.rooms.get(rid);
  if (!room) return [];
  if (!state.people.has(rid)) {
    const asked = rest("GET", `${FAMILY[room.t]}.members`, { query: { roomId: rid, count: 100 } }).then(({ members }) => members);
    state.people.set(rid, asked);
    asked.catch(() => state.people.delete(rid));
  }
  return state.people.get(rid).catch(() => []);
}

const roomList = new MessageList(find("room-scroll"), find("room-messages"), { inThread: false });
const threadList = new MessageList(find("thread-scroll"), find("thread-messages"), { inThread: true });
const roomComposer = new Composer(find("room-composer"), { label: "Write a message", placeOf: () => ({ rid: state.room }) });
const threadComposer = new Composer(find("thread-composer"), { label: "Reply in the thread", placeOf: () => ({ rid: state.room, tmid: state.thread }) });
const listFor = (inThread) => (inThread ? threadList : roomList);
const composerFor = (inThread) => (inThread ? threadComposer : roomComposer);

roomList.onArrival = (message) => {
  if (message === null) find("jump-down").hidden = true;
  else if (message && !roomList.isStuck) find("jump-down").hidden = false;
};

// ---------------------------------------------------------------- rooms

function showRooms() {
  const known = [...state.rooms.values()].sort((one, other) => nameOf(one).localeCompare(nameOf(other)));
  const sections = SECTIONS.flatMap(([kind, title]) => {
    const rooms = known.filter((room) => room.t === kind && room.open !== false);
    if (!rooms.length) return [];
    return [make("section", { "aria-label": title }, make("h2", {}, title), make("ul", {}, ...rooms.map(roomItem)))];
  });
  const focused = document.activeElement?.dataset?.rid;
  find("room-sections").replaceChildren(...sections);
  if (focused) document.querySelector(`.room-link[data-rid="${CSS.escape(focused)}"]`)?.focus();
  const unread = known.reduce((sum, room) => sum + (room.unread ?? 0), 0);
  document.title = `${unread ? `(${unread}) ` : ""}${state.room ? nameOf(state.rooms.get(state.room) ?? {}) : "devchat"} · devchat`;
}

const nameOf = (room) => (room.t === "d" ? room.fname || room.name : room.name) || "room";

function roomItem(room) {
  const isCurrent = room.rid === state.room;
  const sign = room.t === "d" ? make("img", { src: `/avatar/${encodeURIComponent(room.name.split(",")[0])}`, alt: "", width: 20, height: 20 }) : make("span", { class: "sign", "aria-hidden": "true" }, room.t === "p" ? "🔒" : "#");
  const button = make("button", { type: "button", class: room.alert && !isCurrent ? "room-link alerted" : "room-link", "data-rid": room.rid, onclick: () => openRoom(room.rid) }, sign, make("span", { class: "name" }, nameOf(room)));
  if (isCurrent) button.setAttribute("aria-current", "true");
  if (room.unread && !isCurrent) button.append(make("span", { class: "badge", "aria-label": `${room.unread} unread` }, String(room.unread)));
  return make("li", {}, button);
}

async function openRoom(rid) {
  const room = state.rooms.get(rid);
  find("chat-view").dataset.pane = "room";
  if (!room || (rid === state.room && find("room-messages").childElementCount)) return;
  if (state.room) for (const event of ["user-activity", "deleteMessage"]) link.forget("notify-room", `${state.room}/${event}`);
  closeThread();
  state.room = rid;
  for (const event of ["user-activity", "deleteMessage"]) link.listen("notify-room", `${rid}/${event}`);
  typists.clear();
  roomList.clear();
  roomComposer.reset();
  find("room-name").textContent = room.t === "c" ? `#${nameOf(room)}` : nameOf(room);
  find("room-topic").textContent = "";
  find("room-composer").hidden = false;
  find("show-members").hidden = room.t === "d";
  find("jump-down").hidden = true;
  const address = room.t === "d" ? rid : room.name;
  history.replaceState(null, "", `/${ADDRESS[room.t]}/${encodeURIComponent(address)}`);
  showRooms();
  await loadRoom();
  if (matchMedia("(hover: hover)").matches) roomComposer.text.focus();
}

async function loadRoom() {
  const rid = state.room;
  try {
    const [{ messages }, rooms] = await Promise.all([link.call("loadHistory", rid, null, HISTORY_COUNT), link.call("rooms/get")]);
    if (rid !== state.room) return;
    for (const id of [...roomList.rows.keys()]) if (!messages.some((message) => message._id === id) && !roomList.rows.get(id).isOld) roomList.remove(id);
    for (const message of messages.toReversed()) if (belongsInRoom(message)) roomList.upsert(message);
    find("load-older").hidden = messages.length < HISTORY_COUNT;
    find("room-topic").textContent = rooms.find((room) => room._id === rid)?.topic ?? "";
    noteEmpty();
    markRead();
  } catch (error) {
    alertUser(`The room could not be loaded: ${error.message}`);
  }
}

async function loadOlder() {
  const [oldest] = roomList.messages();
  const { messages } = await link.call("loadHistory", state.room, oldest ? { $date: momentOf(oldest.ts) } : null, HISTORY_COUNT);
  roomList.prepend(messages.filter(belongsInRoom));
  for (const { _id } of messages) if (roomList.rows.has(_id)) roomList.rows.get(_id).isOld = true;
  find("load-older").hidden = messages.length < HISTORY_COUNT;
}

const belongsInRoom = (message) => !message._hidden && (!message.tmid || message.tshow);

function noteEmpty() {
  const empty = find("room-empty");
  empty.hidden = roomList.rows.size > 0;
  empty.textContent = state.room ? "Nothing has been said here yet." : "Choose a room on the left.";
}

let readTimer = null;

function markRead() {
  if (!state.room || document.hidden || readTimer) return;
  const room = state.rooms.get(state.room);
  if (!room?.alert && !room?.unread) return;
  link.call("readMessages", state.room).catch(() => {});
  readTimer = setTimeout(() => {
    readTimer = null;
    markRead();
  }, READ_PAUSE_MS);
}

async function openThread(rootId) {
  state.thread = rootId;
  threadList.clear();
  threadComposer.reset();
  find("thread-pane").hidden = false;
  find("chat-view").classList.add("has-thread");
  find("thread-room").textContent = find("room-name").textContent;
  await loadThread();
  threadComposer.text.focus();
}

async function loadThread() {
  const rootId = state.thread;
  try {
    const messages = await link.call("getThreadMessages", { tmid: rootId });
    if (rootId !== state.thread) return;
    for (const message of messages) threadList.upsert(message);
  } catch (error) {
    alertUser(`The thread could not be loaded: ${error.message}`);
  }
}

function closeThread() {
  state.thread = null;
  find("thread-pane").hidden = true;
  find("chat-view").classList.remove("has-thread");
}

// ---------------------------------------------------------------- events

const typists = new Map();

function noteTyping(username, activities, extra) {
  if (username === state.me.username) return;
  if (activities?.length) typists.set(username, { until: Date.now() + TYPING_LIFETIME_MS, tmid: extra?.tmid });
  else typists.delete(username);
  showTypists();
}

function showTypists() {
  for (const [name, { until }] of typists) if (until < Date.now()) typists.delete(name);
  const all = [...typists];
  roomComposer.showTyping(all.filter(([, each]) => !each.tmid).map(([name]) => name));
  threadComposer.showTyping(all.filter(([, each]) => each.tmid && each.tmid === state.thread).map(([name]) => name));
}

function noteMessage(message) {
  if (message.rid !== state.room) return;
  if (message.tmid ? message.tmid === state.thread : message._id === state.thread) threadList.upsert(message);
  if (!belongsInRoom(message)) return;
  const isNew = roomList.upsert(message);
  noteEmpty();
  if (!isNew) return;
  roomList.onArrival(message);
  if (message.u._id !== state.me._id && !message.t) find("announcer").textContent = `${message.alias || message.u.username}: ${shorten(message.msg, 140)}`;
  markRead();
}

function noteSubscription(kind, subscription) {
  if (kind === "removed") {
    state.rooms.delete(subscription.rid);
    if (state.room === subscription.rid) leaveRoom();
  } else {
    state.rooms.set(subscription.rid, subscription);
    if (subscription.rid === state.room) markRead();
  }
  state.people.delete(subscription.rid);
  showRooms();
}

function leaveRoom() {
  closeThread();
  state.room = null;
  roomList.clear();
  find("room-composer").hidden = true;
  find("show-members").hidden = true;
  find("room-name").textContent = "Choose a room";
  find("room-topic").textContent = "";
  find("chat-view").dataset.pane = "rooms";
  noteEmpty();
}

function heard(stream, event, args) {
  const [subject, name] = event.split("/");
  if (stream === "room-messages") noteMessage(args[0]);
  else if (name === "subscriptions-changed") noteSubscription(...args);
  else if (name === "message") alertUser(args[0].msg);
  else if (name === "user-activity" && subject === state.room) noteTyping(...args);
  else if (name === "deleteMessage" && subject === state.room) {
    roomList.remove(args[0]._id);
    threadList.remove(args[0]._id);
    noteEmpty();
  }
}

// ---------------------------------------------------------------- dialogs

function openDialog(id, act) {
  const dialog = find(id);
  const form = dialog.querySelector("form");
  const error = form.querySelector(".form-error");
  if (error) error.textContent = "";
  form.onsubmit = async (event) => {
    event.preventDefault();
    try {
      if ((await act()) !== false) dialog.close();
    } catch (reason) {
      if (error) error.textContent = reason.message;
      else {
        dialog.close();
        alertUser(reason.message);
      }
    }
  };
  dialog.showModal();
}

async function createRoom() {
  const name = find("new-room-name").value.trim();
  const members = find("new-room-members").value.split(",").map((each) => each.trim().replace(/^@/, "")).filter(Boolean);
  const method = find("new-room-private").checked ? "createPrivateGroup" : "createChannel";
  const { rid } = await link.call(method, name, members);
  await loadRooms();
  await openRoom(rid);
}

async function openDirect() {
  const { rid } = await link.call("createDirectMessage", find("direct-user").value.trim().replace(/^@/, ""));
  await loadRooms();
  await openRoom(rid);
}

async function showMembers() {
  const room = state.rooms.get(state.room);
  state.people.delete(state.room);
  const people = await peopleOf(state.room);
  find("members-list").replaceChildren(
    ...people.map((user) => make("li", {}, make("img", { class: "avatar", src: `/avatar/${encodeURIComponent(user.username)}`, alt: "", width: 24, height: 24 }), make("span", {}, `${user.name ?? user.username} (@${user.username})`))),
  );
  find("invite-user").value = "";
  offerPeople("invite-users");
  openDialog("members-dialog", async () => {
    const username = find("invite-user").value.trim().replace(/^@/, "");
    if (!username) return true;
    await rest("POST", `${FAMILY[room.t]}.invite`, { body: { roomId: room.rid, usernames: [username] } });
    await showMembers();
    return false;
  });
}

async function offerPeople(id) {
  const { users } = await rest("GET", "users.list", { query: { count: 100 } }).catch(() => ({ users: [] }));
  find(id).replaceChildren(...users.filter((user) => user._id !== state.me._id).map((user) => make("option", { value: user.username }, user.name ?? "")));
}

// ---------------------------------------------------------------- in and out

async function loadRooms() {
  const subscriptions = await link.call("subscriptions/get");
  state.rooms = new Map(subscriptions.map((each) => [each.rid, each]));
  showRooms();
}

async function whenReady() {
  try {
    await loadRooms();
    if (state.room && state.rooms.has(state.room)) {
      await loadRoom();
      if (state.thread) await loadThread();
      return;
    }
    const wanted = decodeURIComponent(location.pathname.split("/")[2] ?? "");
    const room = [...state.rooms.values()].find((each) => wanted && (each.rid === wanted || each.name === wanted));
    if (room) await openRoom(room.rid);
  } catch (error) {
    alertUser(error.message);
  }
}

function showLink(name) {
  const texts = { connecting: "connecting…", online: "online", offline: "no connection, trying again…" };
  find("link-state").dataset.state = name;
  find("link-state").textContent = texts[name];
}

function enter(session) {
  state.me = session.me;
  state.token = session.token;
  const cookie = "; path=/; SameSite=Strict";
  document.cookie = `rc_uid=${state.me._id}${cookie}`;
  document.cookie = `rc_token=${state.token}${cookie}`;
  find("me-name").textContent = state.me.name || state.me.username;
  find("me-avatar").src = `/avatar/${encodeURIComponent(state.me.username)}`;
  find("login-view").hidden = true;
  find("chat-view").hidden = false;
  link = new Link({ onEvent: heard, onReady: whenReady, onState: showLink, onRefused: () => leave("You were logged out. Please log in again.") });
  link.listen("room-messages", "__my_messages__");
  for (const event of ["subscriptions-changed", "message"]) link.listen("notify-user", `${state.me._id}/${event}`);
  link.open();
}

function leave(reason = "") {
  link?.close();
  localStorage.removeItem(KEPT_SESSION);
  for (const name of ["rc_uid", "rc_token"]) document.cookie = `${name}=; path=/; max-age=0`;
  Object.assign(state, { me: null, token: "", rooms: new Map(), people: new Map() });
  leaveRoom();
  find("room-sections").replaceChildren();
  find("chat-view").hidden = true;
  find("login-view").hidden = false;
  find("login-error").textContent = reason;
  find("login-user").focus();
}

async function logIn(event) {
  event.preventDefault();
  find("login-error").textContent = "";
  const code = find("login-code").value.trim();
  const body = { user: find("login-user").value.trim(), password: find("login-password").value, ...(code && { code }) };
  try {
    const { data } = await rest("POST", "login", { body });
    find("login-password").value = "";
    const session = { token: data.authToken, me: { _id: data.me._id, username: data.me.username, name: data.me.name } };
    localStorage.setItem(KEPT_SESSION, JSON.stringify(session));
    enter(session);
  } catch (error) {
    find("code-field").hidden = error.message !== "totp-required" && find("code-field").hidden;
    const texts = { Unauthorized: "User name or password is wrong.", "totp-required": "This account wants a code as well." };
    find("login-error").textContent = texts[error.message] ?? error.message;
  }
}

async function logOut() {
  await rest("POST", "logout").catch(() => {});
  leave();
}

function wire() {
  find("login-form").addEventListener("submit", logIn);
  find("log-out").addEventListener("click", logOut);
  find("new-room").addEventListener("click", () => openDialog("room-dialog", createRoom));
  find("new-direct").addEventListener("click", () => {
    offerPeople("direct-users");
    openDialog("direct-dialog", openDirect);
  });
  find("show-members").addEventListener("click", showMembers);
  find("load-older").addEventListener("click", () => loadOlder().catch((error) => alertUser(error.message)));
  find("jump-down").addEventListener("click", () => roomList.toBottom());
  find("close-thread").addEventListener("click", closeThread);
  find("back-to-rooms").addEventListener("click", () => {
    find("chat-view").dataset.pane = "rooms";
  });
  for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
  document.addEventListener("visibilitychange", markRead);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
    if (openPicker) closePicker();
    else if (state.thread) closeThread();
  });
  document.addEventListener("click", (event) => {
    if (openPicker && !event.target.closest(".picker, .acts")) closePicker();
  });
  setInterval(showTypists, 1_000);
}

async function start() {
  wire();
  state.emoji = await fetch("/static/emoji.json").then((response) => response.json()).catch(() => ({}));
  const kept = JSON.parse(localStorage.getItem(KEPT_SESSION) ?? "null");
  if (kept) enter(kept);
  else find("login-view").hidden = false;
}

start();
