/**
 * One connection to a gate: TLS, preamble, handshake, login, heartbeats, requests and their answers.
 * It knows nothing of timelines; `timeline.ts` does. After `closed` nothing works any more.
 */
import { isIP } from "node:net";
import { connect as connectTls } from "node:tls";
import * as p from "./protocol.js";
/** The gate's answer to a request was a refusal. */
export class Refused extends Error {
    refusal;
    constructor(refusal) {
        super(`${p.nameOf(p.RefusalCode, refusal.code) ?? "Unknown"} (${refusal.code}): ${refusal.detail}`);
        this.refusal = refusal;
    }
    get retry() {
        return p.retryOf(this.refusal.code);
    }
}
/** The connection has ended. `kick` is the gate's reason where it gave one. */
export class Closed extends Error {
    kick;
    constructor(message, kick = null) {
        super(message);
        this.kick = kick;
    }
}
/** Milliseconds from dialling to the login's answer. */
const LOGIN_MS_MAX = 10_000;
/** Milliseconds that a request waits for its answer. */
const ANSWER_MS_MAX = 10_000;
const COMMANDS = new Map(p.COMMANDS.map((info) => [info.number, info]));
export class Connection {
    socket;
    listener;
    /** What the login gave. */
    auth;
    /** Resolves when the connection has ended, with the reason. */
    closed;
    deframer = new p.Deframer(p.SERVER_FRAME_LEN_MAX);
    waiting = new Map();
    sequence = 0;
    codec = p.CodecId.Binary;
    bodyMax = p.CLIENT_FRAME_LEN_MAX;
    heartbeat;
    kick = null;
    end;
    resolveClosed;
    constructor(socket, listener) {
        this.socket = socket;
        this.listener = listener;
        this.closed = new Promise((resolve) => {
            this.resolveClosed = resolve;
        });
        socket.on("data", (bytes) => this.onBytes(bytes));
        socket.on("error", (error) => this.finish(error.message));
        socket.on("close", () => this.finish("the connection was closed"));
    }
    /** Dials, shakes hands and logs in. */
    static async open(options, listener = {}) {
        const at = options.gate.lastIndexOf(":");
        const host = options.gate.slice(0, at).replace(/^\[(.*)\]$/, "$1");
        const port = Number(options.gate.slice(at + 1));
        const servername = isIP(host) === 0 ? host : "";
        const socket = connectTls({ host, port, servername, ...(options.ca === undefined ? {} : { ca: options.ca }) });
        const connection = new Connection(socket, listener);
        const timer = setTimeout(() => connection.finish("no login in time"), LOGIN_MS_MAX);
        try {
            await connection.login(options);
        }
        catch (error) {
            connection.finish(String(error));
            throw error;
        }
        finally {
            clearTimeout(timer);
        }
        return connection;
    }
    async login(options) {
        // Written before TLS is up, sent as soon as it is; never as early data, which Node has none of.
        this.socket.write(p.PREAMBLE);
        const hello = await this.call(p.Command.HandShake, {
            app_id: "sim-ts",
            sdk: "sim-typescript/0.1.0",
            codecs: options.codecs ?? [p.CodecId.Binary],
            suites: [],
            key_share: new Uint8Array(0),
        });
        if (hello.codec !== p.CodecId.Binary && hello.codec !== p.CodecId.Json) {
            throw new Closed(`the gate chose codec ${hello.codec}, which is not spoken here`);
        }
        if (hello.encryption !== p.Encryption.None)
            throw new Closed("the gate chose to encrypt, which nobody asked for");
        this.codec = hello.codec;
        if (hello.codec !== p.CodecId.Binary)
            this.deframer.lengthMax *= p.CODED_GROWTH_MAX;
        this.bodyMax = hello.frame_len_max;
        this.auth = await this.call(p.Command.Auth, {
            token: options.token,
            device: options.device,
            platform: options.platform ?? p.Platform.Bot,
        });
        this.heartbeat = setInterval(() => this.beat(), this.auth.heartbeat_ms);
    }
    /** Sends a request and waits for its answer. Rejects with `Refused`, or with `Closed`. */
    call(command, request) {
        const info = COMMANDS.get(command);
        if (info === undefined || info.answer === null)
            throw new Error(`command ${command} is no request`);
        if (this.end !== undefined)
            return Promise.reject(this.end);
        const body = this.encode(info.request, request);
        if (body.length > this.bodyMax)
            throw new p.EncodeError("TooLong", info.name);
        const sequence = this.nextSequence();
        return new Promise((resolve, reject) => {
            // Without an answer nobody knows what the gate has done; a new connection sorts it out.
            const timer = setTimeout(() => this.finish(`no answer to ${info.name} in time`), ANSWER_MS_MAX);
            this.waiting.set(sequence, { info, resolve, reject, timer });
            this.socket.write(p.encodeFrame(command, sequence, body));
        });
    }
    /** Ends the login at the gate, then the connection. */
    async logout() {
        await this.call(p.Command.Logout, {});
        await this.closed;
    }
    /** Ends the connection. */
    close() {
        this.finish("closed here");
    }
    /** A number that no request waits under, and not 0. */
    nextSequence() {
        do {
            this.sequence = (this.sequence % 0xffffffff) + 1;
        } while (this.waiting.has(this.sequence));
        return this.sequence;
    }
    /** Handshakes are always binary. */
    get isJson() {
        return this.codec === p.CodecId.Json;
    }
    encode(type, value) {
        return this.isJson ? p.encodeJson(type, value) : p.encode(type, value);
    }
    decode(type, body) {
        return this.isJson ? p.decodeJson(type, body) : p.decode(type, body);
    }
    beat() {
        this.call(p.Command.HeartBeat, {}).then(({ head }) => head !== null && this.listener.onHead?.(head), () => { });
    }
    onBytes(bytes) {
        try {
            for (const frame of this.deframer.feed(bytes)) {
                if (this.end !== undefined)
                    return;
                this.onFrame(frame);
            }
        }
        catch (error) {
            // What does not decode is a fault of one side's program; guessing on would make it worse.
            this.finish(String(error));
        }
    }
    onFrame({ command, flags, sequence, body }) {
        if ((flags & p.FLAG_ENCRYPTED) !== 0)
            throw new p.FrameError("UnknownFlags", "frame");
        if ((command & p.ANSWER_BIT) === 0)
            return this.onPush(command, body);
        const waiting = this.waiting.get(sequence);
        const isRefused = (flags & p.FLAG_REFUSED) !== 0;
        if (waiting === undefined || (command & ~p.ANSWER_BIT) !== waiting.info.number) {
            // A gate that cannot tell what failed refuses with sequence 0, and closes.
            if (isRefused)
                this.finish(new Refused(this.decode(p.Refusal, body)).message);
            return;
        }
        this.waiting.delete(sequence);
        clearTimeout(waiting.timer);
        if (isRefused)
            waiting.reject(new Refused(this.decode(p.Refusal, body)));
        else
            waiting.resolve(this.decode(waiting.info.answer, body));
    }
    onPush(command, body) {
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
    finish(reason) {
        if (this.end !== undefined)
            return;
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
