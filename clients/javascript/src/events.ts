// What a client is told, in the order in which it happened. `N` is what a price is: a string of its digits by default.

/** What a publisher sends beyond the other fields: values by name. */
export type Extra<N = string> = Readonly<Record<string, N | string | boolean | null>>;

/**
 * When a tick was where, in microseconds since 1970, each by the clock of where that was, as far as that is known. `published`:
 * its own timestamp, if it came with one. `received`: by the gateway that it was posted to. `sequenced`: by the bus, which
 * numbered it. `sent`: by the gateway that this client is connected to.
 */
export interface Trace {
  readonly published?: number;
  readonly received?: number;
  readonly sequenced?: number;
  readonly sent?: number;
  /** Of W3C Trace Context, if it was posted with one. */
  readonly traceparent?: string;
}

interface Price<N> {
  readonly symbol: string;
  readonly price: N;
  /** RFC 3339 in UTC, as it came: it may have nine digits of fraction, which no `Date` holds. */
  readonly timestamp: string;
  /** The tick's number in the stream of its symbol. */
  readonly seq: number;
  readonly bid: N | null;
  readonly ask: N | null;
  readonly size: N | null;
  readonly extra: Extra<N> | null;
  /** If it was asked for. */
  readonly trace: Trace | null;
}

/** One tick, with the digits it was published with. */
export interface Tick<N = string> extends Price<N> {
  readonly type: "tick";
}

/** The last tick of a symbol, for a client that did not get it when it was new. It may be old: see `timestamp`. */
export interface Snapshot<N = string> extends Price<N> {
  readonly type: "snapshot";
  readonly epoch: string;
}

export type Quote<N = string> = Tick<N> | Snapshot<N>;

/**
 * - `"bus"`: the gateway itself missed them.
 * - `"not_recovered"`: they came while this client was not connected, and are not kept any more.
 * - `"heartbeat"`: the gateway is ahead of this client, which has asked for what is missing. It comes as ticks, or another
 *   gap says that it is lost. `missed` is null.
 * - `"unexplained"`: a number was left out without an explanation.
 */
export type GapReason = "bus" | "not_recovered" | "heartbeat" | "unexplained";

/** Ticks of `symbol` did not come: `missed` of them, null where the number cannot be known. */
export interface Gap {
  readonly type: "gap";
  readonly symbol: string;
  readonly missed: number | null;
  readonly reason: GapReason;
  /** Where the stream is. `epoch` is empty if that is not known. */
  readonly seq: number;
  readonly epoch: string;
}

/** `skipped` ticks of `symbol` were left out for the newer one that comes next. */
export interface Conflated {
  readonly type: "conflated";
  readonly symbol: string;
  readonly skipped: number;
  /** `"rate"` for the `maxRate` that was chosen, `"slow"` for a client that did not keep up. */
  readonly reason: string;
}

/** Whether the gateway hears from the bus. While it does not, prices may be stale: all, or of `symbols`. */
export interface BusState {
  readonly type: "busState";
  readonly connected: boolean;
  readonly symbols: ReadonlySet<string>;
}

/** What this client may see has changed: subscriptions to `lost` have ended, and will not be asked for again. */
export interface AccessChanged {
  readonly type: "accessChanged";
  readonly lost: readonly string[];
  /**
   * Symbols and beginnings (`BTC-*`) that may be subscribed to now; null where only `lost` is known, because the change
   * came while there was no connection.
   */
  readonly patterns: readonly string[] | null;
}

/** The gateway refuses a command for the moment. It is asked again, `wait` seconds later at least. */
export interface Delayed {
  readonly type: "delayed";
  readonly code: string;
  readonly message: string;
  /** Why, of `bus_unavailable`; else empty. */
  readonly reason: string;
  readonly wait: number;
}

/** There is a connection. What was subscribed is being subscribed again. */
export interface Connected {
  readonly type: "connected";
  /** The gateway's. */
  readonly version: string;
}

/** There is no connection: one was lost, or an attempt failed. Every price may be stale. */
export interface Disconnected {
  readonly type: "disconnected";
  /** The WebSocket close code; 1006 if there was none. */
  readonly code: number;
  readonly reason: string;
  /** Seconds until the next attempt. */
  readonly wait: number;
}

export type Event<N = string> =
  | Tick<N>
  | Snapshot<N>
  | Gap
  | Conflated
  | BusState
  | AccessChanged
  | Delayed
  | Connected
  | Disconnected;
