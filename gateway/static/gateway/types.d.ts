// The shapes that the scripts hand each other, beside those of the client (client.d.ts).

import type { Extra, Quote } from "./client.js";

/** A price as the text it was sent as. */
export type Digits = string;

export type { Extra };

/** A tick or a snapshot, as the client gives them. */
export type Tick = Quote;

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
  /** Why the gateway closes a connection, by the code. */
  closures: Record<string, string>;
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
