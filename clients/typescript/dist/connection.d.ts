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
export declare class Refused extends Error {
    readonly refusal: p.Refusal;
    constructor(refusal: p.Refusal);
    get retry(): p.Retry;
}
/** The connection has ended. `kick` is the gate's reason where it gave one. */
export declare class Closed extends Error {
    readonly kick: p.Kickout | null;
    constructor(message: string, kick?: p.Kickout | null);
}
export declare class Connection {
    private readonly socket;
    private readonly listener;
    /** What the login gave. */
    auth: p.AuthAck;
    /** Resolves when the connection has ended, with the reason. */
    readonly closed: Promise<Closed>;
    private readonly deframer;
    private readonly waiting;
    private sequence;
    private codec;
    private bodyMax;
    private heartbeat;
    private kick;
    private end;
    private resolveClosed;
    private constructor();
    /** Dials, shakes hands and logs in. */
    static open(options: ConnectOptions, listener?: Listener): Promise<Connection>;
    private login;
    /** Sends a request and waits for its answer. Rejects with `Refused`, or with `Closed`. */
    call<A>(command: p.Command, request: unknown): Promise<A>;
    /** Ends the login at the gate, then the connection. */
    logout(): Promise<void>;
    /** Ends the connection. */
    close(): void;
    /** A number that no request waits under, and not 0. */
    private nextSequence;
    /** Handshakes are always binary. */
    private get isJson();
    private encode;
    private decode;
    private beat;
    private onBytes;
    private onFrame;
    private onPush;
    private finish;
}
