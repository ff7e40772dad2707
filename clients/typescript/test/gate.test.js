// The client against a real gate. `SIM_BIN` names the `sim` program:
//
//     SIM_BIN=../../target/debug/sim node --test test/gate.test.js
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { accounts, Closed, Connection, protocol as p, Refused, Timeline } from "../dist/index.js";

const CLI = fileURLToPath(new URL("../dist/cli.js", import.meta.url));
const DEADLINE_MS = 60_000;
const folder = mkdtempSync(join(tmpdir(), "sim-ts-"));
const children = [];
let server;

/** A program, its lines of JSON as they come, and its end. */
function start(program, args) {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
  children.push(child);
  let stderr = "";
  child.stderr.on("data", (text) => (stderr += text));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = once(child, "close").then(([code]) => ({ code, stderr }));
  return {
    child,
    ended,
    async line() {
      const { value, done } = await lines.next();
      if (done) throw new Error(`${args.join(" ")}: ${JSON.stringify(await ended)}`);
      return JSON.parse(value);
    },
  };
}

/** Runs `sim-ts` to its end; the lines that it printed. */
async function run(...args) {
  const { code, out, stderr } = await outcome(...args);
  assert.equal(code, 0, `${args.join(" ")}: ${stderr}`);
  return out;
}

async function outcome(...args) {
  const program = start(process.execPath, [CLI, ...args]);
  const out = [];
  try {
    for (;;) out.push(await program.line());
  } catch {
    return { out, ...(await program.ended) };
  }
}

const state = (user) => join(folder, `${user}.json`);
const of = (user) => ["--state", state(user)];

async function register(user) {
  const place = ["--accounts", server.accounts, "--gate", server.clients, "--ca", server.ca];
  await run("register", ...of(user), "--user", user, "--password", `${user} has a long password`, ...place);
}

/** A connection by hand, with a login of its own. */
async function open(user, device, options = {}, listener = {}) {
  const session = await accounts.login(server.accounts, user, `${user} has a long password`);
  return Connection.open(
    { gate: server.clients, ca: readFileSync(server.ca), token: session.accessToken, device, ...options },
    listener,
  );
}

const text = (to, id, words) => ({
  to: { user: to },
  client_msg_id: id,
  content_type: p.ContentType.Text,
  payload: new TextEncoder().encode(words),
});

before(async () => {
  const program = process.env.SIM_BIN;
  assert.ok(program, "SIM_BIN names the sim program");
  const data = join(folder, "data");
  server = await start(program, ["standalone", "--free-ports", "--unknown-users", "--json", "--data", data]).line();
  await register("a");
  await register("b");
});

after(async () => {
  for (const child of children) child.kill();
  rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
});

test("two users talk, and what came while one was away is there", { timeout: DEADLINE_MS }, async () => {
  const tail = start(process.execPath, [CLI, "tail", ...of("b")]);
  assert.deepEqual(await tail.line(), { caughtUp: "0" });

  const [sent] = await run("send", ...of("a"), "b", "吃了吗？");
  assert.equal(sent.conversation, "a:b");
  const { id, ...heard } = await tail.line();
  assert.equal(id, sent.sent);
  assert.deepEqual(heard, { seq: "1", conversation: "a:b", conversationSeq: "1", from: "a", text: "吃了吗？" });

  await run("send", ...of("a"), "b", "in JSON", "--codec", "json");
  assert.equal((await tail.line()).text, "in JSON");
  tail.child.kill();
  await tail.ended;

  await run("send", ...of("a"), "b", "are you there?");
  assert.deepEqual((await run("sync", ...of("b"), "--codec", "json")).map((entry) => [entry.seq, entry.text]), [
    ["3", "are you there?"],
  ]);
  assert.deepEqual(await run("sync", ...of("b")), [], "everything was taken");
  const own = await run("sync", ...of("a"));
  assert.deepEqual(own.map((entry) => entry.text), ["吃了吗？", "in JSON", "are you there?"], "own messages are entries too");
});

test("a timeline of several pages comes whole and in order", { timeout: DEADLINE_MS }, async () => {
  await register("c");
  await register("d");
  const sender = await open("c", "many");
  const ids = Array.from({ length: 450 }, (_, index) => `m-${index}`);
  for (let at = 0; at < ids.length; at += 16) {
    const window = ids.slice(at, at + 16);
    await Promise.all(window.map((id) => sender.call(p.Command.SendMsg, text("d", id, id))));
  }
  sender.close();

  const reader = await open("d", "many");
  const got = [];
  const kept = [];
  const timeline = new Timeline({ epoch: 0n, seq: 0n }, {
    take: ({ message }) => void got.push(message.client_msg_id),
    keep: (position) => void kept.push(position.seq),
  });
  await timeline.sync(reader);
  assert.deepEqual(got, ids);
  assert.equal(kept.at(-1), 450n);

  const { head } = await reader.call(p.Command.HeartBeat, {});
  assert.deepEqual(head, timeline.position);
  await timeline.reached(reader, head);
  assert.equal(got.length, 450);

  const over = { after: { epoch: head.epoch, seq: 451n }, limit: 0 };
  await assert.rejects(reader.call(p.Command.GetMsg, over), (error) => error.refusal.code === p.RefusalCode.BadPosition);
  reader.close();
});

for (const [name, codec] of [["binary", p.CodecId.Binary], ["JSON", p.CodecId.Json]]) {
  test(`a send is idempotent, and refusals leave the connection open (${name})`, { timeout: DEADLINE_MS }, async () => {
    const connection = await open("a", "idempotent", { codecs: [codec] });
    const first = await connection.call(p.Command.SendMsg, text("b", `once-${name}`, "once"));
    const second = await connection.call(p.Command.SendMsg, text("b", `once-${name}`, "once"));
    assert.deepEqual(second, { ...first, repeated: true });

    const refused = (code) => (error) => error instanceof Refused && error.refusal.code === code;
    const other = connection.call(p.Command.SendMsg, text("b", `once-${name}`, "twice"));
    await assert.rejects(other, refused(p.RefusalCode.IdReused));
    const nobody = { ...text("b", `group-${name}`, "hi"), to: { group: "nobody's" } };
    await assert.rejects(connection.call(p.Command.SendMsg, nobody), refused(p.RefusalCode.NoSuchGroup));

    const read = await connection.call(p.Command.ReadMsg, { conversation: "a:b", seq: first.seq });
    assert.deepEqual(read, {});
    const page = await connection.call(p.Command.GetHistory, { conversation: "a:b", from: 0n, direction: 1, limit: 1 });
    assert.equal(page.messages[0].client_msg_id, `once-${name}`);
    await connection.logout();
  });
}

test("the same device on another connection replaces the first", { timeout: DEADLINE_MS }, async () => {
  const first = await open("a", "twice");
  const second = await open("a", "twice");
  const end = await first.closed;
  assert.equal(end.kick?.reason, p.KickReason.LoggedInElsewhere);
  await assert.rejects(first.call(p.Command.HeartBeat, {}), Closed);
  await second.call(p.Command.HeartBeat, {});
  second.close();
});

test("a false token is refused, and so is a gate of another authority", { timeout: DEADLINE_MS }, async () => {
  const options = { gate: server.clients, ca: readFileSync(server.ca), token: "e30.e30.e30", device: "false" };
  const isBadToken = (error) => error instanceof Refused && error.refusal.code === p.RefusalCode.BadToken;
  await assert.rejects(Connection.open(options), isBadToken);
  await assert.rejects(Connection.open({ ...options, ca: undefined }), Closed);
  const { code, stderr } = await outcome("send", ...of("a"), "group:nobody's", "hi");
  assert.equal(code, 1);
  assert.match(stderr, /NoSuchGroup/);
});
