// Which symbols are wanted, whatever the connection does meanwhile, and the loop that asks for them.

import type { Books, Place } from "./books.ts";
import { type Command, EVERYTHING, type Options, subscribe, unsubscribe } from "./commands.ts";
import { CommandRefused } from "./errors.ts";
import type { Event } from "./events.ts";
import { float, floatOr, type Message, members, string, stringOr } from "./messages.ts";
import { Lost, now, type Session } from "./session.ts";

const PASSING = new Set(["auth_unavailable", "bus_unavailable", "too_many_commands"]);
// Least seconds before a command is sent again that was refused for the moment.
const RETRY = 1;

/** A call of `subscribe` or `unsubscribe` that waits for its answers. An `undo` unsubscribes from what is not wanted after all. */
class Request {
  readonly action: "subscribe" | "unsubscribe" | "undo";
  readonly symbols: readonly string[];
  readonly options: Options;
  readonly done: Promise<void>;
  /** How what it has changed was wanted before. */
  before = new Map<string, Options | undefined>();
  /** What the gateway has taken of `maxRate`. */
  rate: number | null = null;
  isDone = false;
  isAborted = false;
  #resolve!: () => void;
  #reject!: (error: unknown) => void;

  constructor(action: Request["action"], symbols: readonly string[], options: Options) {
    this.action = action;
    this.symbols = symbols;
    this.options = options;
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.done.catch(() => {});
  }

  /** Whether it subscribes to `symbol`. */
  isFor(symbol: string): boolean {
    return this.action === "subscribe" && this.symbols.includes(symbol);
  }

  resolve(): void {
    this.isDone = true;
    this.#resolve();
  }

  reject(error: unknown): void {
    this.isDone = true;
    this.#reject(error);
  }

  abort(reason: unknown): void {
    this.isAborted = !this.isDone;
    this.reject(reason);
  }
}

type Shown = { token: string; resolve: (expiresAt: string | null) => void; reject: (error: unknown) => void };

/** What the subscriptions do to the rest of the client. */
export interface SubscriptionHandlers<N> {
  emit(event: Event<N>): void;
  /** Takes what is no longer wanted out of what waits for the consumer. */
  purge(isUnwanted: (symbol: string) => boolean): void;
}

/**
 * What is wanted, and what has still to be asked for.
 *
 * Requests are carried out in their order, one command at a time. What they have won is wanted from then on, and is asked
 * for again on each new connection, with the positions of the books. A request that fails, or that was aborted, is undone:
 * all of its symbols or none.
 */
export class Subscriptions<N> {
  readonly wanted = new Map<string, Options>();
  #books;
  #handlers;
  #due = new Set<string>();
  #stray = new Set<string>();
  /** What this connection has by name: the gateway says nothing of it when it is asked for every symbol. */
  #named = new Set<string>();
  #requests: Request[] = [];
  #wake: (() => void) | null = null;
  #isConnected = false;
  #pings: ((ms: number) => void)[] = [];
  #shown: Shown | null = null;
  /** Whether the gateway has been asked for those of every symbol. */
  #hasSnapshots = true;
  #told = "";

  constructor(books: Books<N>, handlers: SubscriptionHandlers<N>) {
    this.#books = books;
    this.#handlers = handlers;
  }

  /** Whether ticks of `symbol` are wanted. */
  covers(symbol: string): boolean {
    return this.wanted.has(symbol) || this.wanted.has(EVERYTHING);
  }

  /** Whether a message is of a symbol of which the gateway has not heard yet that it is not wanted after all. */
  isStray({ symbol }: Message): boolean {
    if (this.#stray.size === 0 || typeof symbol !== "string" || this.covers(symbol)) return false;
    return this.#stray.has(symbol) || this.#stray.has(EVERYTHING);
  }

  /** The rate that was taken, once the gateway has acknowledged; rejects with CommandRefused. */
  async subscribe(symbols: readonly string[], options: Options, signal?: AbortSignal): Promise<number | null> {
    const request = new Request("subscribe", symbols, options);
    await this.#request(request, signal);
    return request.rate;
  }

  /** Resolves when no more ticks come; without a connection at once. */
  async unsubscribe(symbols: readonly string[], signal?: AbortSignal): Promise<void> {
    if (this.#isConnected || this.#requests.length > 0) {
      await this.#request(new Request("unsubscribe", symbols, NO_OPTIONS), signal);
    } else this.#letGo(symbols);
  }

  /** The gateway says of more of every symbol where they are, a while after its answer. */
  introduced(message: Message): void {
    const covered = places(message).filter(([symbol]) => this.covers(symbol));
    this.#books.subscribed(covered, [], this.#hasSnapshots);
  }

  /** Asks for symbols again that are not where they should be. */
  resume(symbols: Iterable<string>): void {
    for (const symbol of symbols) {
      if (this.wanted.has(symbol)) this.#due.add(symbol);
      else if (this.wanted.has(EVERYTHING)) this.#due.add(EVERYTHING);
    }
    this.#wake?.();
  }

  /** Takes what the gateway says that may be seen from now on. */
  limit(lost: readonly string[], patterns: readonly string[]): void {
    const beginnings = patterns.filter((one) => one.endsWith("*")).map((one) => one.slice(0, -1));
    this.#letGo(lost, (symbol) => patterns.includes(symbol) || beginnings.some((one) => symbol.startsWith(one)));
    this.#handlers.emit({ type: "accessChanged", lost, patterns });
  }

  /** Asks for a sign of life; resolves with the milliseconds that it took, and never if the connection ends before. */
  ping(): Promise<number> {
    return new Promise((resolve) => {
      this.#pings.push(resolve);
      this.#wake?.();
    });
  }

  /** Shows another token; resolves with when that one ends, if it does by itself. Rejects with CommandRefused. */
  authenticate(token: string): Promise<string | null> {
    return new Promise((resolve, reject) => {
      this.#shown = { token, resolve, reject };
      this.#wake?.();
    });
  }

  /** There will be no more connection: tells all who wait. */
  fail(error: unknown): void {
    for (const request of this.#requests) request.reject(error);
    this.#requests = [];
  }

  /** Asks for everything on a new connection, and for whatever comes up; resolves when the connection ends. */
  async pump(session: Session): Promise<void> {
    this.#due = new Set(this.wanted.keys());
    this.#requests = this.#requests.filter(({ action }) => action !== "undo");
    this.#stray.clear();
    this.#named.clear();
    this.#pings = [];
    this.#shown = null;
    this.#isConnected = true;
    try {
      for (;;) await this.#step(session);
    } catch (error) {
      if (!(error instanceof Lost)) throw error;
    } finally {
      this.#isConnected = false;
    }
  }

  async #request(request: Request, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const abort = () => {
      request.abort(signal?.reason);
      this.#wake?.();
    };
    signal?.addEventListener("abort", abort);
    this.#requests.push(request);
    this.#wake?.();
    try {
      await request.done;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  async #step(session: Session): Promise<void> {
    const request = this.#requests[0];
    if (this.#shown !== null) await this.#showToken(session, this.#shown);
    else if (this.#due.size > 0) await this.#askAgain(session);
    else if (request !== undefined) {
      if (request.isAborted) this.#undo(request);
      else await this.#carryOut(session, request);
      this.#requests = this.#requests.filter((other) => other !== request);
    } else if (this.#pings.length > 0) await this.#sendPing(session);
    else {
      try {
        await session.wait<void>((resolve) => {
          this.#wake = resolve;
        });
      } finally {
        this.#wake = null;
      }
    }
  }

  async #sendPing(session: Session): Promise<void> {
    const pings = this.#pings;
    this.#pings = [];
    let sent = 0;
    const make = () => {
      sent = now();
      return { fields: { action: "ping" }, symbols: [], since: [] };
    };
    await this.#ask(session, make, () => {
      for (const resolve of pings) resolve(1_000 * (now() - sent));
    });
  }

  async #showToken(session: Session, { token, resolve, reject }: Shown): Promise<void> {
    this.#shown = null;
    const command = { fields: { action: "auth", token }, symbols: [], since: [] };
    try {
      await this.#ask(
        session,
        () => command,
        (_, message) => resolve(stringOr(message.expires_at, null)),
      );
    } catch (error) {
      if (!(error instanceof CommandRefused)) throw error;
      reject(error);
    }
  }

  /** For some of what is due. Every symbol goes first: what was chosen for one by name comes on top of it. */
  async #askAgain(session: Session): Promise<void> {
    for (const symbol of this.#due) if (!this.wanted.has(symbol)) this.#due.delete(symbol);
    const [some] = this.#due;
    if (some === undefined) return;
    const first = this.#due.has(EVERYTHING) ? EVERYTHING : some;
    const options = this.wanted.get(first) as Options;
    const alike = [...this.#due].filter((symbol) => symbol !== first && isSame(this.wanted.get(symbol), options));
    try {
      for (const symbol of await this.#askFor(session, [first, ...alike], options)) this.#due.delete(symbol);
    } catch (error) {
      if (!(error instanceof CommandRefused) || error.code !== "access_denied") throw error;
      const denied = error.symbols.filter((symbol) => this.wanted.has(symbol));
      if (denied.length === 0) throw error;
      // It was taken away while there was no connection; the rest is asked for again.
      this.#letGo(denied);
      this.#handlers.emit({ type: "accessChanged", lost: denied, patterns: null });
    }
  }

  /** Sends as many commands as the request takes. */
  async #carryOut(session: Session, request: Request): Promise<void> {
    let left = request.symbols.filter((symbol) => request.action !== "undo" || !this.wanted.has(symbol));
    try {
      while (left.length > 0 && !request.isDone) {
        const taken = new Set(
          request.action === "subscribe"
            ? await this.#askFor(session, left, request.options, request)
            : await this.#askToEnd(session, left, request),
        );
        left = left.filter((symbol) => !taken.has(symbol));
      }
    } catch (error) {
      if (!(error instanceof CommandRefused)) throw error;
      this.#undo(request);
      if (error.symbols.length === 0) error.symbols = request.symbols;
      request.reject(error);
      return;
    }
    if (request.isAborted) this.#undo(request);
    else request.resolve();
  }

  /** Subscribes to as many of `symbols` as go into a command; returns them. */
  #askFor(
    session: Session,
    symbols: readonly string[],
    options: Options,
    request?: Request,
  ): Promise<readonly string[]> {
    const since = (symbol: string) => this.#books.since(symbol);
    // Symbols without room start over, which those asked for by name should not.
    const others = () =>
      [...new Set([...this.wanted.keys(), ...this.#books.symbols()])].filter((symbol) => !this.#named.has(symbol));
    const make = () => subscribe(symbols, options, since, others, session.messageBytes);
    return this.#ask(
      session,
      make,
      (command, message) => this.#subscribed(command, message, options, request),
      request,
    );
  }

  #subscribed(command: Command, message: Message, options: Options, request?: Request): void {
    if (request !== undefined) {
      request.rate = floatOr(message.max_rate, null);
      for (const symbol of command.symbols) {
        if (!request.before.has(symbol)) request.before.set(symbol, this.wanted.get(symbol));
        this.wanted.set(symbol, options);
      }
    }
    for (const symbol of command.symbols) {
      this.#stray.delete(symbol);
      this.#named.add(symbol);
    }
    if (command.symbols.includes(EVERYTHING)) this.#hasSnapshots = options.snapshot;
    this.#books.subscribed(places(message), command.since, options.snapshot);
    // Here, and not where the answer is awaited: its ticks may come right behind it.
    if (request?.isAborted) this.#undo(request);
  }

  #askToEnd(session: Session, symbols: readonly string[], request: Request): Promise<readonly string[]> {
    const make = () => unsubscribe(symbols, session.messageBytes);
    return this.#ask(session, make, (command) => this.#letGo(command.symbols), request);
  }

  /**
   * Sends a command, built again each time, until it is not refused for passing reasons; returns its symbols. Gives up, and
   * returns none, when the caller of `request` has stopped waiting.
   */
  async #ask(
    session: Session,
    make: () => Command,
    settle: (command: Command, message: Message) => void,
    request?: Request,
  ): Promise<readonly string[]> {
    this.#told = "";
    while (!request?.isDone) {
      const command = make();
      try {
        await session.ask(command.fields, (message) => settle(command, message));
        return command.symbols;
      } catch (error) {
        if (!(error instanceof CommandRefused)) throw error;
        const { code, retryAfter } = error;
        // What is wanted again may still be counted for the connection before, until the gateway misses it.
        if (!PASSING.has(code) && (request !== undefined || retryAfter === null)) throw error;
        const wait = Math.max(RETRY, retryAfter ?? 0);
        this.#delay(error, wait);
        await session.sleep(wait * (1 + Math.random() / 2));
      }
    }
    return [];
  }

  #delay({ code, text, reason }: CommandRefused, wait: number): void {
    const why = `${code} ${reason}`;
    if (why === this.#told) return;
    this.#told = why;
    this.#handlers.emit({ type: "delayed", code, message: text, reason, wait });
  }

  /** Wants again what was wanted before the request. */
  #undo(request: Request): void {
    const { before } = request;
    request.before = new Map();
    const stray: string[] = [];
    for (const [symbol, options] of before) {
      const heir = this.#requests.find((other) => other !== request && other.isFor(symbol));
      // Another call subscribes to it next, and undoes both if that is not to be either.
      if (heir !== undefined) heir.before.has(symbol) || heir.before.set(symbol, options);
      else if (options === undefined) stray.push(symbol);
      else {
        this.wanted.set(symbol, options);
        this.#due.add(symbol);
      }
    }
    this.#letGo(stray);
    if (stray.length > 0 && this.#isConnected) {
      for (const symbol of stray) this.#stray.add(symbol);
      this.#requests.unshift(new Request("undo", stray, NO_OPTIONS));
    }
    this.#wake?.();
  }

  #letGo(symbols: Iterable<string>, maySee: (symbol: string) => boolean = () => true): void {
    for (const symbol of symbols) {
      this.wanted.delete(symbol);
      this.#due.delete(symbol);
      this.#stray.delete(symbol);
      this.#named.delete(symbol);
    }
    const stays = (symbol: string) => this.covers(symbol) && maySee(symbol);
    this.#books.keep(stays);
    this.#handlers.purge((symbol) => !stays(symbol));
  }
}

const NO_OPTIONS: Options = { maxRate: null, snapshot: true };

const isSame = (a: Options | undefined, b: Options) =>
  a?.maxRate === b.maxRate && a.snapshot === b.snapshot && a.trace === b.trace;

function places(message: Message): [string, Place][] {
  return members(message.positions).map(([symbol, value]) => {
    const place = value as Record<string, unknown>;
    const recovered = place.recovered === undefined ? undefined : Boolean(place.recovered);
    return [symbol, { seq: float(place.seq), epoch: string(place.epoch), recovered }];
  });
}
