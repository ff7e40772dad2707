// The rules of a timeline, against a gate that says what the test tells it to. Run: npm test
import assert from "node:assert/strict";
import { test } from "node:test";

import { protocol as p, Refused, Timeline } from "../dist/index.js";

const message = (seq) => ({ client_msg_id: `m-${seq}` });
const entries = (from, to) =>
  Array.from({ length: to - from + 1 }, (_, index) => ({ seq: BigInt(from + index), message: message(from + index) }));
const at = (epoch, seq) => ({ epoch: BigInt(epoch), seq: BigInt(seq) });
const page = (head, rows, { floor = 0, more = false } = {}) => ({ head, floor: BigInt(floor), entries: rows, has_more: more });

/** A timeline at a position, a gate that answers pulls with `pages` in turn, and a log of what happened. */
function world(position, pages) {
  const log = [];
  const timeline = new Timeline(position, {
    take: ({ seq }) => void log.push(`take ${seq}`),
    keep: ({ epoch, seq }) => void log.push(`keep ${epoch}/${seq}`),
    missed: (from, to) => void log.push(`missed ${from}-${to}`),
    restored: () => void log.push("restored"),
  });
  const gate = {
    async call(command, { after }) {
      assert.equal(command, p.Command.GetMsg);
      log.push(`pull ${after.epoch}/${after.seq}`);
      const answer = pages.shift();
      if (answer instanceof Error) throw answer;
      return answer;
    },
  };
  return { log, timeline, gate };
}

test("the first pull tells the epoch, and pages follow each other", async () => {
  const { log, timeline, gate } = world(at(0, 0), [
    page(at(7, 3), entries(1, 2), { more: true }),
    page(at(7, 3), entries(3, 3)),
  ]);
  await timeline.sync(gate);
  assert.deepEqual(log, [
    "pull 0/0", "keep 7/0", "take 1", "keep 7/1", "take 2", "keep 7/2", "pull 7/2", "take 3", "keep 7/3",
  ]);
});

test("another epoch begins at its beginning, and is told", async () => {
  const pages = [page(at(8, 1), [], { more: true }), page(at(8, 1), entries(1, 1))];
  const { log, timeline, gate } = world(at(7, 5), pages);
  await timeline.sync(gate);
  assert.deepEqual(log, ["pull 7/5", "restored", "keep 8/0", "pull 8/0", "take 1", "keep 8/1"]);
});

test("a server that knows less begins again", async () => {
  const lost = new Refused({ code: p.RefusalCode.BadPosition, detail: "", retry_after_ms: 0 });
  const { log, timeline, gate } = world(at(7, 5), [lost, page(at(7, 1), entries(1, 1))]);
  await timeline.sync(gate);
  assert.deepEqual(log, ["pull 7/5", "restored", "keep 0/0", "pull 0/0", "keep 7/0", "take 1", "keep 7/1"]);
});

test("rows that were trimmed are told, unless nothing was had before", async () => {
  const had = world(at(7, 2), [page(at(7, 9), entries(9, 9), { floor: 8 })]);
  await had.timeline.sync(had.gate);
  assert.deepEqual(had.log, ["pull 7/2", "missed 3-8", "keep 7/8", "take 9", "keep 7/9"]);
  const fresh = world(at(0, 0), [page(at(7, 9), entries(9, 9), { floor: 8 })]);
  await fresh.timeline.sync(fresh.gate);
  assert.deepEqual(fresh.log, ["pull 0/0", "keep 7/0", "keep 7/8", "take 9", "keep 7/9"]);
});

test("a notify is taken where it is the next, and asks for a pull where it is not", async () => {
  const { log, timeline, gate } = world(at(7, 2), [page(at(7, 6), entries(4, 6))]);
  const notify = (seq) => ({ head: at(7, seq), entry: message(seq), query_after_ms: 0 });
  // All at once: each sees what the one before has done.
  await Promise.all([3, 2, 6, 5, 3].map((seq) => timeline.notified(gate, notify(seq))));
  await timeline.reached(gate, at(7, 6));
  assert.deepEqual(log, ["take 3", "keep 7/3", "pull 7/3", "take 4", "keep 7/4", "take 5", "keep 7/5", "take 6", "keep 7/6"]);
});

test("a pull that failed does not stop the next", async () => {
  const { log, timeline, gate } = world(at(7, 0), [new Error("gone"), page(at(7, 1), entries(1, 1))]);
  await assert.rejects(timeline.sync(gate), /gone/);
  await timeline.reached(gate, at(7, 1));
  assert.deepEqual(log, ["pull 7/0", "pull 7/0", "take 1", "keep 7/1"]);
});
