// Puts the page together: connection -> messages -> positions, which judge them -> subscriptions, table and notices.

import { Connection } from "./connection.js";
import { field, find } from "./dom.js";
import { parse } from "./exact.js";
import { Freshness } from "./freshness.js";
import { Gaps } from "./gaps.js";
import { Intake } from "./intake.js";
import { later } from "./later.js";
import { Meter } from "./meter.js";
import { Notices } from "./notices.js";
import { Positions } from "./positions.js";
import { PublishForm } from "./publish.js";
import { Status } from "./status.js";
import { EVERYTHING, isSymbol, Subscriptions } from "./subscriptions.js";
import { Table } from "./table.js";
import { counted, grouped, listed, Tally } from "./tally.js";

/** @import { Acknowledgement, Config, ConnectionState, Handlers, Message, Tick } from "./types.js" */

// The rest of a long list of instruments is only offered.
const SUBSCRIBED_AT_FIRST = 100;

const REFUSED =
  "The gateway refused the WebSocket, and a browser is not told why: it wants a login first, or this page\u2019s origin " +
  "is not one it allows, or too many connections come from here.";

const BUS_AWAY = "The gateway has lost the bus that prices come from: they may be stale.";
const PART_AWAY = "The gateway has lost the part of the bus that these prices come from, and they may be stale:";
const BUS_BACK = "The gateway hears the bus again.";

const $ = (/** @type {string} */ id) => find(document, `#${id}`, HTMLElement);

/** @type {Config} */
const config = JSON.parse($("config").textContent);
const names = new Map(config.instruments.map(({ symbol, name }) => [symbol, name]));
const elements = {
  table: find(document, "#table", HTMLTableElement),
  row: find(document, "#row", HTMLTemplateElement),
  subscribe: find(document, "#subscribe", HTMLFormElement),
  symbols: find(document, "#subscribe-symbols", HTMLInputElement),
  rate: find(document, "#max-rate", HTMLSelectElement),
  filter: find(document, "#filter", HTMLInputElement),
  publish: find(document, "#publish", HTMLFormElement),
};

const notices = new Notices($("notices"), $("no-notices"));
const gaps = new Gaps(showGaps);
const positions = new Positions((symbol, missed) => gaps.add(symbol, missed));
const skipped = { slow: new Tally(), rate: new Tally() };
const meter = new Meter();
const table = new Table(elements.table, elements.row, { onRemove: unsubscribe, onCount: showCount });
const freshness = new Freshness(table, positions);
const connection = new Connection(webSocketUrl(config.websocket_path), config.closures, {
  onState,
  onMessage,
  ping,
  wasRefused,
});
const intake = new Intake({ handle, parse });
const subscriptions = new Subscriptions((command) => connection.send(command), positions);
const status = new Status($("connection"), {
  retry: $("retry"),
  signIn: document.getElementById("sign-in"),
  onRetry: () => connection.retryNow(),
});
// Symbols that were unsubscribed from though "*" still brings them.
/** @type {Set<string>} */
const unwanted = new Set();
// The sum of what the answers after a lost connection say, until all are there; null otherwise.
/** @type {ReturnType<Positions["subscribed"]> | null} */
let resumed = null;
let pingedAt = 0;
let failedHandshakes = 0;

// Messages

/** @type {Handlers} */
const handlers = {
  tick: take,
  snapshot: take,
  welcome(message) {
    $("version").textContent = `v${message.version}`;
    connection.expectHeartbeats(Number(message.heartbeat ?? 0));
    connection.expectExpiry(message.expires_at);
    freshness.welcomed();
    status.showBus(true);
    status.showDelay("");
    subscriptions.welcomed(message);
  },
  subscribed(message) {
    subscriptions.acknowledged(message);
    status.showDelay("");
    showResumed(begin(message));
    elements.rate.title =
      message.max_rate === undefined ? "" : `The gateway sends ${Number(message.max_rate)} a second`;
  },
  introduced: begin,
  unsubscribed: (message) => subscriptions.acknowledged(message),
  conflated(message) {
    positions.conflated(message);
    const tally = skipped[message.reason] ?? skipped.slow;
    for (const [symbol, count] of Object.entries(message.skipped)) tally.add(symbol, Number(count));
    showSkipped();
  },
  gap(message) {
    if (!isExpected(message.symbol)) return;
    positions.gap(message);
    freshness.check([message.symbol]);
  },
  heartbeat: (message) => askAgain(positions.heartbeat(message)),
  bus({ connected, symbols = [] }) {
    const isThere = connected || symbols.length > 0;
    status.showBus(isThere);
    freshness.bus(connected, symbols);
    if (isThere) subscriptions.askDue();
    if (symbols.length > 0) notices.add(`${PART_AWAY} ${listed(symbols)}`, "warning");
    else notices.add(connected ? BUS_BACK : BUS_AWAY, connected ? "info" : "warning");
  },
  access({ patterns, lost = [] }) {
    subscriptions.ended(lost);
    for (const symbol of table.symbols()) if (!isVisible(symbol, patterns)) drop(symbol);
    showEverything();
    const what = lost.length > 0 ? `No more access to ${listed(lost)}.` : "What you may see has changed.";
    notices.add(what, "warning", "access");
  },
  auth: (message) => connection.expectExpiry(message.expires_at),
  pong() {
    $("latency").textContent = `${Math.max(1, Math.round(performance.now() - pingedAt))} ms`;
  },
  closing: ({ reconnect, wait }) => connection.expectClose({ reconnect, wait: Number(wait) }),
  error(message) {
    const lost = subscriptions.refused(message);
    for (const symbol of lost) drop(symbol);
    showEverything();
    if (message.code === "bus_unavailable") status.showDelay((message.reason ?? message.code).replaceAll("_", " "));
    notices.add([message.message, ...lost.slice(0, 5)].join(" \u00b7 "), "error", message.code);
  },
};

/** @param {string} text */
function onMessage(text) {
  meter.count();
  intake.push(text);
}

/** @param {Message} message */
function handle(message) {
  // A type that the page does not know yet has no handler.
  const handler = /** @type {((message: Message) => void) | undefined} */ (handlers[message.type]);
  handler?.(message);
}

/** @param {Tick} message */
function take(message) {
  const { symbol } = message;
  if (!isExpected(symbol) || !positions.take(message)) return;
  if (!table.has(symbol)) table.append(symbol, names.get(symbol) ?? "");
  table.take(message);
}

/**
 * The server says where streams are.
 * @param {Pick<Acknowledgement, "positions">} message
 */
function begin(message) {
  const outcome = positions.subscribed(message);
  const symbols = Object.keys(message.positions ?? {});
  for (const symbol of symbols) if (!isExpected(symbol)) positions.forget(symbol);
  freshness.confirmed(symbols);
  return outcome;
}

/**
 * Ticks of a symbol that was just unsubscribed from may still be on their way.
 * @param {string} symbol
 */
function isExpected(symbol) {
  return subscriptions.covers(symbol) && !unwanted.has(symbol);
}

/**
 * @param {string} symbol
 * @param {string[]} patterns
 */
function isVisible(symbol, patterns) {
  const matches = (/** @type {string} */ one) =>
    one.endsWith("*") ? symbol.startsWith(one.slice(0, -1)) : one === symbol;
  return subscriptions.covers(symbol) && patterns.some(matches);
}

/**
 * The stream is idle and this page does not have its newest tick: one was lost on the way, without a report.
 * @param {string[]} symbols
 */
function askAgain(symbols) {
  const wanted = symbols.filter(isExpected);
  if (wanted.length === 0) return;
  subscriptions.ask(wanted.map((symbol) => (subscriptions.has(symbol) ? symbol : EVERYTHING)));
  notices.add(`Behind without having been told, asked again: ${listed(wanted)}`, "warning");
}

function ping() {
  pingedAt = performance.now();
  connection.send({ action: "ping" });
}

// Connection

/** @param {ConnectionState} state */
function onState(state) {
  if (state.name !== "live") intake.flush();
  status.show(state);
  if (state.name === "live") failedHandshakes = 0;
  else $("latency").textContent = "\u2013";
  if (state.name === "live" && state.again) freshness.heard(true);
  if (state.name === "silent") freshness.heard(false);
  if (state.name === "waiting" && state.refused) notices.add(whyRefused(state), "error", "refused");
  if (state.name === "waiting" || state.name === "closed") onLoss(state);
}

/** @param {ConnectionState & { name: "waiting" }} state */
function whyRefused({ code, reason }) {
  const why = reason || config.closures[code]?.reason || "";
  return code === 1006 ? REFUSED : `The gateway refused the WebSocket: ${why} (${code})`;
}

/** @param {ConnectionState & { name: "waiting" | "closed" }} state */
function onLoss({ name, wasLive, code, reason }) {
  if (wasLive) lost();
  const why = `${code} ${reason}`.trim();
  if (name === "closed") notices.add(`Disconnected for good (${why}).`, "error");
  else if (wasLive) notices.add(`Connection lost (${why}). Prices stand still.`, "warning");
}

function lost() {
  freshness.lost();
  resumed = { recovered: 0, late: 0, restarted: 0 };
}

// A browser does not tell a refused handshake from an absent server, so HTTP is asked: it says outright that a login is
// wanted. An Origin that is not allowed shows by HTTP working while no handshake does, more than once, since a gateway
// that is just starting or stopping looks the same for a moment.
async function wasRefused() {
  const response = await fetch(`${config.ticks_url}?page_size=1`, { cache: "no-store" }).catch(() => null);
  if (response?.status === 401 || response?.status === 403) return true;
  failedHandshakes = response?.ok ? failedHandshakes + 1 : 0;
  return failedHandshakes > 2;
}

/** @param {string} path */
function webSocketUrl(path) {
  const url = new URL(path, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  return url;
}

// Subscribing

/** @param {string[]} symbols at least one */
function subscribe(symbols) {
  const fresh = symbols.filter((symbol) => !subscriptions.has(symbol));
  for (const symbol of fresh) {
    unwanted.delete(symbol);
    if (symbol !== EVERYTHING && !table.has(symbol)) table.prepend(symbol, names.get(symbol) ?? "");
  }
  if (fresh.length > 0) subscriptions.add(fresh);
  showEverything();
  table.reveal(symbols[symbols.length - 1]);
}

/** @param {string} symbol */
function unsubscribe(symbol) {
  if (subscriptions.has(EVERYTHING)) unwanted.add(symbol);
  if (subscriptions.has(symbol)) subscriptions.remove(symbol);
  drop(symbol);
}

function unsubscribeFromEverything() {
  subscriptions.remove(EVERYTHING);
  unwanted.clear();
  for (const symbol of table.symbols()) if (!subscriptions.has(symbol)) drop(symbol);
  showEverything();
  elements.symbols.focus();
}

/** @param {string} symbol */
function drop(symbol) {
  table.remove(symbol);
  positions.forget(symbol);
}

elements.subscribe.addEventListener("submit", (event) => {
  event.preventDefault();
  const symbols = elements.symbols.value.split(/[\s,;]+/).filter(Boolean);
  const wrong = symbols.find((symbol) => !isSymbol(symbol));
  showSubscribeError(wrong);
  if (wrong !== undefined || symbols.length === 0) return;
  elements.symbols.value = "";
  elements.filter.value = "";
  table.filter("");
  subscribe(symbols);
});

/** @param {string | undefined} wrong what was typed that is no symbol */
function showSubscribeError(wrong) {
  elements.symbols.toggleAttribute("aria-invalid", wrong !== undefined);
  $("subscribe-error").textContent =
    wrong === undefined
      ? ""
      : `\u201c${wrong}\u201d is no symbol: 1 to 32 letters, digits and .-_/=^:+$#, or * for all`;
}

function showEverything() {
  $("everything").hidden = !subscriptions.has(EVERYTHING);
}

$("everything").querySelector("button")?.addEventListener("click", unsubscribeFromEverything);
elements.filter.addEventListener("input", () => table.filter(elements.filter.value));
elements.rate.addEventListener("change", applyRate);

function applyRate() {
  subscriptions.limit(Number(elements.rate.value) || null);
}

// Figures

/**
 * @param {number} shown
 * @param {number} all
 */
function showCount(shown, all) {
  $("count").textContent = shown === all ? `${all}` : `${shown} of ${all}`;
  $("no-rows").hidden = shown > 0;
  $("no-rows").textContent = all === 0 ? "No symbols. Subscribe to one above." : "No symbol matches the filter.";
}

/**
 * @param {string} id
 * @param {number} count
 */
function showFigure(id, count) {
  const figure = $(id);
  figure.textContent = grouped(count);
  if (figure.parentElement !== null) figure.parentElement.hidden = false;
}

/** @param {string[]} texts */
function showGaps(texts) {
  showFigure("gaps", gaps.count);
  for (const text of texts) notices.add(text, "error");
}

let skippedBefore = 0;
const showSkipped = later(() => {
  if (skipped.rate.total > 0) showFigure("skipped-rate", skipped.rate.total);
  const { total, breakdown } = skipped.slow;
  if (total === skippedBefore) return;
  skippedBefore = total;
  showFigure("skipped-slow", total);
  notices.add(`This page was behind: ${counted(total, "tick")} skipped (${breakdown}).`, "warning", "conflated");
});

/**
 * Reports what became of the streams after a lost connection, once the answers for all of them are there.
 * @param {ReturnType<Positions["subscribed"]>} outcome
 */
function showResumed(outcome) {
  if (resumed === null) return;
  resumed.recovered += outcome.recovered;
  resumed.late += outcome.late;
  resumed.restarted += outcome.restarted;
  if (!subscriptions.settled) return;
  const { recovered, late, restarted } = resumed;
  resumed = null;
  if (recovered > 0) {
    notices.add(`Resumed: nothing lost of ${counted(recovered, "symbol")}, ${counted(late, "tick")} came late.`);
  }
  if (restarted > 0) {
    notices.add(`Not resumed: ${counted(restarted, "symbol")} started over with the newest tick.`, "warning");
  }
}

setInterval(() => {
  const rate = meter.tick();
  $("rate").textContent = (rate < 10 && rate > 0 ? Number(rate.toFixed(1)) : Math.round(rate)).toLocaleString("en");
}, 1_000);

// Start

const [symbolField, priceField] = [field(elements.publish, "symbol"), field(elements.publish, "price")];
new PublishForm(elements.publish, { url: config.ticks_url, csrfCookie: config.csrf_cookie });
symbolField.addEventListener("input", () => {
  priceField.placeholder = table.get(symbolField.value)?.tick?.price ?? "150.250";
});

const first = config.instruments.slice(0, Math.min(SUBSCRIBED_AT_FIRST, config.max_symbols));
for (const { symbol, name } of first) table.append(symbol, name);
applyRate();
subscriptions.add(first.map(({ symbol }) => symbol));
showCount(first.length, first.length);
connection.open();
