// A consumer's own books over the events it took: what was in the streams, and what became of it.
//
//     streamed = received + skipped + missed
//
// holds after every event, or something was lost without a word.

import type { Event } from "./events.ts";

interface Line {
  seq: number;
  slow: number;
  rate: number;
  missed: number;
}

/** Adds up what it `take`s. What the consumer came to a stream with is counted nowhere. */
export class Ledger {
  /** How many ticks the streams had since the consumer came to them. */
  streamed = 0;
  received = 0;
  readonly skipped = { slow: 0, rate: 0 };
  missed = 0;
  /** Streams that began again, with an unknown number of ticks lost. */
  restarted = 0;
  #lines = new Map<string, Line>();

  get unaccounted(): number {
    return this.streamed - this.received - this.skipped.slow - this.skipped.rate - this.missed;
  }

  take(event: Event<unknown>): void {
    if (!("symbol" in event)) return;
    const line = this.#lines.get(event.symbol);
    if (event.type === "gap" && event.missed === null) {
      if (line !== undefined) this.restarted += 1;
      this.#lines.delete(event.symbol);
    } else if (line === undefined) {
      if ("price" in event) this.#lines.set(event.symbol, { seq: event.seq, slow: 0, rate: 0, missed: 0 });
    } else if (event.type === "gap") line.missed += event.missed ?? 0;
    else if (event.type === "conflated") line[event.reason === "rate" ? "rate" : "slow"] += event.skipped;
    else this.#advance(line, event.seq);
  }

  #advance(line: Line, seq: number): void {
    this.streamed += seq - line.seq;
    this.received += 1;
    this.skipped.slow += line.slow;
    this.skipped.rate += line.rate;
    this.missed += line.missed;
    Object.assign(line, { seq, slow: 0, rate: 0, missed: 0 });
  }
}
