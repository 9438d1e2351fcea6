// Events between the socket and the one who iterates.
//
// A queue that keeps everything as long as the consumer keeps up, and the newest of each symbol when it does not. The
// client reads on while its consumer is slow: what it has not handled would grow old where nobody sees it, and would come
// as new. So when `limit` events wait, or the first has waited for longer than `maxAge` seconds, all that waits becomes a
// Backlog, until the consumer has come to its end.

import { Backlog } from "./backlog.ts";
import type { Event } from "./events.ts";

// Seconds after which a consumer that never waits lets the socket be read.
const SLICE = 0.05;

export class Inbox<N> {
  /** Whether somebody iterates, or may come to. */
  isKept = true;
  #limit;
  #maxAge;
  #clock;
  #events: { at: number; event: Event<N> }[] = [];
  #first = 0;
  #backlog = new Backlog<N>();
  #isBehind = false;
  /** What the backlog has given out: a price and what comes before it, which belong together. */
  #due: Event<N>[] = [];
  #end: Error | null = null;
  #failure: Event<N> | null = null;
  #wake: (() => void) | null = null;
  #waitedAt;

  constructor(limit: number, maxAge: number, clock: () => number) {
    this.#limit = limit;
    this.#maxAge = maxAge;
    this.#clock = clock;
    this.#waitedAt = clock();
  }

  /** Prices that were left out for newer ones. */
  get skipped(): number {
    return this.#backlog.skipped;
  }

  /** `isFailure`: an attempt to connect failed, perhaps again. Of those only the last is kept while nobody reads. */
  put(event: Event<N>, isFailure = false): void {
    if (!this.isKept) return;
    if (isFailure) {
      if (this.#waiting > 0 && this.#events.at(-1)?.event === this.#failure) this.#events.pop();
      this.#failure = event;
    }
    if (this.#isBehind) this.#backlog.put(event);
    else {
      this.#events.push({ at: this.#clock(), event });
      if (this.#waiting > this.#limit) this.#fallBehind();
    }
    this.#wake?.();
  }

  /** The next event; after the last it throws what `finish` was given. Throws while another waits. */
  async get(): Promise<Event<N>> {
    if (this.#wake !== null) throw new Error("a client has one consumer");
    await this.#letRead();
    for (;;) {
      const event = this.#next();
      if (event !== undefined) return event;
      if (this.#end !== null) throw this.#end;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = null;
      this.#waitedAt = this.#clock();
    }
  }

  /** Takes out the symbols that are no longer wanted. */
  purge(isUnwanted: (symbol: string) => boolean): void {
    const isWanted = (event: Event<N>) => !("symbol" in event && isUnwanted(event.symbol));
    this.#cut();
    this.#events = this.#events.filter(({ event }) => isWanted(event));
    this.#due = this.#due.filter(isWanted);
    this.#backlog.purge(isUnwanted);
  }

  discard(): void {
    this.#events = [];
    this.#first = 0;
    this.#due = [];
    this.#backlog.clear();
    this.#isBehind = false;
  }

  /** There will be no more events. */
  finish(end: Error): void {
    this.#end ??= end;
    this.#wake?.();
  }

  /** A consumer that finds an event each time it asks, and waits for nothing else, would hold up the event loop. */
  async #letRead(): Promise<void> {
    if (this.#clock() - this.#waitedAt <= SLICE || (this.#waiting === 0 && !this.#isBehind)) return;
    await turn();
    this.#waitedAt = this.#clock();
  }

  get #waiting(): number {
    return this.#events.length - this.#first;
  }

  #next(): Event<N> | undefined {
    const first = this.#events[this.#first];
    if (first !== undefined) {
      if ("symbol" in first.event && this.#clock() - first.at > this.#maxAge) this.#fallBehind();
      else {
        this.#first += 1;
        // Moved up now and then: to shift a long array each time takes as long as it is.
        if (this.#first > 1_000) this.#cut();
        return first.event;
      }
    }
    if (this.#due.length === 0) this.#due = this.#backlog.take();
    const event = this.#due.shift();
    if (event === undefined) this.#isBehind = false;
    return event;
  }

  #cut(): void {
    this.#events.splice(0, this.#first);
    this.#first = 0;
  }

  #fallBehind(): void {
    this.#isBehind = true;
    this.#cut();
    for (const { event } of this.#events) this.#backlog.put(event);
    this.#events = [];
  }
}

/** A turn of the event loop. No timer: those of a hidden page come once a second. */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}
