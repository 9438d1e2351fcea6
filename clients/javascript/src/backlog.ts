// What waits for a consumer that is slow: of each symbol the newest price, and what must be known before it. No I/O.
//
// What is left out is counted, so that the books of the consumer go on balancing:
//
//     next.seq - last.seq - 1  =  sum of Conflated.skipped  +  sum of Gap.missed
//
// Events of the same kind and reason are added up, so what waits is bounded by the number of symbols.

import type { Conflated, Event, Gap, Quote } from "./events.ts";

type Note = Conflated | Gap;

/** Receipts and gaps in a row. A gap of unknown size parts them: it ends the account that those before belong to. */
class Notes {
  #before = new Map<string, Note>();
  #break: Gap | null = null;
  #after = new Map<string, Note>();

  add(note: Note): void {
    if (note.type === "gap" && note.missed === null) {
      for (const earlier of this.#after.values()) addUp(this.#before, earlier);
      this.#break = note;
      this.#after = new Map();
    } else addUp(this.#after, note);
  }

  *[Symbol.iterator](): Iterator<Note> {
    if (this.#break !== null) {
      yield* this.#before.values();
      yield this.#break;
    }
    yield* this.#after.values();
  }
}

function addUp(notes: Map<string, Note>, note: Note): void {
  const key = `${note.type} ${note.reason}`;
  const old = notes.get(key);
  if (note.type === "gap") notes.set(key, { ...note, missed: ((old as Gap)?.missed ?? 0) + (note.missed ?? 0) });
  else notes.set(key, { ...note, skipped: ((old as Conflated)?.skipped ?? 0) + note.skipped });
}

/** What waits of one symbol. `turn`: how many events of other kinds had come when it was put in line. */
class Parked<N> {
  turn: number;
  #before = new Notes();
  #quote: Quote<N> | null = null;
  #after = new Notes();

  constructor(turn: number) {
    this.turn = turn;
  }

  /** Returns whether an older price was left out for it. */
  add(event: Quote<N> | Note): boolean {
    if (event.type === "conflated" || event.type === "gap") {
      (this.#quote === null ? this.#before : this.#after).add(event);
      return false;
    }
    const wasThere = this.#quote !== null;
    if (wasThere) {
      this.#before.add({ type: "conflated", symbol: event.symbol, skipped: 1, reason: "slow" });
      for (const note of this.#after) this.#before.add(note);
      this.#after = new Notes();
    }
    this.#quote = event;
    return wasThere;
  }

  events(): Event<N>[] {
    return [...this.#before, ...(this.#quote === null ? [] : [this.#quote]), ...this.#after];
  }
}

/**
 * Events in the order in which they are due; each symbol, and each kind of the others, has one place.
 *
 * A symbol keeps its place when a newer price comes, so that all have their turn. It goes to the end where a connection,
 * say, was lost in between: the consumer must not take the price for one from before.
 */
export class Backlog<N> {
  /** Prices that were left out for newer ones, in all. */
  skipped = 0;
  #symbols = new Map<string, Parked<N>>();
  /** The same ones and the others, in their order: for those the key is their type behind a space, which no symbol has. */
  #places = new Map<string, Parked<N> | Event<N>>();
  #turn = 0;

  get isEmpty(): boolean {
    return this.#places.size === 0;
  }

  put(event: Event<N>): void {
    if (!("symbol" in event)) {
      this.#turn += 1;
      this.#last(` ${event.type}`, event);
      return;
    }
    const { symbol } = event;
    let parked = this.#symbols.get(symbol);
    if (parked === undefined) {
      parked = new Parked(this.#turn);
      this.#symbols.set(symbol, parked);
      this.#places.set(symbol, parked);
    } else if (parked.turn !== this.#turn) {
      parked.turn = this.#turn;
      this.#last(symbol, parked);
    }
    if (parked.add(event)) this.skipped += 1;
  }

  /** What is due next; empty if nothing waits. */
  take(): Event<N>[] {
    for (const [key, place] of this.#places) {
      this.#places.delete(key);
      this.#symbols.delete(key);
      return place instanceof Parked ? place.events() : [place];
    }
    return [];
  }

  /** Takes out the symbols that are no longer wanted. */
  purge(isUnwanted: (symbol: string) => boolean): void {
    for (const symbol of this.#symbols.keys()) {
      if (!isUnwanted(symbol)) continue;
      this.#symbols.delete(symbol);
      this.#places.delete(symbol);
    }
  }

  clear(): void {
    this.#symbols.clear();
    this.#places.clear();
  }

  #last(key: string, place: Parked<N> | Event<N>): void {
    this.#places.delete(key);
    this.#places.set(key, place);
  }
}
