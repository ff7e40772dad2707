"use strict";
// A web client of the timelines: it keeps nothing but where it has read up to.

const at = (id) => document.getElementById(id);

async function call(path, body) {
  const headers = {};
  const token = at("token").value.trim();
  if (token) headers.authorization = `Bearer ${token}`;
  const response = await fetch(path, {
    method: body ? "POST" : "GET",
    headers: body ? { ...headers, "content-type": "application/json" } : headers,
    body: body && JSON.stringify(body),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(`${answer.message} (${answer.reason})`);
  return answer;
}

/** Runs one action at a time, and says below the form what became of it. */
function action(form, note, work) {
  return async (event) => {
    event?.preventDefault();
    const buttons = [...form.querySelectorAll("button")].filter((button) => !button.disabled);
    buttons.forEach((button) => (button.disabled = true));
    try {
      note.textContent = await work();
      note.classList.remove("bad");
    } catch (error) {
      note.textContent = error.message;
      note.classList.add("bad");
    }
    buttons.forEach((button) => (button.disabled = false));
    form.dispatchEvent(new Event("done"));
  };
}

/** Messages are any JSON object: what has a text is shown as people read it, the rest as it is. */
function shown(text) {
  let message;
  try {
    message = JSON.parse(text);
  } catch {
    return text;
  }
  if (typeof message?.text !== "string") return text;
  return typeof message.from === "string" ? `${message.from}: ${message.text}` : message.text;
}

function line(entry) {
  const item = document.createElement("li");
  const place = document.createElement("b");
  place.textContent = entry.sequence;
  const text = document.createElement("span");
  text.textContent = shown(entry.message);
  item.append(place, text);
  return item;
}

function name(id, what) {
  const value = at(id).value.trim();
  if (!value) throw new Error(`${what} is missing`);
  return value;
}

// Sending. The key is drawn once for what is in the form, so that pressing again after an error
// never makes two messages of one.
let key = null;
at("send").addEventListener("input", () => (key = null));
at("kind").addEventListener("change", () => (at("members-label").hidden = at("kind").value !== "group"));
at("send").addEventListener("submit", action(at("send"), at("send-note"), async () => {
  const from = name("me", "who you are");
  const to = name("to", "the name");
  const message = JSON.stringify({ from, text: at("text").value });
  key ??= `page-${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
  let said;
  if (at("kind").value === "group") {
    const members = at("members").value.split(",").map((member) => member.trim()).filter(Boolean);
    await call("timeline/sendGroup", { group_name: to, group_members: members, from, message, idempotency_key: key });
    said = `sent to ${members.length} members of ${to}`;
  } else {
    const { sequence } = await call("timeline/send", { from, to, message, idempotencyKey: key });
    said = `sent: number ${sequence} in the timeline of ${to}`;
  }
  key = null;
  return said;
}));

// One's own timeline, step by step.
async function step() {
  const member = name("me", "who you are");
  const position = at("position").value || "0";
  const asked = new URLSearchParams({ member, last_read: position, count: at("step").value || "0" });
  const page = await call(`timeline/sync?${asked}`);
  at("rows").append(...page.entrySet.map(line));
  at("rows").lastElementChild?.scrollIntoView({ block: "nearest" });
  at("position").value = page.entrySetLastSeq;
  return page;
}
function stepSaid(page) {
  const where = `read up to ${page.entrySetLastSeq} of ${page.latestSeq}`;
  return page.entrySet.length === 0 ? `nothing more; ${where}` : where;
}
at("sync").addEventListener("submit", action(at("sync"), at("sync-note"), async () => stepSaid(await step())));
at("all").addEventListener("click", action(at("sync"), at("sync-note"), async () => {
  for (;;) {
    const page = await step();
    if (page.entrySet.length === 0) return stepSaid(page);
  }
}));
function restart() {
  at("position").value = "0";
  at("rows").replaceChildren();
  at("sync-note").textContent = "";
}
at("again").addEventListener("click", restart);
at("me").addEventListener("change", restart);

// A history, page by page from its end. What is shown is from `first` to `last`.
let range = { first: null, last: null, older: false, newer: false };
async function turn(parameters, backwards) {
  const group = at("history-kind").value === "group";
  const other = encodeURIComponent(name("with", "the name"));
  const path = group ? `group/${other}` : `single/${encodeURIComponent(name("me", "who you are"))}/${other}`;
  const size = Number(at("page").value) || 10;
  const asked = new URLSearchParams({ ...parameters, count: size });
  const { entrySet: rows } = await call(`timeline/history/${path}?${asked}`);
  if (backwards) rows.reverse();
  if (rows.length > 0 || parameters.latest === true && !parameters.last_read) {
    at("history-rows").replaceChildren(...rows.map(line));
    const [first, last] = [rows.at(0)?.sequence, rows.at(-1)?.sequence];
    range = { first, last, older: rows.length > 0 && first !== "1", newer: !backwards || parameters.last_read !== undefined };
    return rows.length > 0 ? `from ${first} to ${last}` : "nothing was ever said here";
  }
  if (backwards) range.older = false;
  else range.newer = false;
  return backwards ? "this is the beginning" : "this is the end";
}
at("history").addEventListener("submit", action(at("history"), at("history-note"), () => turn({ latest: true }, true)));
at("older").addEventListener("click", action(at("history"), at("history-note"), () => turn({ latest: true, last_read: range.first }, true)));
at("newer").addEventListener("click", action(at("history"), at("history-note"), () => turn({ last_read: range.last }, false)));
at("history").addEventListener("done", () => {
  at("older").disabled = !range.older;
  at("newer").disabled = !range.newer;
});
