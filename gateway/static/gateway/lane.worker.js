// One client in a thread of its own, which can be made to read slowly, to stop, or to lose its connection: mistreat.js has
// three of them. A thread that is blocked reads nothing, so the socket fills up as that of any slow client does.

import { Books } from "./books.js";
import { backoff } from "./connection.js";
import { parse } from "./exact.js";
import { Subscriptions } from "./subscriptions.js";
import { listed } from "./tally.js";
import { steps } from "./traces.js";

/** @import { Command } from "./command.js" */
/** @import { Handlers, LaneBegin, LaneOrders, LaneSummary, Message, Tick } from "./types.js" */

const SUMMARY_MS = 250;
const SLOW_PERIOD_MS = 5_000;

const books = new Books();
const subscriptions = new Subscriptions(send, books, { trace: true });
/** @type {Pick<LaneSummary, "state" | "price" | "newest" | "receipt" | "steps">} */
const seen = { state: "connecting", price: "", newest: 0, receipt: "", steps: null };
/** @type {LaneBegin} */
let lane;
/** @type {WebSocket | null} */
let socket = null;
let attempt = 0;
let away = 0;
/** @type {ReturnType<typeof setInterval> | undefined} */
let stalling;
let told = 0;
/** @type {{ reconnect: boolean, wait: number } | null} */
let announced = null;

/** @type {{ [Order in keyof LaneOrders]: (value: LaneOrders[Order]) => void }} */
const orders = {
  begin(value) {
    lane = value;
    subscriptions.add(lane.symbols);
    open();
    setInterval(tell, SUMMARY_MS);
  },
  pause(seconds) {
    const before = seen.state;
    show("paused");
    block(1_000 * seconds);
    show(before);
  },
  slow(seconds) {
    clearInterval(stalling);
    if (seconds > 0) stalling = setInterval(block, SLOW_PERIOD_MS, 1_000 * seconds);
  },
  cap: (rate) => subscriptions.limit(rate),
  cut(seconds) {
    away = 1_000 * seconds;
    socket?.close();
  },
};

self.onmessage = ({ data: [order, value] }) =>
  /** @type {(value: unknown) => void} */ (orders[/** @type {keyof LaneOrders} */ (order)])(value);

/** @type {Partial<Handlers>} */
const handlers = {
  welcome(message) {
    attempt = 0;
    show("live");
    subscriptions.welcomed(message);
  },
  subscribed(message) {
    books.subscribed(message);
    subscriptions.acknowledged(message);
  },
  introduced: (message) => books.subscribed(message),
  tick: take,
  snapshot: take,
  conflated(message) {
    books.conflated(message);
    seen.receipt = listed(Object.entries(message.skipped).map(([symbol, count]) => `${symbol} ${count}`));
  },
  gap: (message) => books.gap(message),
  bus: () => subscriptions.askDue(),
  access: ({ lost = [] }) => subscriptions.ended(lost),
  closing({ reconnect, wait }) {
    announced = { reconnect, wait: Number(wait) };
  },
  error: (message) => subscriptions.refused(message),
};

/** @param {Tick} message */
function take(message) {
  books.take(message);
  if (message.type === "tick" && message.trace !== undefined) {
    seen.steps = steps(message.trace, performance.timeOrigin + performance.now());
  }
  seen.newest = Math.max(seen.newest, Date.parse(message.timestamp));
  if (message.symbol === lane.watched) seen.price = message.price;
}

/** @param {string} text */
function received(text) {
  const message = /** @type {Message} */ (parse(text));
  /** @type {((message: Message) => void) | undefined} */ (handlers[message.type])?.(message);
  if (performance.now() - told >= SUMMARY_MS) tell();
}

function open() {
  announced = null;
  socket = new WebSocket(lane.url);
  socket.onmessage = (event) => received(event.data);
  socket.onclose = (event) => lost(event.code);
}

/** @param {number} code */
function lost(code) {
  const wasCut = away > 0;
  socket = null;
  const { reconnect, wait } = wasCut
    ? { reconnect: true, wait: 0 }
    : (announced ?? lane.closures[code] ?? { reconnect: true, wait: 0 });
  if (!reconnect) return show("closed");
  show(wasCut ? "cut" : "waiting");
  setTimeout(open, wasCut ? away : Math.max(1_000 * wait, backoff(attempt++)));
  away = 0;
}

/** @param {Command} command */
function send(command) {
  if (socket?.readyState !== WebSocket.OPEN) return false;
  socket.send(JSON.stringify(command));
  return true;
}

/** @param {LaneSummary["state"]} state */
function show(state) {
  seen.state = state;
  tell();
}

function tell() {
  told = performance.now();
  const { streamed, received, skipped, missed, recovered, restarted, unaccounted } = books;
  self.postMessage({ ...seen, streamed, received, skipped, missed, recovered, restarted, unaccounted });
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
