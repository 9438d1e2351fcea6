// One client in a thread of its own, which can be made to read slowly, to stop, or to lose its connection: mistreat.js has
// three of them. A thread that is blocked reads nothing, so the socket fills up as that of any slow client does.

import { Client, Ledger } from "./client.js";
import { listed } from "./tally.js";
import { steps } from "./traces.js";

/** @import { Event } from "./client.js" */
/** @import { LaneBegin, LaneOrders, LaneSummary } from "./types.js" */

const SUMMARY_MS = 250;
const SLOW_PERIOD_MS = 5_000;

const ledger = new Ledger();
/** @type {Pick<LaneSummary, "state" | "price" | "newest" | "receipt" | "steps">} */
const seen = { state: "connecting", price: "", newest: 0, receipt: "", steps: null };
/**
 * What was skipped since the last summary.
 * @type {Map<string, number>}
 */
const skipped = new Map();
/** @type {Client} */
let client;
/** @type {LaneBegin} */
let lane;
/** @type {WebSocket | null} */
let socket = null;
let isCut = false;
/** @type {ReturnType<typeof setInterval> | undefined} */
let stalling;
let told = 0;

/** Connects, or leads nowhere while the client is cut off. */
class Line {
  /**
   * @param {string} url
   * @param {string[]} protocols
   */
  constructor(url, protocols) {
    if (!isCut) {
      socket = new WebSocket(url, protocols);
      // biome-ignore lint/correctness/noConstructorReturn: who makes one gets the socket itself
      return /** @type {any} */ (socket);
    }
    queueMicrotask(() => this.onclose?.({ code: 1006, reason: "" }));
  }

  /** @type {((event: { code: number, reason: string }) => void) | null} */
  onclose = null;

  close() {}
}

/** @type {{ [Order in keyof LaneOrders]: (value: LaneOrders[Order]) => void }} */
const orders = {
  begin(value) {
    lane = value;
    client = new Client(lane.url, { WebSocket: Line });
    client.on("event", take);
    client.on("status", show);
    client.open().catch(() => {});
    cap(null);
    setInterval(tell, SUMMARY_MS);
  },
  pause(seconds) {
    seen.state = "paused";
    tell();
    block(1_000 * seconds);
    show();
  },
  slow(seconds) {
    clearInterval(stalling);
    if (seconds > 0) stalling = setInterval(block, SLOW_PERIOD_MS, 1_000 * seconds);
  },
  cap,
  cut(seconds) {
    isCut = true;
    socket?.onclose?.(new CloseEvent("close", { code: 1006, reason: "cut off" }));
    setTimeout(() => {
      isCut = false;
      client.wake();
    }, 1_000 * seconds);
  },
};

self.onmessage = ({ data: [order, value] }) =>
  /** @type {(value: unknown) => void} */ (orders[/** @type {keyof LaneOrders} */ (order)])(value);

/** @param {number | null} rate */
function cap(rate) {
  client.subscribe(lane.symbols, { maxRate: rate, trace: true }).catch(() => {});
}

/** @param {Event} event */
function take(event) {
  ledger.take(event);
  if (event.type === "conflated") skipped.set(event.symbol, (skipped.get(event.symbol) ?? 0) + event.skipped);
  if ("price" in event) {
    if (event.type === "tick" && event.trace)
      seen.steps = steps(event.trace, performance.timeOrigin + performance.now());
    seen.newest = Math.max(seen.newest, Date.parse(event.timestamp));
    if (event.symbol === lane.watched) seen.price = event.price;
  }
  if (performance.now() - told >= SUMMARY_MS) tell();
}

function show() {
  const { state } = client.status;
  if (isCut) seen.state = "cut";
  else seen.state = state === "silent" ? "live" : state === "idle" ? "connecting" : state;
  tell();
}

function tell() {
  told = performance.now();
  if (skipped.size > 0) seen.receipt = listed([...skipped].map(([symbol, count]) => `${symbol} ${count}`));
  skipped.clear();
  const { streamed, received, missed, restarted, unaccounted } = ledger;
  const counts = { streamed, received, skipped: ledger.skipped, missed, restarted, unaccounted };
  self.postMessage({ ...seen, ...counts, recovered: client.counts.late });
}

/**
 * Blocks this thread. To wait needs shared memory, which a page that is not isolated has by way of WebAssembly alone; where
 * a browser has it not, the thread turns in place.
 * @param {number} milliseconds
 */
function block(milliseconds) {
  try {
    const { buffer } = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
    Atomics.wait(new Int32Array(buffer), 0, 0, milliseconds);
  } catch {
    const end = performance.now() + milliseconds;
    while (performance.now() < end);
  }
}
