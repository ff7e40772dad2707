/**
 * The client's side of a timeline: hands out every entry once and in order, and keeps the position.
 * There is never more than one pull under way.
 */
import { Refused, type Connection } from "./connection.js";
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

export class Timeline {
  /** What runs, or the last that ran; each waits for the one before. */
  private turn: Promise<void> = Promise.resolve();
  /** A pull that has not begun yet will see everything that came until it begins. */
  private pullIsDue = false;

  constructor(public position: p.Position, private readonly taker: Taker) {}

  /** Pulls until nothing is left. */
  sync(connection: Requests): Promise<void> {
    if (this.pullIsDue) return this.turn;
    this.pullIsDue = true;
    return this.next(() => {
      this.pullIsDue = false;
      return this.pull(connection);
    });
  }

  /** What a notify asks for: take the entry if it is the next one, else pull. */
  notified(connection: Requests, { head, entry, query_after_ms }: p.NewMsg): Promise<void> {
    return this.next(async () => {
      if (!this.isBehind(head)) return;
      if (entry !== null && head.epoch === this.position.epoch && head.seq === this.position.seq + 1n) {
        return this.take({ seq: head.seq, message: entry });
      }
      if (query_after_ms > 0) await new Promise((resolve) => setTimeout(resolve, query_after_ms));
      return this.pull(connection);
    });
  }

  /** What a heartbeat's head asks for: a pull, if a notify was lost. */
  async reached(connection: Requests, head: p.Position): Promise<void> {
    if (this.isBehind(head)) await this.sync(connection);
  }

  private isBehind(head: p.Position): boolean {
    return head.epoch !== this.position.epoch || head.seq > this.position.seq;
  }

  private next(work: () => Promise<void>): Promise<void> {
    const turn = this.turn.then(work);
    this.turn = turn.catch(() => {});
    return turn;
  }

  private async pull(connection: Requests): Promise<void> {
    for (;;) {
      const asked = this.position;
      const page = await this.page(connection, asked);
      if (page === null) {
        this.taker.restored?.();
        await this.moveTo({ epoch: 0n, seq: 0n });
        continue;
      }
      if (page.head.epoch !== asked.epoch) {
        if (asked.epoch !== 0n) this.taker.restored?.();
        await this.moveTo({ epoch: page.head.epoch, seq: 0n });
        if (page.entries.length === 0 && page.head.seq > 0n) continue;
      }
      if (page.floor > this.position.seq) {
        // Whoever has no position has missed nothing.
        if (asked.seq > 0n) this.taker.missed?.(this.position.seq + 1n, page.floor);
        await this.moveTo({ epoch: page.head.epoch, seq: page.floor });
      }
      for (const entry of page.entries) {
        if (entry.seq > this.position.seq) await this.take(entry);
      }
      if (!page.has_more) return;
    }
  }

  /** `null` when the server's timeline ends before the position: it has lost its end. */
  private async page(connection: Requests, after: p.Position): Promise<p.MsgPage | null> {
    try {
      return await connection.call<p.MsgPage>(p.Command.GetMsg, { after, limit: 0 } satisfies p.GetMsg);
    } catch (error) {
      if (error instanceof Refused && error.refusal.code === p.RefusalCode.BadPosition) return null;
      throw error;
    }
  }

  private async take(entry: p.Entry): Promise<void> {
    await this.taker.take(entry);
    await this.moveTo({ epoch: this.position.epoch, seq: entry.seq });
  }

  private async moveTo(position: p.Position): Promise<void> {
    this.position = position;
    await this.taker.keep(position);
  }
}
