// Where this client is in the stream of each symbol, and what every message means for that. No I/O.
//
// The ticks of a symbol are numbered, +1 each, within an epoch. An account has the number up to which the consumer knows
// everything: each tick was handed to it, or it was told that the tick does not come. Of the next tick therefore
//
//     next.seq - account.seq - 1  =  what receipts have skipped  +  what is missing
//
// and what is missing becomes a Gap. So what the consumer is given always adds up, whatever the gateway sent:
//
//     next.seq - last.seq - 1  =  sum of Conflated.skipped  +  sum of Gap.missed
//
// unless a Gap between the two has null for `missed`, after which the account starts over.

import type { Event, GapReason, Quote } from "./events.ts";

/** A place in a stream. */
export interface Position {
  readonly seq: number;
  readonly epoch: string;
}

/** A place as an acknowledgement names it. */
export interface Place extends Position {
  readonly recovered?: boolean | undefined;
}

/**
 * What the books have seen: `repeated` ticks were dropped, as they were known; the rest was told to the consumer.
 * `missed` counts ticks, of those `gaps` whose size is known. `skipped` counts ticks. `resumed` and `late` count what
 * `recovered` said: symbols that went on without loss, and the ticks that came late for that.
 */
export interface Counts {
  repeated: number;
  gaps: number;
  missed: number;
  skipped: number;
  resumed: number;
  late: number;
}

class Account {
  /** Empty: not known, as ticks do not name theirs. */
  epoch: string;
  seq: number;
  receipts = new Map<string, number>();
  /** The seq of the last price the consumer was given in this epoch. */
  held = -1;
  /** Where the stream is, as far as the gateway has said. */
  told: number;
  /** Whether this connection has the symbol. */
  isSynced = true;

  constructor(epoch: string, seq: number) {
    this.epoch = epoch;
    this.seq = this.told = seq;
  }
}

/** The accounts of all symbols. What the consumer is to know is passed to `emit`. */
export class Books<N> {
  readonly counts: Counts = { repeated: 0, gaps: 0, missed: 0, skipped: 0, resumed: 0, late: 0 };
  #emit;
  #accounts = new Map<string, Account>();
  #last = new Map<string, Quote<N>>();

  constructor(emit: (event: Event<N>) => void) {
    this.#emit = emit;
  }

  /** Those that have an account. */
  symbols(): Iterable<string> {
    return this.#accounts.keys();
  }

  /** Where to resume the symbol, undefined if it has to start over. */
  since(symbol: string): Position | undefined {
    const account = this.#accounts.get(symbol);
    return account?.epoch ? { seq: account.seq, epoch: account.epoch } : undefined;
  }

  /** The last price of the symbol that came. */
  last(symbol: string): Quote<N> | undefined {
    return this.#last.get(symbol);
  }

  /** Whether that is the newest, as far as the gateway has said on this connection. */
  isCurrent(symbol: string): boolean {
    const account = this.#accounts.get(symbol);
    return account?.isSynced === true && account.held >= account.told;
  }

  /** Forgets all symbols but these. */
  keep(isWanted: (symbol: string) => boolean): void {
    for (const map of [this.#accounts, this.#last]) {
      for (const symbol of map.keys()) if (!isWanted(symbol)) map.delete(symbol);
    }
  }

  /** What was skipped before a tick that no longer came will be asked for again. */
  disconnected(): void {
    for (const account of this.#accounts.values()) {
      account.receipts.clear();
      account.isSynced = false;
    }
  }

  quote(quote: Quote<N>): void {
    const { symbol, seq } = quote;
    const epoch = quote.type === "tick" ? "" : quote.epoch;
    let account = this.#accounts.get(symbol) ?? this.#open(symbol, epoch, seq - 1);
    if (epoch && account.epoch && account.epoch !== epoch) {
      account = this.#startOver(symbol, account, "unexplained", epoch, seq - 1);
    }
    if (seq <= account.seq) {
      account.receipts.clear();
      this.counts.repeated += 1;
      return;
    }
    const missing = this.#settle(symbol, account, seq - account.seq - 1);
    account.epoch ||= epoch;
    this.#report(symbol, missing, "unexplained", seq - 1, account.epoch);
    account.seq = account.held = seq;
    this.#last.set(symbol, quote);
    this.#emit(quote);
  }

  /** A receipt. It is passed on with the tick that it was sent ahead of. */
  conflated(reason: string, skipped: Iterable<[string, number]>): void {
    for (const [symbol, count] of skipped) {
      const receipts = this.#accounts.get(symbol)?.receipts;
      if (count > 0) receipts?.set(reason, (receipts.get(reason) ?? 0) + count);
    }
  }

  /** The gateway has missed ticks. Where our own numbers say how many, they go before its own. */
  gap(symbol: string, missed: number | null, seq: number, epoch: string): void {
    const account = this.#accounts.get(symbol);
    if (account === undefined) {
      this.#open(symbol, epoch, seq);
      this.#report(symbol, missed, "bus", seq, epoch);
    } else if (account.epoch !== epoch || missed === null) {
      this.#startOver(symbol, account, "bus", epoch, seq);
    } else if (seq <= account.seq) {
      // Another gateway had them, and there they were not missed.
      account.receipts.clear();
    } else {
      const missing = this.#settle(symbol, account, seq - account.seq);
      account.seq = account.told = seq;
      this.#report(symbol, missing, "bus", seq, epoch);
    }
  }

  /** Returns the symbols that are not where the gateway says they should be: they have to be resumed. */
  heartbeat(seqs: Iterable<[string, number]>): string[] {
    return [...seqs].filter(([symbol, seq]) => !this.#agrees(symbol, seq)).map(([symbol]) => symbol);
  }

  /** An answer to a subscription that was `asked` to resume symbols, and for snapshots of the others or not. */
  subscribed(positions: Iterable<[string, Place]>, asked: Iterable<string>, snapshot: boolean): void {
    const left = new Set(asked);
    for (const [symbol, place] of positions) {
      left.delete(symbol);
      const account = this.#accounts.get(symbol);
      if (place.recovered && account !== undefined) {
        // What a receipt was for comes after all.
        account.receipts.clear();
        account.told = Math.max(place.seq, account.seq);
        account.isSynced = true;
        this.counts.resumed += 1;
        this.counts.late += account.told - account.seq;
      } else this.#restart(symbol, account, place, snapshot);
    }
    for (const symbol of left) {
      // "*" does not know it any more: the bus has lost its memory. One that never ticked it never knew.
      if (this.since(symbol)?.seq && this.#accounts.delete(symbol)) this.#report(symbol, null, "not_recovered", 0, "");
    }
  }

  #open(symbol: string, epoch: string, seq: number): Account {
    const account = new Account(epoch, seq);
    this.#accounts.set(symbol, account);
    return account;
  }

  /** Passes on the receipts that explain a jump over so many ticks; returns how many are left unexplained. */
  #settle(symbol: string, account: Account, jump: number): number {
    let left = jump;
    for (const [reason, count] of account.receipts) {
      const skipped = Math.min(count, left);
      if (skipped === 0) continue;
      left -= skipped;
      this.counts.skipped += skipped;
      this.#emit({ type: "conflated", symbol, skipped, reason });
    }
    account.receipts.clear();
    return left;
  }

  #agrees(symbol: string, seq: number): boolean {
    const account = this.#accounts.get(symbol);
    if (account === undefined) return seq === 0;
    if (account.seq === seq) return true;
    account.told = Math.max(seq, account.seq + 1);
    this.#report(symbol, null, "heartbeat", seq, account.epoch);
    return false;
  }

  /** The stream goes on at `place`: with a snapshot of that very tick, or behind it. */
  #restart(symbol: string, known: Account | undefined, { seq, epoch, recovered }: Place, snapshot: boolean): void {
    if (!epoch) {
      // Even the gateway does not know yet: whatever comes first is the beginning.
      if (this.#accounts.delete(symbol)) this.#report(symbol, null, "not_recovered", 0, "");
      return;
    }
    const isFinal = recovered === false;
    const start = seq > 0 && (snapshot || isFinal) ? seq - 1 : seq;
    let account = known ?? this.#open(symbol, epoch, start);
    if (account.epoch !== epoch || (isFinal && seq < account.seq)) {
      account = this.#startOver(symbol, account, "not_recovered", epoch, start);
    } else if (start > account.seq) {
      const missing = this.#settle(symbol, account, start - account.seq);
      account.seq = start;
      this.#report(symbol, missing, "not_recovered", start, epoch);
    }
    // Else the stream of this gateway is not as far as we are yet: what we know is dropped when it comes.
    account.told = Math.max(seq, account.seq);
    account.isSynced = true;
  }

  /** The stream is another one: it is unknown how many ticks were missed between the two. */
  #startOver(symbol: string, account: Account, reason: GapReason, epoch: string, seq: number): Account {
    this.#settle(symbol, account, Infinity);
    const next = this.#open(symbol, epoch, seq);
    this.#report(symbol, null, reason, seq, epoch);
    return next;
  }

  #report(symbol: string, missed: number | null, reason: GapReason, seq: number, epoch: string): void {
    if (missed === 0) return;
    this.counts.gaps += 1;
    this.counts.missed += missed ?? 0;
    this.#emit({ type: "gap", symbol, missed, reason, seq, epoch });
  }
}
