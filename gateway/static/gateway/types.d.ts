// The shapes that the scripts hand each other. What the server sends is described in docs/; numbers in it arrive as text
// (exact.js), and fields that the page does not read are left out.

/** A JSON number as the text it was sent as. */
export type Digits = string;

/** What a publisher sends beyond the usual fields. */
export type Extra = Record<string, string | boolean | null>;

/** A tick as it was published (ticks/fields.py). */
export interface TickFields {
  symbol: string;
  price: Digits;
  timestamp: string;
  bid?: Digits;
  ask?: Digits;
  size?: Digits;
  extra?: Extra;
}

export interface Tick extends TickFields {
  type: "tick" | "snapshot";
  /** The tick's number in its symbol's stream; absent where the bus numbers nothing. */
  seq?: Digits;
  /** Only snapshots name it. */
  epoch?: string;
  /** For who asked. */
  trace?: Trace;
}

/** When a tick was where, in microseconds since 1970, as far as that is known. */
export interface Trace {
  published?: Digits;
  received?: Digits;
  sequenced?: Digits;
  sent: Digits;
  traceparent?: string;
}

export interface Welcome {
  type: "welcome";
  version: string;
  limits?: { symbols?: Digits; message_bytes?: Digits; commands_per_second?: Digits };
  /** Seconds between heartbeats; "0" where there are none. */
  heartbeat?: Digits;
  /** When the connection ends by itself, unless another token is shown before. */
  expires_at?: string;
}

export interface Acknowledgement {
  type: "subscribed" | "unsubscribed";
  /** All symbols that are subscribed to now. */
  symbols: string[];
  positions?: Record<string, { seq: Digits; epoch: string; recovered?: boolean }>;
  /** The rate that was taken, where one was asked for. */
  max_rate?: Digits;
  id?: Digits;
}

/** Where more symbols of "*" are, a while after its acknowledgement. */
export interface Introduced {
  type: "introduced";
  positions: NonNullable<Acknowledgement["positions"]>;
}

export interface Conflated {
  type: "conflated";
  reason: "slow" | "rate";
  skipped: Record<string, Digits>;
}

export interface Gap {
  type: "gap";
  symbol: string;
  /** null: the number of ticks cannot be known. */
  missed: Digits | null;
  seq: Digits;
  epoch: string;
}

export interface Heartbeat {
  type: "heartbeat";
  /** The gateway's clock when it sent this, RFC 3339 in UTC. */
  time?: string;
  seqs?: Record<string, Digits>;
}

export interface Access {
  type: "access";
  /** What may be subscribed to from now on: symbols, and beginnings with a "*" behind them. */
  patterns: string[];
  /** Subscriptions that have ended. */
  lost?: string[];
}

export interface Auth {
  type: "auth";
  /** As in Welcome. */
  expires_at?: string;
}

export interface Bus {
  type: "bus";
  connected: boolean;
  /** Of which it is so, where it is not so of others. */
  symbols?: string[];
}

export interface Pong {
  type: "pong";
}

export interface Closing {
  type: "closing";
  reconnect: boolean;
  wait: Digits;
}

export interface ErrorMessage {
  type: "error";
  code: string;
  message: string;
  /** With bus_unavailable: why. */
  reason?: string;
  /** With access_denied: the symbols that it concerns. */
  symbols?: string[];
  /** Seconds after which it may be asked again. */
  retry_after?: Digits;
  id?: Digits;
}

export type Message =
  | Tick
  | Welcome
  | Acknowledgement
  | Introduced
  | Conflated
  | Gap
  | Heartbeat
  | Access
  | Auth
  | Bus
  | Pong
  | Closing
  | ErrorMessage;

/** One function for each type of message. */
export type Handlers = { [Type in Message["type"]]: (message: Message & { type: Type }) => void };

/** Where to resume a stream: after the tick numbered `seq`. */
export interface Since {
  seq: number;
  epoch: string;
}

export interface CommandFields {
  action: "subscribe" | "unsubscribe";
  id: number;
  max_rate?: number;
  trace?: true;
}

/** Whether connecting again makes sense, and after how many seconds at least. */
export interface Closure {
  reason?: string;
  reconnect: boolean;
  wait: number;
}

/** What Connection says of itself; see there. `retryAt` in ms of the wall clock. */
export type ConnectionState =
  | { name: "connecting" | "silent" }
  | { name: "live"; again?: boolean }
  | ({ name: "waiting"; retryAt: number; refused: boolean } & Loss)
  | ({ name: "closed" } & Loss);

/** How a connection, or an attempt at one, ended. */
export interface Loss {
  wasLive: boolean;
  code: number;
  reason: string;
}

export interface Instrument {
  symbol: string;
  name: string;
}

/** What the gateway writes into the page (PageConfig in gateway/edge/page.py). */
export interface Config {
  /** To begin with. */
  instruments: Instrument[];
  websocket_path: string;
  ticks_url: string;
  instruments_url: string;
  health_url: string;
  csrf_cookie: string;
  max_symbols: number;
  closures: Record<string, Closure>;
}

/** What the API answers where it took nothing. */
export interface Refusal {
  detail?: string;
  errors?: { field: string | null; message: string }[];
}

/** What a client of mistreat.js is to do: who it is, and how it is mistreated. */
export interface LaneBegin {
  url: string;
  symbols: string[];
  /** The symbol whose price is shown. */
  watched: string;
}

export interface LaneOrders {
  begin: LaneBegin;
  /** Seconds in which it reads nothing. */
  pause: number;
  /** Seconds in five in which it reads nothing. */
  slow: number;
  /** Ticks a second and symbol; null: as they come. */
  cap: number | null;
  /** Seconds before it connects again. */
  cut: number;
}

/** How a client of mistreat.js is (lane.worker.js): its books, and what it holds. */
export interface LaneSummary {
  state: "connecting" | "live" | "paused" | "cut" | "waiting" | "closed";
  price: Digits | "";
  /** The time of its newest tick, in ms. */
  newest: number;
  /** What the last receipt said. */
  receipt: string;
  /** Where the time of its newest tick went (traces.js). */
  steps: number[] | null;
  streamed: number;
  received: number;
  skipped: { slow: number; rate: number };
  missed: number;
  recovered: number;
  restarted: number;
  unaccounted: number;
}
