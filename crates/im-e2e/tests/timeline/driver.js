"use strict";
// Uses the timeline page as a person would, and tells what it then shows.

const patience = 15000;

async function until(what, holds) {
  const deadline = Date.now() + patience;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`${what} does not come; ${document.body.innerText}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function fill(id, value) {
  at(id).value = value;
  at(id).dispatchEvent(new Event("input", { bubbles: true }));
  at(id).dispatchEvent(new Event("change", { bubbles: true }));
}

/** Presses a button, and waits until what it began has been done. */
async function press(button) {
  const form = button.form;
  let done = false;
  form.addEventListener("done", () => (done = true), { once: true });
  button.click();
  await until(`an end of ${button.textContent}`, () => done);
}

const first = (id) => at(id).querySelector("button");
const rows = (id) => [...at(id).children].map((row) => `${row.children[0].textContent} ${row.children[1].textContent}`);

async function use() {
  const seen = {};
  // To a user: three messages, each with its number.
  fill("me", "a");
  fill("to", "b");
  for (const text of ["one", "two", "<b>three</b>"]) {
    fill("text", text);
    await press(first("send"));
  }
  seen.sent = at("send-note").textContent;
  // To a group.
  const membersShown = () => at("members-label").getClientRects().length > 0;
  seen.membersShown = [membersShown()];
  fill("kind", "group");
  seen.membersShown.push(membersShown());
  fill("to", "group_a");
  fill("members", "a, c, d");
  fill("text", "all");
  await press(first("send"));
  seen.sentToGroup = at("send-note").textContent;
  // A mistake is told, and nothing is sent.
  fill("kind", "user");
  fill("to", "b:c");
  await press(first("send"));
  seen.mistake = [at("send-note").textContent, at("send-note").classList.contains("bad")];
  // Another one's timeline, in steps of two.
  fill("me", "b");
  fill("step", "2");
  const steps = [];
  for (let n = 0; n < 3; n++) {
    await press(first("sync"));
    steps.push([at("sync-note").textContent, at("position").value, at("rows").children.length]);
  }
  seen.steps = steps;
  seen.rows = rows("rows");
  at("again").click();
  seen.cleared = [at("position").value, at("rows").children.length];
  await press(at("all"));
  seen.all = at("rows").children.length;
  // A history in pages of two: newest, older, the beginning, newer.
  fill("with", "a");
  fill("page", "2");
  const pages = [];
  await press(first("history"));
  pages.push([rows("history-rows"), at("older").disabled, at("newer").disabled]);
  await press(at("older"));
  pages.push([rows("history-rows"), at("older").disabled, at("newer").disabled]);
  await press(at("newer"));
  pages.push([rows("history-rows"), at("older").disabled, at("newer").disabled]);
  seen.pages = pages;
  return seen;
}

use()
  .catch((error) => ({ failed: String(error) }))
  .then((seen) => fetch(`${location.origin}/outcome`, { method: "POST", body: JSON.stringify(seen) }));
