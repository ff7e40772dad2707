#!/usr/bin/env node
/**
 * A client for the command line, as small as one that loses nothing can be:
 *
 *     sim-ts register|login --state FILE --user NAME --password TEXT --accounts URL --gate HOST:PORT [--ca FILE]
 *     sim-ts send --state FILE USER|group:ID TEXT
 *     sim-ts sync --state FILE        prints what is new
 *     sim-ts tail --state FILE        prints what is new, and then what comes
 *
 * One JSON object per line. `--codec json` speaks JSON to the gate. `FILE` keeps the login, the device
 * and the position.
 */
import { randomUUID } from "node:crypto";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";

import * as accounts from "./accounts.js";
import { Closed, Connection, Refused, type Listener } from "./connection.js";
import * as p from "./protocol.js";
import { Timeline } from "./timeline.js";

interface State {
  user: string;
  accounts: string;
  gate: string;
  ca: string | undefined;
  device: string;
  accessToken: string;
  refreshToken: string;
  epoch: string;
  seq: string;
  /** A send that was not acked yet: the same id goes with it until it is. */
  unsent?: { to: string; text: string; id: string } | undefined;
}

/** Milliseconds between tries to connect. */
const BACKOFF_MS = { first: 250, max: 15_000 };
/** Tries of a command that is to end. */
const TRIES_MAX = 5;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    state: { type: "string" },
    user: { type: "string" },
    password: { type: "string" },
    accounts: { type: "string", default: "http://127.0.0.1:8000" },
    gate: { type: "string", default: "127.0.0.1:8910" },
    ca: { type: "string" },
    codec: { type: "string", default: "binary" },
  },
});

function needed(value: string | undefined, name: string): string {
  if (value === undefined) throw new Error(`${name} is missing`);
  return value;
}

const statePath = needed(values.state, "--state");
const load = (): State => JSON.parse(readFileSync(statePath, "utf8")) as State;

function save(state: State): void {
  writeFileSync(`${statePath}.new`, JSON.stringify(state), { mode: 0o600 });
  renameSync(`${statePath}.new`, statePath);
}

const print = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`);

/** A connection; a token that has expired is renewed once. */
async function open(state: State, listener: Listener = {}): Promise<Connection> {
  const codecs = values.codec === "json" ? [p.CodecId.Json] : [p.CodecId.Binary];
  const dial = (): Promise<Connection> =>
    Connection.open(
      {
        gate: state.gate,
        ca: state.ca === undefined ? undefined : readFileSync(state.ca),
        token: state.accessToken,
        device: state.device,
        codecs,
      },
      listener,
    );
  try {
    return await dial();
  } catch (error) {
    if (!(error instanceof Refused) || error.refusal.code !== p.RefusalCode.ExpiredToken) throw error;
    const session = await accounts.refresh(state.accounts, state.refreshToken);
    Object.assign(state, { accessToken: session.accessToken, refreshToken: session.refreshToken });
    save(state);
    return dial();
  }
}

async function logIn(ask: typeof accounts.login): Promise<void> {
  const user = needed(values.user, "--user");
  const session = await ask(values.accounts, user, needed(values.password, "--password"));
  const { accessToken, refreshToken } = session;
  const device = `sim-ts-${randomUUID()}`;
  const { gate, ca } = values;
  save({ user, accounts: values.accounts, gate, ca, device, accessToken, refreshToken, epoch: "0", seq: "0" });
  print({ loggedIn: user });
}

async function send(): Promise<void> {
  const state = load();
  const to = needed(positionals[1], "USER or group:ID");
  const text = needed(positionals[2], "TEXT");
  // The same message tried again, after a try whose fate is unknown, is the same message to the server.
  const again = state.unsent !== undefined && state.unsent.to === to && state.unsent.text === text;
  const id = again ? state.unsent!.id : randomUUID();
  state.unsent = { to, text, id };
  save(state);
  const target: p.Target = to.startsWith("group:") ? { group: to.slice(6) } : { user: to };
  const payload = new TextEncoder().encode(text);
  await retrying(async () => {
    const connection = await open(state);
    try {
      const ack = await connection.call<p.SendAck>(p.Command.SendMsg, {
        to: target,
        client_msg_id: id,
        content_type: p.ContentType.Text,
        payload,
      } satisfies p.SendMsg);
      print({ sent: id, conversation: ack.conversation, seq: `${ack.seq}`, position: `${ack.position.seq}`, repeated: ack.repeated });
    } finally {
      connection.close();
    }
  });
  state.unsent = undefined;
  save(state);
}

function printEntry({ seq, message }: p.Entry): void {
  const text = message.content_type === p.ContentType.Text ? new TextDecoder().decode(message.payload) : null;
  const { conversation, sender, client_msg_id } = message;
  print({ seq: `${seq}`, conversation, conversationSeq: `${message.seq}`, from: sender, id: client_msg_id, text });
}

function timelineOf(state: State): Timeline {
  const position = { epoch: BigInt(state.epoch), seq: BigInt(state.seq) };
  return new Timeline(position, {
    take: printEntry,
    keep({ epoch, seq }) {
      Object.assign(state, { epoch: `${epoch}`, seq: `${seq}` });
      save(state);
    },
    missed: (from, to) => print({ missed: [`${from}`, `${to}`] }),
    restored: () => print({ restored: true }),
  });
}

async function sync(): Promise<void> {
  const state = load();
  const timeline = timelineOf(state);
  await retrying(async () => {
    const connection = await open(state);
    try {
      await timeline.sync(connection);
    } finally {
      connection.close();
    }
  });
}

async function tail(): Promise<void> {
  const state = load();
  const timeline = timelineOf(state);
  for (;;) {
    await retrying(async () => {
      let connection: Connection | undefined;
      // A pull that fails ends with the connection, which is told below.
      const quietly = (work: Promise<void>): void => void work.catch(() => {});
      connection = await open(state, {
        onNotify: (notify) => connection !== undefined && quietly(timeline.notified(connection, notify)),
        onHead: (head) => connection !== undefined && quietly(timeline.reached(connection, head)),
        onRedirect: ({ gates, after_ms }) => {
          state.gate = gates[0]?.text ?? state.gate;
          setTimeout(() => connection?.close(), after_ms);
        },
      });
      await timeline.sync(connection);
      print({ caughtUp: `${timeline.position.seq}` });
      const { kick, message } = await connection.closed;
      const forGood: readonly p.KickReason[] = [
        p.KickReason.LoggedInElsewhere,
        p.KickReason.Forbidden,
        p.KickReason.Revoked,
      ];
      if (kick !== null && forGood.includes(kick.reason)) throw new Error(message);
    }, Number.POSITIVE_INFINITY);
  }
}

/** Tries until it works, cannot ever, or was tried often enough; with growing waits and jitter between. */
async function retrying(work: () => Promise<void>, triesMax = TRIES_MAX): Promise<void> {
  let wait = BACKOFF_MS.first;
  for (let tries = 1; ; tries++, wait = Math.min(2 * wait, BACKOFF_MS.max)) {
    try {
      return await work();
    } catch (error) {
      const isLost = error instanceof Closed && error.kick === null;
      const mayRetry = error instanceof Refused && (error.retry === "Later" || error.retry === "Reconnect");
      if (tries >= triesMax || (!isLost && !mayRetry)) throw error;
      process.stderr.write(`${error}; trying again\n`);
      const told = error instanceof Refused ? error.refusal.retry_after_ms : 0;
      await new Promise((resolve) => setTimeout(resolve, Math.max(told, wait * (0.5 + Math.random()))));
    }
  }
}

const COMMANDS: Record<string, () => Promise<void>> = {
  register: () => logIn(accounts.register),
  login: () => logIn(accounts.login),
  send,
  sync,
  tail,
};

try {
  const command = COMMANDS[positionals[0] ?? ""];
  if (command === undefined) throw new Error(`one of ${Object.keys(COMMANDS).join(", ")}`);
  await command();
} catch (error) {
  process.stderr.write(`sim-ts: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
