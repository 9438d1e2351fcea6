// How a feed is, for whoever shows it.

import type { BusState, Delayed } from "./events.ts";

/**
 * - `"idle"`: not opened.
 * - `"connecting"`
 * - `"live"`: there is a connection.
 * - `"silent"`: there is, but nothing came for so long that it will be given up.
 * - `"waiting"`: for the next attempt.
 * - `"closed"`: for good; `error` says why.
 */
export type FeedState = "idle" | "connecting" | "live" | "silent" | "waiting" | "closed";

/** It never changes: there is another one instead. */
export interface FeedStatus {
  readonly state: FeedState;
  /** Whether prices are current as far as the connection and the bus go: live, and the bus is there, for some symbols at least. */
  readonly isLive: boolean;
  readonly bus: BusState;
  /** Why what was asked for last is refused for the moment; null if it is not. */
  readonly delayed: Delayed | null;
  /** How the last connection, or attempt at one, ended; null if none did since there is one. */
  readonly loss: Loss | null;
  /** The time of the next attempt by `Date.now()`, while it is waited for. */
  readonly retryAt: number | null;
  readonly error: Error | null;
  /** The gateway's; null until it has welcomed. */
  readonly version: string | null;
}

export interface Loss {
  readonly code: number;
  readonly reason: string;
  /** Whether there had been a connection. */
  readonly wasConnected: boolean;
  /** Whether a gateway that is up refuses, as far as that can be told (`probe`). */
  readonly isRefused: boolean;
}

export const HAS_BUS: BusState = { type: "busState", connected: true, symbols: new Set() };

type Given = Omit<FeedStatus, "isLive">;

export const idle: FeedStatus = {
  state: "idle",
  isLive: false,
  bus: HAS_BUS,
  delayed: null,
  loss: null,
  retryAt: null,
  error: null,
  version: null,
};

export function changed(status: FeedStatus, change: Partial<Given>): FeedStatus {
  const next = { ...status, ...change };
  const hasBus = next.bus.connected || next.bus.symbols.size > 0;
  return { ...next, isLive: next.state === "live" && hasBus };
}
