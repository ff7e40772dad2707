// The generated module against the vectors of `proto-codec/testdata`. Run: npm test
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import * as p from "../dist/protocol.js";

const rows = (name, part = "vectors") =>
  JSON.parse(readFileSync(new URL(`../../../proto-codec/testdata/${name}`, import.meta.url), "utf8"))[part];
const unhex = (hex) => Uint8Array.from(Buffer.from(hex, "hex"));
const hex = (bytes) => Buffer.from(bytes).toString("hex");
const json = (value) => new TextEncoder().encode(JSON.stringify(value));
const refused = (kind) => (error) => error instanceof p.ProtocolError && error.kind === kind;

/** A vector's field values as the JSON codec takes them. */
function spoken(value) {
  if (Array.isArray(value)) return value.map(spoken);
  if (typeof value !== "object" || value === null) return value;
  const keys = Object.keys(value).sort().join();
  if (keys === "hex") return { base64: Buffer.from(value.hex, "hex").toString("base64") };
  if (keys === "name,number") return value.number;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, spoken(item)]));
}

/** Rows of the messages that a client meets. */
const messages = rows("messages-v1.json").filter((row) => row.message in p.BODIES);

test("every body has a vector", () => {
  assert.deepEqual(new Set(messages.map((row) => row.message)), new Set(Object.keys(p.BODIES)));
});

test("fields and bytes agree", () => {
  for (const row of messages) {
    const type = p.BODIES[row.message];
    const decoded = p.decode(type, unhex(row.hex));
    const told = p.decodeJson(type, json(spoken(row.fields)));
    assert.deepEqual(decoded, told, row.message);
    assert.equal(hex(p.encode(type, decoded)), row.hex);
    assert.equal(hex(p.encode(type, told)), row.hex);
  }
});

test("JSON comes back", () => {
  for (const row of messages) {
    const type = p.BODIES[row.message];
    const decoded = p.decode(type, unhex(row.hex));
    const text = p.encodeJson(type, decoded);
    assert.deepEqual(p.decodeJson(type, text), decoded, row.message);
    if (row.json !== undefined) {
      assert.equal(Buffer.from(text).toString(), row.json);
      assert.deepEqual(p.decodeJson(type, Buffer.from(row.json)), decoded);
    }
  }
});

test("cut anywhere is Missing, longer is Trailing", () => {
  for (const row of messages) {
    const type = p.BODIES[row.message];
    const bytes = unhex(row.hex);
    for (let cut = 0; cut < bytes.length; cut++) {
      assert.throws(() => p.decode(type, bytes.subarray(0, cut)), refused("Missing"), `${row.message} cut at ${cut}`);
    }
    assert.throws(() => p.decode(type, Uint8Array.of(...bytes, 0)), refused("Trailing"), row.message);
  }
});

test("fields of a later version are skipped", () => {
  const ack = { head: null, server_time_ms: 5n };
  const body = p.encode(p.HeartBeatAck, ack);
  assert.equal(body.at(-1), 0);
  const later = Uint8Array.of(...body.subarray(0, -1), 2, 3, 0x6e, 0x65, 0x77, 0);
  assert.deepEqual(p.decode(p.HeartBeatAck, later), ack);
});

test("fields appended by a later version are read, and filled where an older one sent", () => {
  const field = (name, type, since, fallback) => ({ name, path: `Later.${name}`, type, since, fallback });
  const first = field("first", p.Position, 1, () => null);
  const old = new p.StructType("Later", false, [first]);
  const later = new p.StructType("Later", false, [
    first,
    field("second", p.Address, 2, () => ({ text: "none" })),
    field("third", p.Address, 3, () => ({ text: "none" })),
  ]);
  const value = { first: { epoch: 1n, seq: 2n }, second: { text: "b" }, third: { text: "c" } };
  const body = p.encode(later, value);
  assert.equal(hex(body), "0000000000000001" + "0000000000000002" + "02" + "020162" + "020163");
  assert.deepEqual(p.decode(later, body), value);
  assert.deepEqual(p.decode(old, body), { first: value.first });
  const none = { text: "none" };
  assert.deepEqual(p.decode(later, p.encode(old, value)), { first: value.first, second: none, third: none });
  assert.deepEqual(p.decodeJson(later, p.encodeJson(old, value)), { first: value.first, second: none, third: none });
  // An appended field must fill its length.
  assert.throws(() => p.decode(later, Uint8Array.of(...body.subarray(0, 16), 1, 3, 1, 0x62, 0)), refused("Trailing"));
  assert.throws(() => p.decode(later, Uint8Array.of(...body.subarray(0, 16), 1, 1, 1, 0x62)), refused("Missing"));
});

test("every refused byte string is refused for its reason", () => {
  const ours = rows("refused-v1.json").filter((row) => ["preamble", "frame"].includes(row.kind) || row.kind in p.BODIES);
  assert.ok(ours.length > 60);
  for (const row of ours) {
    const bytes = unhex(row.hex);
    const read = () => {
      if (row.kind === "preamble") return p.decodePreamble(bytes);
      if (row.kind === "frame") return [...new p.Deframer(p.CLIENT_FRAME_LEN_MAX).feed(bytes)];
      return p.decode(p.BODIES[row.kind], bytes);
    };
    assert.throws(read, refused(row.error.split(" ")[0]), `${row.kind}: ${row.why}`);
  }
});

/** Refused JSON that `JSON.parse` gives no way to refuse: it tells neither of a key that stands twice nor how a number was
    written. What is read instead is what the sender meant, or the last of two. */
const TAKEN = new Map([
  ["a field twice", (body) => assert.deepEqual(body.to, { user: "c" })],
  ["a fraction", (body) => assert.equal(body.content_type, 1)],
  ["an exponent", (body) => assert.equal(body.content_type, 1)],
]);

test("every refused JSON text is refused for its reason, but three", () => {
  const ours = rows("refused-v1.json", "json").filter((row) => row.kind in p.BODIES);
  assert.ok(ours.length > 80);
  const taken = [];
  for (const row of ours) {
    const read = () => p.decodeJson(p.BODIES[row.kind], unhex(row.hex));
    const check = row.kind === "SendMsg" ? TAKEN.get(row.why) : undefined;
    if (check === undefined) {
      assert.throws(read, refused(row.error), `${row.kind}: ${row.why}`);
    } else {
      check(read());
      taken.push(row.why);
    }
  }
  assert.deepEqual(taken.sort(), [...TAKEN.keys()].sort());
});

test("what may not be sent is not encoded", () => {
  const send = (change) => () =>
    p.encode(p.SendMsg, { to: { user: "u" }, client_msg_id: "m", content_type: 1, payload: new Uint8Array(), ...change });
  const read = (conversation, seq = 1n) => () => p.encode(p.ReadMsg, { conversation, seq });
  for (const [bad, kind] of [
    [read("b:a"), "BadValue"],
    [read(""), "BadValue"],
    [read("a\n"), "BadValue"],
    [read("x".repeat(130)), "BadValue"],
    [read("a:b", 1n << 64n), "BadValue"],
    [read("a:b", -1n), "BadValue"],
    [read("a:b", 1), "BadValue"],
    [send({ to: { user: "u".repeat(65) } }), "TooLong"],
    [send({ to: { other: "u" } }), "BadValue"],
    [send({ payload: new Uint8Array(p.PAYLOAD_LEN_MAX + 1) }), "TooLong"],
    [send({ payload: "text" }), "BadValue"],
    [send({ content_type: 65536 }), "BadValue"],
    [() => p.encode(p.Kickout, { reason: 1, detail: "\ud800" }), "BadUtf8"],
    [() => p.encode(p.ChangeMembers, { group: "g", add: Array(p.GROUP_MEMBERS_MAX + 1).fill("u"), remove: [] }), "TooLong"],
  ]) {
    assert.throws(bad, (error) => error instanceof p.EncodeError && error.kind === kind, `${bad}`);
  }
});

test("JSON that breaks the rules is refused", () => {
  for (const [text, kind] of [
    ['{"conversation":"a:b"}', "Missing"],
    ['{"conversation":"a:b","seq":1.5}', "BadValue"],
    ['{"conversation":"a:b","seq":9007199254740993}', "BadValue"],
    ['{"conversation":"a:b","seq":"18446744073709551616"}', "BadValue"],
    ['{"conversation":"a:b","seq":1} 2', "BadText"],
    ["[", "BadText"],
    ["[]", "BadValue"],
  ]) {
    assert.throws(() => p.decodeJson(p.ReadMsg, Buffer.from(text)), refused(kind), text);
  }
  const whole = Buffer.from('{"seq":"18446744073709551615","later":{"a":[1]},"conversation":"a:b"}');
  assert.deepEqual(p.decodeJson(p.ReadMsg, whole), { conversation: "a:b", seq: (1n << 64n) - 1n });
});

/** A frame with its body as hex, as rows have it. */
const plain = ({ command, flags, sequence, body }) => ({ command, flags, sequence, body: hex(body) });
const told = ({ command, flags, sequence, body }) => ({ command, flags, sequence, body });

/** The frames that bytes make whole, and the name of the error behind them. */
function feed(deframer, bytes) {
  const frames = [];
  try {
    for (const frame of deframer.feed(bytes)) frames.push(plain(frame));
  } catch (error) {
    assert.ok(error instanceof p.FrameError);
    return [frames, error.kind];
  }
  return [frames, null];
}

test("whole frames, both ways", () => {
  for (const row of rows("frames-v1.json")) {
    assert.equal(hex(p.encodeFrame(row.command, row.sequence, unhex(row.body), row.flags)), row.hex, row.what);
    assert.deepEqual(feed(new p.Deframer(row.length), unhex(row.hex)), [[told(row)], null], row.what);
  }
});

test("streams split at every point give the same frames", () => {
  for (const row of rows("streams-v1.json")) {
    const stream = unhex(row.hex);
    for (let split = 0; split <= stream.length; split++) {
      const deframer = new p.Deframer(row.length_max);
      const [first] = feed(deframer, stream.subarray(0, split));
      assert.equal(first.length, row.complete[split], `${row.what} at ${split}`);
      const [rest, error] = feed(deframer, stream.subarray(split));
      assert.deepEqual([...first, ...rest], row.frames.map(told), `${row.what} at ${split}`);
      assert.equal(error, row.error);
    }
  }
});

test("frames that are not asked for stay", () => {
  const beat = p.encodeFrame(p.Command.HeartBeat, 1, Uint8Array.of(0));
  const deframer = new p.Deframer(64);
  for (const frame of deframer.feed(Buffer.concat([beat, beat]))) {
    assert.equal(frame.sequence, 1);
    break;
  }
  assert.equal([...deframer.feed(new Uint8Array(0))].length, 1);
});

test("refusals say whether to try again", () => {
  assert.equal(p.nameOf(p.RefusalCode, 201), "ExpiredToken");
  assert.equal(p.retryOf(201), "AfterLogin");
  assert.deepEqual([p.retryOf(499), p.retryOf(599)], ["Never", "Later"]);
  const kept = p.decode(p.Refusal, p.encode(p.Refusal, { code: 999, detail: "", retry_after_ms: 0 }));
  assert.equal(kept.code, 999);
});
