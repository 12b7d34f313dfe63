// The live console: rows and chunks as the gateway tells them. Everything shown is set as text, never as markup.
(() => {
  const page = document.getElementById("nx-console");
  if (!page) return;
  const rows = new Map();
  const output = document.getElementById("nx-output");
  const list = document.getElementById("nx-rows");
  const state = document.getElementById("nx-link-state");
  const pause = document.getElementById("nx-pause");
  const FINAL = new Set(["done", "failed", "cancelled", "interrupted", "expired", "refused"]);
  const MAX_ROWS = 60, MAX_TEXT = 200000;
  let chosen = null, socket = null, wait = 500, isHeld = false, shownSeq = 0;

  const say = (text) => { state.textContent = text; };

  function connect() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    socket = new WebSocket(`${scheme}//${location.host}${page.dataset.socket}`);
    socket.onopen = () => { wait = 500; say("live"); if (chosen) watch(chosen); };
    socket.onmessage = (event) => take(JSON.parse(event.data));
    socket.onclose = (event) => {
      if (event.code === 4401) { say("your session is over; log in again"); return; }
      say("the gateway is away; trying again…");
      setTimeout(connect, wait);
      wait = Math.min(wait * 2, 10000) * (0.8 + Math.random() * 0.4);
    };
  }

  function take(message) {
    if (message.type === "rows") {
      for (const row of message.rows) rows.set(row.id, row);
      for (const id of [...rows.keys()].sort((a, b) => b - a).slice(MAX_ROWS)) if (id !== chosen) rows.delete(id);
      if (!isHeld) draw();
    } else if (message.type === "chunks" && message.invocation === chosen) {
      for (const chunk of message.chunks) if (chunk.seq > shownSeq) { append(chunk); shownSeq = chunk.seq; }
    }
  }

  function append(chunk) {
    const isAtEnd = output.scrollHeight - output.scrollTop - output.clientHeight < 40;
    output.append(chunk.text);
    if (output.textContent.length > MAX_TEXT) output.textContent = output.textContent.slice(-MAX_TEXT / 2);
    if (isAtEnd) output.scrollTop = output.scrollHeight;
  }

  function draw() {
    const ids = [...rows.keys()].sort((a, b) => b - a);
    document.getElementById("nx-none").hidden = ids.length > 0;
    ids.forEach((id, index) => {
      let item = list.querySelector(`[data-id="${id}"]`);
      if (!item) {
        item = document.createElement("li");
        item.dataset.id = id;
        const button = document.createElement("button");
        button.type = "button";
        button.className = "nx-row";
        button.append(Object.assign(document.createElement("strong"), { className: "nx-title" }));
        button.append(Object.assign(document.createElement("span"), { className: "nx-tail" }));
        button.addEventListener("click", () => choose(id));
        item.append(button);
      }
      const row = rows.get(id);
      item.querySelector(".nx-title").textContent = `${row.state}${row.reason ? ` (${row.reason})` : ""} · ${row.agent} · ${row.room}`;
      item.querySelector(".nx-tail").textContent = `${row.asker}: ${row.question}`;
      item.querySelector("button").setAttribute("aria-pressed", String(id === chosen));
      if (list.children[index] !== item) list.insertBefore(item, list.children[index] || null);
    });
    for (const item of [...list.children]) if (!rows.has(Number(item.dataset.id))) item.remove();
    if (chosen && rows.has(chosen)) describe(rows.get(chosen));
  }

  function choose(id) {
    chosen = id;
    output.textContent = "";
    shownSeq = 0;
    watch(id);
    draw();
  }

  function watch(id) {
    if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: "watch", invocation: id, after: shownSeq }));
  }

  function describe(row) {
    document.getElementById("nx-run-state").textContent = `Invocation ${row.id}: ${row.state}${row.detail ? `, ${row.detail}` : ""}`;
    const isOver = FINAL.has(row.state);
    const key = `${row.id} ${isOver}`;
    const place = document.getElementById("nx-run-actions");
    if (place.dataset.key === key) return;
    place.dataset.key = key;
    place.replaceChildren();
    const inspect = document.createElement("a");
    inspect.className = "nx-button";
    inspect.href = page.dataset.prompt.replace("/0/", `/${row.id}/`);
    inspect.textContent = "What it saw";
    place.append(inspect);
    if (page.dataset.mayChange !== "1") return;
    const act = document.createElement("button");
    act.type = "button";
    act.className = isOver ? "nx-button" : "nx-button nx-danger";
    act.textContent = isOver ? "Ask again" : "Stop";
    act.addEventListener("click", () => send(row.id, isOver ? "retry" : "stop", act));
    place.append(act);
  }

  async function send(id, word, button) {
    button.disabled = true;
    const token = page.querySelector("[name=csrfmiddlewaretoken]").value;
    try {
      const answer = await fetch(`${page.dataset.api}invocations/${id}/${word}`, { method: "POST", headers: { "X-CSRFToken": token } });
      if (!answer.ok) say((await answer.json()).error.message);
    } catch { say("the gateway did not answer; try again"); }
    button.disabled = false;
  }

  pause.addEventListener("click", () => {
    isHeld = !isHeld;
    pause.setAttribute("aria-pressed", String(isHeld));
    if (!isHeld) draw();
  });
  connect();
})();
