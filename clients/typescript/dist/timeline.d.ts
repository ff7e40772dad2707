/**
 * The client's side of a timeline: hands out every entry once and in order, and keeps the position.
 * There is never more than one pull under way.
 */
import { type Connection } from "./connection.js";
import * as p from "./protocol.js";
/** All that a timeline needs of a connection. */
export type Requests = Pick<Connection, "call">;
export interface Taker {
    /** Takes one entry. The position moves when this has resolved. */
    take(entry: p.Entry): Promise<void> | void;
    /** Keeps the position, durably. */
    keep(position: p.Position): Promise<void> | void;
    /** Entries were trimmed before they were fetched; their messages are in the histories. */
    missed?(from: p.Seq, to: p.Seq): void;
    /** The server's store was restored; what follows may have been seen before. */
    restored?(): void;
}
export declare class Timeline {
    position: p.Position;
    private readonly taker;
    /** What runs, or the last that ran; each waits for the one before. */
    private turn;
    /** A pull that has not begun yet will see everything that came until it begins. */
    private pullIsDue;
    constructor(position: p.Position, taker: Taker);
    /** Pulls until nothing is left. */
    sync(connection: Requests): Promise<void>;
    /** What a notify asks for: take the entry if it is the next one, else pull. */
    notified(connection: Requests, { head, entry, query_after_ms }: p.NewMsg): Promise<void>;
    /** What a heartbeat's head asks for: a pull, if a notify was lost. */
    reached(connection: Requests, head: p.Position): Promise<void>;
    private isBehind;
    private next;
    private pull;
    /** `null` when the server's timeline ends before the position: it has lost its end. */
    private page;
    private take;
    private moveTo;
}
