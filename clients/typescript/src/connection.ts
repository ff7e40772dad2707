/**
 * One connection to a gate: TLS, preamble, handshake, login, heartbeats, requests and their answers.
 * It knows nothing of timelines; `timeline.ts` does. After `closed` nothing works any more.
 */
import { isIP } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";

import * as p from "./protocol.js";

export interface ConnectOptions {
  /** `host:port`. */
  gate: string;
  /** The authority that the gate's certificate comes from, as PEM; the system's own when left out. */
  ca?: string | Buffer | undefined;
  /** The access token. */
  token: string;
  /** This installation; drawn once and kept. */
  device: string;
  platform?: p.Platform;
  /** Codecs, the best first; binary alone when left out. */
  codecs?: p.CodecId[];
}

/** What the gate says by itself. */
export interface Listener {
  /** The timeline has grown. */
  onNotify?(notify: p.NewMsg): void;
  /** How far the timeline reaches, told with each heartbeat's answer. */
  onHead?(head: p.Position): void;
  onRead?(read: p.RevReadMsg): void;
  onSignal?(signal: p.RevSignal): void;
  /** Connect again elsewhere; the connection goes on until then. */
  onRedirect?(redirect: p.Redirect): void;
}

/** The gate's answer to a request was a refusal. */
export class Refused extends Error {
  constructor(readonly refusal: p.Refusal) {
    super(`${p.nameOf(p.RefusalCode, refusal.code) ?? "Unknown"} (${refusal.code}): ${refusal.detail}`);
  }

  get retry(): p.Retry {
    return p.retryOf(this.refusal.code);
  }
}

/** The connection has ended. `kick` is the gate's reason where it gave one. */
export class Closed extends Error {
  constructor(message: string, readonly kick: p.Kickout | null = null) {
    super(message);
  }
}

/** Milliseconds from dialling to the login's answer. */
const LOGIN_MS_MAX = 10_000;
/** Milliseconds that a request waits for its answer. */
const ANSWER_MS_MAX = 10_000;

interface Waiting {
  info: p.CommandInfo;
  resolve(value: any): void;
  reject(error: Error): void;
  timer: NodeJS.Timeout;
}

const COMMANDS = new Map(p.COMMANDS.map((info) => [info.number, info]));

export class Connection {
  /** What the login gave. */
  auth!: p.AuthAck;
  /** Resolves when the connection has ended, with the reason. */
  readonly closed: Promise<Closed>;

  private readonly deframer = new p.Deframer(p.SERVER_FRAME_LEN_MAX);
  private readonly waiting = new Map<number, Waiting>();
  private sequence = 0;
  private codec: p.CodecId = p.CodecId.Binary;
  private bodyMax = p.CLIENT_FRAME_LEN_MAX;
  private heartbeat: NodeJS.Timeout | undefined;
  private kick: p.Kickout | null = null;
  private end: Closed | undefined;
  private resolveClosed!: (reason: Closed) => void;

  private constructor(private readonly socket: TLSSocket, private readonly listener: Listener) {
    this.closed = new Promise((resolve) => {
      this.resolveClosed = resolve;
    });
    socket.on("data", (bytes: Buffer) => this.onBytes(bytes));
    socket.on("error", (error: Error) => this.finish(error.message));
    socket.on("close", () => this.finish("the connection was closed"));
  }

  /** Dials, shakes hands and logs in. */
  static async open(options: ConnectOptions, listener: Listener = {}): Promise<Connection> {
    const at = options.gate.lastIndexOf(":");
    const host = options.gate.slice(0, at).replace(/^\[(.*)\]$/, "$1");
    const port = Number(options.gate.slice(at + 1));
    const servername = isIP(host) === 0 ? host : "";
    const socket = connectTls({ host, port, servername, ...(options.ca === undefined ? {} : { ca: options.ca }) });
    const connection = new Connection(socket, listener);
    const timer = setTimeout(() => connection.finish("no login in time"), LOGIN_MS_MAX);
    try {
      await connection.login(options);
    } catch (error) {
      connection.finish(String(error));
      throw error;
    } finally {
      clearTimeout(timer);
    }
    return connection;
  }

  private async login(options: ConnectOptions): Promise<void> {
    // Written before TLS is up, sent as soon as it is; never as early data, which Node has none of.
    this.socket.write(p.PREAMBLE);
    const hello = await this.call<p.HandShakeAck>(p.Command.HandShake, {
      app_id: "sim-ts",
      sdk: "sim-typescript/0.1.0",
      codecs: options.codecs ?? [p.CodecId.Binary],
      suites: [],
      key_share: new Uint8Array(0),
    } satisfies p.HandShake);
    if (hello.codec !== p.CodecId.Binary && hello.codec !== p.CodecId.Json) {
      throw new Closed(`the gate chose codec ${hello.codec}, which is not spoken here`);
    }
    if (hello.encryption !== p.Encryption.None) throw new Closed("the gate chose to encrypt, which nobody asked for");
    this.codec = hello.codec;
    if (hello.codec !== p.CodecId.Binary) this.deframer.lengthMax *= p.CODED_GROWTH_MAX;
    this.bodyMax = hello.frame_len_max;
    this.auth = await this.call<p.AuthAck>(p.Command.Auth, {
      token: options.token,
      device: options.device,
      platform: options.platform ?? p.Platform.Bot,
    } satisfies p.Auth);
    this.heartbeat = setInterval(() => this.beat(), this.auth.heartbeat_ms);
  }

  /** Sends a request and waits for its answer. Rejects with `Refused`, or with `Closed`. */
  call<A>(command: p.Command, request: unknown): Promise<A> {
    const info = COMMANDS.get(command);
    if (info === undefined || info.answer === null) throw new Error(`command ${command} is no request`);
    if (this.end !== undefined) return Promise.reject(this.end);
    const body = this.encode(info.request, request);
    if (body.length > this.bodyMax) throw new p.EncodeError("TooLong", info.name);
    const sequence = this.nextSequence();
    return new Promise<A>((resolve, reject) => {
      // Without an answer nobody knows what the gate has done; a new connection sorts it out.
      const timer = setTimeout(() => this.finish(`no answer to ${info.name} in time`), ANSWER_MS_MAX);
      this.waiting.set(sequence, { info, resolve, reject, timer });
      this.socket.write(p.encodeFrame(command, sequence, body));
    });
  }

  /** Ends the login at the gate, then the connection. */
  async logout(): Promise<void> {
    await this.call<p.Empty>(p.Command.Logout, {});
    await this.closed;
  }

  /** Ends the connection. */
  close(): void {
    this.finish("closed here");
  }

  /** A number that no request waits under, and not 0. */
  private nextSequence(): number {
    do {
      this.sequence = (this.sequence % 0xffffffff) + 1;
    } while (this.waiting.has(this.sequence));
    return this.sequence;
  }

  /** Handshakes are always binary. */
  private get isJson(): boolean {
    return this.codec === p.CodecId.Json;
  }

  private encode(type: p.StructType<any>, value: unknown): Uint8Array {
    return this.isJson ? p.encodeJson(type, value) : p.encode(type, value);
  }

  private decode<T>(type: p.StructType<T>, body: Uint8Array): T {
    return this.isJson ? p.decodeJson(type, body) : p.decode(type, body);
  }

  private beat(): void {
    this.call<p.HeartBeatAck>(p.Command.HeartBeat, {}).then(
      ({ head }) => head !== null && this.listener.onHead?.(head),
      () => {}, // A refusal is no reason to go; the end of the connection is told elsewhere.
    );
  }

  private onBytes(bytes: Buffer): void {
    try {
      for (const frame of this.deframer.feed(bytes)) {
        if (this.end !== undefined) return;
        this.onFrame(frame);
      }
    } catch (error) {
      // What does not decode is a fault of one side's program; guessing on would make it worse.
      this.finish(String(error));
    }
  }

  private onFrame({ command, flags, sequence, body }: p.Frame): void {
    if ((flags & p.FLAG_ENCRYPTED) !== 0) throw new p.FrameError("UnknownFlags", "frame");
    if ((command & p.ANSWER_BIT) === 0) return this.onPush(command, body);
    const waiting = this.waiting.get(sequence);
    const isRefused = (flags & p.FLAG_REFUSED) !== 0;
    if (waiting === undefined || (command & ~p.ANSWER_BIT) !== waiting.info.number) {
      // A gate that cannot tell what failed refuses with sequence 0, and closes.
      if (isRefused) this.finish(new Refused(this.decode(p.Refusal, body)).message);
      return;
    }
    this.waiting.delete(sequence);
    clearTimeout(waiting.timer);
    if (isRefused) waiting.reject(new Refused(this.decode(p.Refusal, body)));
    else waiting.resolve(this.decode(waiting.info.answer!, body));
  }

  private onPush(command: number, body: Uint8Array): void {
    switch (command) {
      case p.Command.NewMsg:
        return this.listener.onNotify?.(this.decode(p.NewMsg, body));
      case p.Command.RevReadMsg:
        return this.listener.onRead?.(this.decode(p.RevReadMsg, body));
      case p.Command.RevSignal:
        return this.listener.onSignal?.(this.decode(p.RevSignal, body));
      case p.Command.Redirect:
        return this.listener.onRedirect?.(this.decode(p.Redirect, body));
      case p.Command.Kickout:
        this.kick = this.decode(p.Kickout, body);
        return this.finish(`${p.nameOf(p.KickReason, this.kick.reason) ?? "kicked"}: ${this.kick.detail}`);
      default: // A later version's; it is passed over.
    }
  }

  private finish(reason: string): void {
    if (this.end !== undefined) return;
    this.end = new Closed(reason, this.kick);
    clearInterval(this.heartbeat);
    this.socket.destroy();
    for (const { reject, timer } of this.waiting.values()) {
      clearTimeout(timer);
      reject(this.end);
    }
    this.waiting.clear();
    this.resolveClosed(this.end);
  }
}
