// The client: one loop that connects, reads, and comes back, and the calls of those who use it.

import { atLeast, flag, symbolList, text, webSocketUrl } from "./arguments.ts";
import { Backoff, type BackoffOptions, Refusals } from "./backoff.ts";
import { Books, type Counts } from "./books.ts";
import { type Closure, LOST } from "./closures.ts";
import { BadMessage, ClientClosed, ClosedForGood, Refused } from "./errors.ts";
import type { BusState, Disconnected, Event, Quote } from "./events.ts";
import { Inbox } from "./inbox.ts";
import { Listeners } from "./listeners.ts";
import { counts, float, floatOr, type MakeNumber, type Message, quote, string, stringOr, strings } from "./messages.ts";
import { onReturn, type SocketConstructor, socketMaker } from "./platform.ts";
import { NotConnected, now, Session } from "./session.ts";
import { changed, type FeedStatus, HAS_BUS, idle, type Loss } from "./status.ts";
import { Subscriptions } from "./subscriptions.ts";
import { type Token, Tokens } from "./tokens.ts";

const HANDSHAKE_MS = 10_000;
// What a refused handshake waits for changes by somebody's doing. Where it is for too many of them, each one counts.
const REFUSED_WAIT = 5;
// So often HTTP must work while no handshake does before that is taken for a refusal: a gateway that is just starting or
// stopping looks the same for a moment.
const FAILED_HANDSHAKES = 3;

/** The last price of a symbol that came. `isStale`: there is, or may be, a newer one that did not. */
export interface Latest<N = string> {
  readonly quote: Quote<N>;
  readonly isStale: boolean;
}

export interface ClientOptions<N = string> {
  /** Makes what a price is of its digits, in place of a string of them: `Number`, say. */
  readonly number?: MakeNumber<N>;
  /** As `number`: a class that takes the digits. */
  readonly Decimal?: new (
    digits: string,
  ) => N;
  /**
   * A token, or a function that gives one: it is asked before each connection, and before a connection ends by itself.
   * What it throws is tried again. Without one the browser shows the cookies of the session.
   */
  readonly token?: Token;
  /** The API key, and more headers of the handshake: not in a browser. */
  readonly key?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** How long `open` tries to make the first connection, in seconds (for as long as it takes). */
  readonly connectTimeout?: number;
  /** Events that may wait for who iterates (1000), and for how many seconds (1). */
  readonly maxQueue?: number;
  readonly maxAge?: number;
  /** The pauses between attempts to connect. */
  readonly backoff?: BackoffOptions;
  /**
   * Asks the gateway over HTTP, and gives the status of its answer. It is called when a handshake failed, since a WebSocket
   * does not tell why: it was a refusal if this is 401 or 403, or 200 three times while no handshake succeeds.
   */
  readonly probe?: () => Promise<number>;
  /** For how many seconds of nothing but refusals a client that was welcomed before tries again (60); Infinity: for ever, any client. */
  readonly refusedFor?: number;
  /** In place of the platform's, which Node has from 22 on. */
  readonly WebSocket?: SocketConstructor;
}

/** What there is to listen to: the events by their type, and these. */
export type Listenable<N = string> = { [Type in Event<N>["type"]]: Event<N> & { readonly type: Type } } & {
  /** Every event. */
  event: Event<N>;
  status: FeedStatus;
  /** What `latest` says of a symbol may have changed; undefined: of all. */
  change: string | undefined;
};

/** As in `subscribe`. `signal`: ends the wait; what was aborted has not happened. */
export interface SubscribeOptions {
  readonly maxRate?: number | null;
  readonly snapshot?: boolean;
  readonly trace?: boolean;
  readonly signal?: AbortSignal;
}

/** A connection to a gateway that comes back by itself, and says what was lost. */
export class Client<N = string> implements AsyncIterable<Event<N>> {
  readonly url: URL;
  /** The gateway's clock at its last heartbeat: RFC 3339 in UTC. Null until there was one. */
  serverTime: string | null = null;
  #make;
  #number: MakeNumber<N>;
  #tokens;
  #probe;
  #connectTimeout;
  #backoff;
  #refusals;
  #inbox;
  #books;
  #subscriptions;
  #listeners = new Listeners<Listenable<N>>();
  #isIterated = false;
  #latest = new Map<string, Latest<N>>();
  #status: FeedStatus = idle;
  #session: Session | null = null;
  #isOpened = false;
  #closing = new AbortController();
  #end: Error | null = null;
  #failure: string | null = null;
  #failedHandshakes = 0;
  #notBefore = 0;
  #skipPause: (() => void) | null = null;
  #opened!: { resolve: () => void; reject: (error: Error) => void };

  /** `url`: `wss://host/ws`; in a browser the path alone will do. Throws TypeError or RangeError for what it cannot use. */
  constructor(url: string | URL, options: ClientOptions<N> = {}) {
    const {
      token,
      key,
      headers = {},
      connectTimeout,
      maxQueue = 1_000,
      maxAge = 1,
      refusedFor = 60,
      Decimal,
    } = options;
    if (key !== undefined && token !== undefined) throw new TypeError("key or token, not both");
    this.url = webSocketUrl(url);
    this.#number = options.number ?? (Decimal ? (digits) => new Decimal(digits) : (digits) => digits as N);
    this.#tokens = new Tokens(token);
    const shown = key === undefined ? headers : { ...headers, Authorization: `Api-Key ${text("key", key)}` };
    this.#make = socketMaker(this.url, options.WebSocket, shown);
    this.#probe = options.probe;
    this.#connectTimeout = connectTimeout === undefined ? null : atLeast(0, "connectTimeout", connectTimeout);
    this.#backoff = new Backoff(options.backoff);
    this.#refusals = new Refusals(atLeast(0, "refusedFor", refusedFor), now);
    this.#inbox = new Inbox<N>(atLeast(1, "maxQueue", maxQueue), atLeast(0, "maxAge", maxAge), now);
    this.#books = new Books<N>((event) => this.#emit(event));
    this.#subscriptions = new Subscriptions<N>(this.#books, {
      emit: (event) => this.#emit(event),
      purge: (isUnwanted) => this.#purge(isUnwanted),
    });
  }

  // For its users

  /**
   * Connects, and resolves when the gateway has welcomed. Tries again as long as that may help. Rejects with Refused if it
   * cannot, with an error named TimeoutError after `connectTimeout`.
   */
  async open(): Promise<this> {
    if (this.#isOpened) throw new Error("a client is opened once");
    if (this.#end !== null) throw this.#end;
    this.#isOpened = true;
    const opened = new Promise<void>((resolve, reject) => {
      this.#opened = { resolve, reject };
    });
    this.#run();
    const seconds = this.#connectTimeout;
    const giveUp = () => {
      const why = this.#failure ?? "no answer";
      const error = new Error(`not connected to ${this.url} within ${seconds} s: ${why}`);
      error.name = "TimeoutError";
      this.#opened.reject(error);
    };
    const timer = seconds === null ? undefined : setTimeout(giveUp, 1_000 * seconds);
    try {
      await opened;
    } catch (error) {
      await this.close();
      throw error;
    } finally {
      clearTimeout(timer);
    }
    return this;
  }

  /** Ends the connection and the iteration. What waits for the consumer is dropped. */
  async close(): Promise<void> {
    this.#inbox.discard();
    this.#finish(new ClientClosed());
  }

  /**
   * Subscribes to `symbols`, all or none; `"*"` is every symbol. Resolves when the gateway has acknowledged, with the rate
   * that it has taken, which may be somewhat lower than `maxRate` (ticks a second at most, for each symbol); null for every
   * tick. `snapshot`: whether the last tick of each symbol is wanted first. `trace`: whether ticks say when
   * they were where (`Tick.trace`).
   *
   * It waits for as long as there is no connection or no bus, so give it a `signal` if that matters. Subscribing again
   * replaces the options, and the stream goes on where it is. Rejects with CommandRefused, or how the client has ended.
   */
  async subscribe(symbols: string | readonly string[], options: SubscribeOptions = {}): Promise<number | null> {
    const { maxRate = null, snapshot = true, trace, signal } = options;
    const list = symbolList(symbols);
    if (maxRate !== null) atLeast(Number.MIN_VALUE, "maxRate", maxRate);
    if (this.#end !== null) throw this.#end;
    return this.#subscriptions.subscribe(list, { maxRate, snapshot: flag("snapshot", snapshot), trace }, signal);
  }

  /** Ends subscriptions; after it has resolved no event of the symbols comes. */
  async unsubscribe(
    symbols: string | readonly string[],
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<void> {
    const list = symbolList(symbols);
    if (this.#end !== null) throw this.#end;
    await this.#subscriptions.unsubscribe(list, options.signal);
  }

  /** What is subscribed to, in that order. */
  get symbols(): readonly string[] {
    return [...this.#subscriptions.wanted.keys()];
  }

  get isConnected(): boolean {
    return this.#session !== null;
  }

  get status(): FeedStatus {
    return this.#status;
  }

  /** What has happened so far. */
  get counts(): Readonly<Counts> {
    const { counts } = this.#books;
    return { ...counts, skipped: counts.skipped + this.#inbox.skipped };
  }

  /**
   * The last price of `symbol` that came, also if it still waits for the consumer; null if there was none. The same object
   * as long as it says the same.
   */
  latest(symbol: string): Latest<N> | null {
    const quote = this.#books.last(text("symbol", symbol));
    if (quote === undefined) return null;
    const isStale = !this.#isFresh(symbol);
    const before = this.#latest.get(symbol);
    if (before?.quote === quote && before.isStale === isStale) return before;
    const latest = { quote, isStale };
    this.#latest.set(symbol, latest);
    return latest;
  }

  /**
   * Calls `listener` from now on; returns what ends that. With a listener for events, none wait for an iteration, unless
   * one has begun. A listener is called at once, however fast events come: what takes time, it should put off.
   */
  on<Type extends keyof Listenable<N>>(type: Type, listener: (value: Listenable<N>[Type]) => void): () => void {
    const end = this.#listeners.add(type, listener);
    if (type !== "status" && type !== "change" && !this.#isIterated) {
      this.#inbox.isKept = false;
      this.#inbox.discard();
    }
    return end;
  }

  /**
   * What happened, in order, for one consumer. Throws when there is no going on: ClosedForGood, Refused or BadMessage; the
   * iteration just ends when the client is closed.
   */
  [Symbol.asyncIterator](): AsyncIterator<Event<N>, undefined, undefined> {
    if (this.#isIterated) throw new Error("a client has one consumer");
    this.#isIterated = this.#inbox.isKept = true;
    let isOver = false;
    const over = { done: true, value: undefined } as const;
    return {
      next: async () => {
        if (isOver) return over;
        try {
          return { done: false, value: await this.#inbox.get() };
        } catch (error) {
          if (error instanceof ClientClosed) return over;
          throw error;
        }
      },
      return: async () => {
        if (!isOver) this.#isIterated = false;
        isOver = true;
        return over;
      },
    };
  }

  /** Asks the gateway for a sign of life; resolves with the milliseconds that it took, and never if the connection ends before. */
  ping(): Promise<number> {
    return this.#subscriptions.ping();
  }

  /** Attempts to connect now, but not before the time that the gateway named. */
  retry(): void {
    if (now() >= this.#notBefore) this.#skipPause?.();
  }

  /**
   * Something is back that was away: the network, the visitor or the gateway. There is nothing to wait for, and what seems
   * to be a connection may be none any more. The first two it notices itself.
   */
  wake(): void {
    this.#backoff.reset();
    this.#session?.suspect();
    this.retry();
  }

  // The loop

  async #run(): Promise<void> {
    const ignore = onReturn(() => this.wake());
    try {
      while (this.#end === null) {
        this.#show({ state: "connecting", retryAt: null });
        const event = await this.#attempt();
        if (event !== null) await this.#pause(event.wait);
      }
    } catch (error) {
      this.#finish(error as Error);
    } finally {
      ignore();
    }
  }

  /** One connection, from beginning to end; what came of it, null if the client was closed. Throws if there should be no other. */
  async #attempt(): Promise<Disconnected | null> {
    let token: string | undefined;
    try {
      token = await this.#tokens.next();
    } catch (error) {
      return this.#tryAgain(LOST, `no token: ${(error as Error).message}`, 0);
    }
    if (this.#end !== null) return null;
    let session: Session;
    try {
      session = await this.#open(token);
    } catch (error) {
      if (this.#end !== null) return null;
      if (error instanceof NotConnected) return this.#notConnected(error.closure);
      // A constructor that throws means the URL, or what the page may connect to.
      return this.#refused(null, error instanceof BadMessage ? error : new Refused(null, (error as Error).message));
    }
    return this.#use(session);
  }

  #open(token: string | undefined): Promise<Session> {
    const handlers = {
      onWelcome: (session: Session) => this.#welcomed(session),
      onMessage: (message: Message) => this.#take(message),
      onHeard: (isHeard: boolean) => {
        this.#show({ state: isHeard ? "live" : "silent" });
        this.#listeners.call("change", undefined);
      },
      onQuiet: () => void this.ping(),
    };
    return Session.open(() => this.#make(token), handlers, HANDSHAKE_MS, this.#closing.signal);
  }

  async #notConnected({ code, reason, reconnect, wait }: Closure): Promise<Disconnected | null> {
    if (!reconnect) throw new ClosedForGood(code, reason);
    if (code !== LOST) return this.#tryAgain(code, reason, wait, true);
    const status = (await this.#probe?.().catch(() => 0)) ?? 0;
    if (this.#end !== null) return null;
    this.#failedHandshakes = status === 200 ? this.#failedHandshakes + 1 : 0;
    if (status === 401 || status === 403) return this.#refused(status, new Refused(status, `HTTP ${status}`));
    if (this.#failedHandshakes >= FAILED_HANDSHAKES) {
      return this.#refused(null, new Refused(null, "only HTTP succeeds"));
    }
    this.#refusals.interrupted();
    return this.#tryAgain(code, reason, status === 429 ? REFUSED_WAIT : 0);
  }

  #refused(status: number | null, error: Refused | BadMessage): Disconnected {
    const left = this.#refusals.left();
    if (left <= 0) throw error;
    const reason = error instanceof Refused ? error.reason : error.message;
    return this.#tryAgain(LOST, reason, status === null ? 0 : Math.min(left, REFUSED_WAIT), true);
  }

  #tryAgain(code: number, reason: string, least: number, isRefused = false): Disconnected {
    this.#failure = reason;
    return this.#lost({ code, reason, wasConnected: false, isRefused }, least, 0);
  }

  #welcomed(session: Session): void {
    this.#session = session;
    this.#failedHandshakes = 0;
    this.#refusals.welcomed();
    this.#show({ state: "live", bus: HAS_BUS, delayed: null, loss: null, version: session.version });
    this.#emit({ type: "connected", version: session.version });
    this.#opened.resolve();
  }

  /** Reads until the connection ends, while another loop asks for what is wanted. */
  async #use(session: Session): Promise<Disconnected | null> {
    const began = now();
    this.#tokens.keepFresh(session.expiresAt, (token) => this.#subscriptions.authenticate(token));
    const pump = this.#subscriptions.pump(session).catch((error) => session.fail(error));
    let closure: Closure;
    try {
      if (this.#end !== null) session.close(1000, "");
      closure = await session.ended;
    } finally {
      this.#tokens.stop();
      this.#books.disconnected();
      await pump;
      this.#session = null;
    }
    if (this.#end !== null) return null;
    if (!closure.reconnect) throw new ClosedForGood(closure.code, closure.reason);
    this.#backoff.ended(now() - began);
    const { code, reason, wait } = closure;
    return this.#lost({ code, reason, wasConnected: true, isRefused: false }, wait, wait);
  }

  /** `least`: how long to wait before the backoff, and `firm`, how much of it even who asks to try now. */
  #lost(loss: Loss, least: number, firm: number): Disconnected {
    const { code, reason, wasConnected } = loss;
    const wait = least + this.#backoff.next();
    const event: Disconnected = { type: "disconnected", code, reason, wait };
    this.#notBefore = now() + firm;
    this.#show({ state: "waiting", retryAt: Date.now() + 1_000 * wait, loss, delayed: null });
    this.#inbox.put(event, !wasConnected);
    this.#tell(event);
    this.#listeners.call("change", undefined);
    return event;
  }

  async #pause(seconds: number): Promise<void> {
    if (this.#end !== null) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, 1_000 * seconds);
      this.#skipPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#skipPause = null;
  }

  /** What a message means. Types that are not known are for newer clients. */
  #take(message: Message): void {
    const { type } = message;
    if (this.#subscriptions.isStray(message)) return;
    if (type === "tick" || type === "snapshot") {
      const price = quote(message, this.#number);
      if (message.skipped) this.#books.conflated("rate", [[price.symbol, float(message.skipped)]]);
      this.#books.quote(price);
    } else if (type === "conflated") this.#books.conflated(string(message.reason), counts(message.skipped));
    else if (type === "gap") {
      const { symbol, missed, seq, epoch } = message;
      this.#books.gap(string(symbol), floatOr(missed, null), floatOr(seq, 0), string(epoch));
    } else if (type === "heartbeat") {
      this.serverTime = stringOr(message.time, this.serverTime);
      if (message.seqs === undefined) return;
      this.#subscriptions.resume(this.#books.heartbeat(counts(message.seqs)));
    } else if (type === "introduced") this.#subscriptions.introduced(message);
    else if (type === "error" || message.id !== undefined) this.#answered(message);
    else if (type === "bus") this.#bus(Boolean(message.connected), new Set(strings(message.symbols)));
    else if (type === "access") this.#subscriptions.limit(strings(message.lost), strings(message.patterns));
    else if (type === "closing") this.#session?.closing(message);
    // After what is of no one symbol, any may be stale, or current again.
    this.#listeners.call("change", message.symbol as string | undefined);
  }

  #answered(message: Message): void {
    this.#session?.answered(message);
    if (message.type !== "error" && this.#status.delayed !== null) this.#show({ delayed: null });
  }

  #bus(connected: boolean, symbols: ReadonlySet<string>): void {
    const bus: BusState = { type: "busState", connected, symbols };
    this.#show({ bus });
    this.#emit(bus);
  }

  #isFresh(symbol: string): boolean {
    const { state, bus } = this.#status;
    const hasBus = bus.connected || (bus.symbols.size > 0 && !bus.symbols.has(symbol));
    return state === "live" && hasBus && this.#books.isCurrent(symbol);
  }

  #emit(event: Event<N>): void {
    this.#inbox.put(event);
    if (event.type === "delayed") this.#show({ delayed: event });
    this.#tell(event);
  }

  #tell(event: Event<N>): void {
    this.#listeners.call(event.type, event as never);
    this.#listeners.call("event", event);
  }

  #show(change: Parameters<typeof changed>[1]): void {
    this.#status = changed(this.#status, change);
    this.#listeners.call("status", this.#status);
  }

  #purge(isUnwanted: (symbol: string) => boolean): void {
    this.#inbox.purge(isUnwanted);
    for (const symbol of this.#latest.keys()) if (isUnwanted(symbol)) this.#latest.delete(symbol);
    this.#listeners.call("change", undefined);
  }

  /** There will be no connection any more: tells everybody who waits. */
  #finish(end: Error): void {
    if (this.#end === null) {
      this.#end = end;
      this.#show({ state: "closed", retryAt: null, error: end });
      this.#listeners.call("change", undefined);
    }
    this.#inbox.finish(this.#end);
    this.#subscriptions.fail(this.#end);
    this.#closing.abort();
    this.#tokens.stop();
    this.#session?.close(1000, "");
    this.#skipPause?.();
    this.#opened?.reject(this.#end);
  }
}
