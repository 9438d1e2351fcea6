// Puts the page together: connection -> messages -> positions, which judge them -> board, table and notices.

import { read, webSocketUrl, write } from "./address.js";
import { Board } from "./board.js";
import { Choice } from "./choice.js";
import { Connection } from "./connection.js";
import { Detail } from "./detail.js";
import { field, find } from "./dom.js";
import { parse } from "./exact.js";
import { Figures } from "./figures.js";
import { Frame } from "./frame.js";
import { Freshness } from "./freshness.js";
import { Heads } from "./heads.js";
import { Intake } from "./intake.js";
import { later } from "./later.js";
import { Mistreat } from "./mistreat.js";
import { Names } from "./names.js";
import { Notices } from "./notices.js";
import { isLive, pressed } from "./order.js";
import { Positions } from "./positions.js";
import { PublishForm } from "./publish.js";
import { Resumed } from "./resumed.js";
import { Status } from "./status.js";
import { SubscribeForm } from "./subscribe.js";
import { EVERYTHING, Subscriptions } from "./subscriptions.js";
import { Suggest } from "./suggest.js";
import { Table } from "./table.js";
import { listed } from "./tally.js";
import { answers, Watch } from "./watch.js";

/** @import { Acknowledgement, Config, ConnectionState, Handlers, Message, Tick } from "./types.js" */

const RESORT_MS = 1_000;

const REFUSED =
  "The gateway refused the WebSocket, and a browser is not told why: it wants a login first, or this page\u2019s origin " +
  "is not one it allows, or too many connections come from here.";

const BUS_AWAY = "The gateway has lost the bus that prices come from: they may be stale.";
const PART_AWAY = "The gateway has lost the part of the bus that these prices come from, and they may be stale:";
const BUS_BACK = "The gateway hears the bus again.";

const $ = (/** @type {string} */ id) => find(document, `#${id}`, HTMLElement);

/** @type {Config} */
const config = JSON.parse($("config").textContent);
const elements = {
  table: find(document, "#table", HTMLTableElement),
  row: find(document, "#row", HTMLTemplateElement),
  subscribe: find(document, "#subscribe", HTMLFormElement),
  rate: find(document, "#max-rate", HTMLSelectElement),
  filter: find(document, "#filter", HTMLInputElement),
  publish: find(document, "#publish", HTMLFormElement),
};

const notices = new Notices($("notices"), $("no-notices"));
const figures = new Figures($("bar"), notices);
const positions = new Positions((symbol, missed) => figures.gaps.add(symbol, missed));
const intake = new Intake({ handle, parse, request: () => frame.request() });
const board = new Board(() => frame.request());
const table = new Table(elements.table, elements.row, board, {
  onRemove: (symbol) => choice.remove(symbol),
  onOpen(symbol, byKey) {
    detail.open(symbol);
    if (byKey) detail.focus();
  },
  onCount: showCount,
  request: () => frame.request(),
});
const frame = new Frame([() => intake.flush(), () => table.paint(), () => detail.paint()]);
const names = new Names(config.instruments_url, (symbol, name) => board.rename(symbol, name));
const freshness = new Freshness(board, positions);
const connection = new Connection(webSocketUrl(config.websocket_path), config.closures, {
  onState,
  onMessage,
  ping,
  wasRefused,
});
const watch = new Watch(
  () => answers(config.health_url),
  () => connection.wake(),
);
const subscriptions = new Subscriptions((command) => connection.send(command), positions);
const keep = later(keepAddress);
const detail = new Detail($("detail"), board, () => {
  frame.request();
  keep();
});
const choice = new Choice({ subscriptions, positions, board, names }, () => {
  $("everything").hidden = !choice.everything;
  keep();
});
const status = new Status($("connection"), {
  retry: $("retry"),
  signIn: document.getElementById("sign-in"),
  onRetry: () => connection.retryNow(),
});
const form = new SubscribeForm(elements.subscribe, names, subscribe);
const heads = new Heads(elements.table, (column) => sortBy(pressed(board.sort, column)));
const resumed = new Resumed(notices);
let pingedAt = 0;
let failedHandshakes = 0;

// Messages

/** @type {Handlers} */
const handlers = {
  tick: take,
  snapshot: take,
  welcome(message) {
    figures.version(message.version);
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
    resumed.add(begin(message), subscriptions.settled);
    elements.rate.title =
      message.max_rate === undefined ? "" : `The gateway sends ${Number(message.max_rate)} a second`;
  },
  introduced: begin,
  unsubscribed: (message) => subscriptions.acknowledged(message),
  conflated(message) {
    positions.conflated(message);
    figures.conflated(message);
  },
  gap(message) {
    if (!choice.covers(message.symbol)) return;
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
    choice.drop(board.symbols().filter((symbol) => !choice.isVisible(symbol, patterns)));
    const what = lost.length > 0 ? `No more access to ${listed(lost)}.` : "What you may see has changed.";
    notices.add(what, "warning", "access");
  },
  auth: (message) => connection.expectExpiry(message.expires_at),
  pong: () => figures.ping(performance.now() - pingedAt),
  closing: ({ reconnect, wait }) => connection.expectClose({ reconnect, wait: Number(wait) }),
  error(message) {
    const lost = subscriptions.refused(message);
    choice.drop(lost);
    if (message.code === "bus_unavailable") status.showDelay((message.reason ?? message.code).replaceAll("_", " "));
    notices.add([message.message, ...lost.slice(0, 5)].join(" \u00b7 "), "error", message.code);
  },
};

/** @param {string} text */
function onMessage(text) {
  figures.meter.count();
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
  if (choice.take(message)) detail.take(message);
}

/**
 * The server says where streams are.
 * @param {Pick<Acknowledgement, "positions">} message
 */
function begin(message) {
  const outcome = positions.subscribed(message);
  const symbols = Object.keys(message.positions ?? {});
  for (const symbol of symbols) if (!choice.covers(symbol)) positions.forget(symbol);
  freshness.confirmed(symbols);
  return outcome;
}

/**
 * The stream is idle and this page does not have its newest tick: one was lost on the way, without a report.
 * @param {string[]} symbols
 */
function askAgain(symbols) {
  const wanted = symbols.filter((symbol) => choice.covers(symbol));
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
  else figures.ping(null);
  if (state.name === "live" && state.again) freshness.heard(true);
  if (state.name === "silent") freshness.heard(false);
  if (state.name === "waiting" && state.refused) notices.add(whyRefused(state), "error", "refused");
  if (state.name === "waiting" || state.name === "closed") onLoss(state);
  // While it connects, too: an attempt may take long to fail.
  if (state.name === "waiting") watch.start();
  else if (state.name !== "connecting") watch.stop();
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
  resumed.begin();
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

// What is shown, and in which order

/** @param {string[]} symbols at least one */
function subscribe(symbols) {
  elements.filter.value = "";
  board.filterBy("");
  choice.add(symbols);
  table.reveal(symbols[symbols.length - 1]);
}

/** @param {typeof board.sort} sort */
function sortBy(sort) {
  board.sortBy(sort);
  heads.show(sort);
  keep();
}

function applyRate() {
  subscriptions.limit(Number(elements.rate.value) || null);
}

/**
 * @param {number} shown
 * @param {number} all
 */
function showCount(shown, all) {
  figures.count(shown, all);
  $("no-rows").hidden = shown > 0;
  $("no-rows").textContent = all === 0 ? "No symbols. Subscribe to one above." : "No symbol matches the filter.";
}

function keepAddress() {
  const { sort, filter } = board;
  const { search, state } = write({
    symbols: choice.symbols,
    sort,
    filter,
    rate: elements.rate.value,
    chart: detail.symbol,
  });
  history.replaceState(state, "", `${location.pathname}${search}${location.hash}`);
}

find($("everything"), "button", HTMLElement).addEventListener("click", () => {
  choice.removeEverything();
  form.focus();
});
elements.filter.addEventListener("input", () => {
  board.filterBy(elements.filter.value);
  keep();
});
elements.rate.addEventListener("change", () => {
  applyRate();
  keep();
});
setInterval(() => isLive(board.sort) && !table.isInUse && board.resort(), RESORT_MS);

// Start

const [symbolField, priceField] = [field(elements.publish, "symbol"), field(elements.publish, "price")];
new PublishForm(elements.publish, { url: config.ticks_url, csrfCookie: config.csrf_cookie });
new Suggest(symbolField, names, proposePrice);
symbolField.addEventListener("input", proposePrice);

function proposePrice() {
  priceField.placeholder = board.get(symbolField.value)?.tick?.price ?? "150.250";
}

const view = read(location.search, history.state);
names.learn(config.instruments);
elements.rate.value = view.rate;
if (elements.rate.selectedIndex < 0) elements.rate.value = "";
elements.filter.value = view.filter;
board.filterBy(view.filter);
board.sortBy(view.sort);
heads.show(view.sort);
applyRate();
choice.start(
  view.symbols,
  config.instruments.map(({ symbol }) => symbol),
);
if (board.has(view.chart) || choice.everything) detail.open(view.chart);
connection.open();
new Mistreat($("mistreat"), { board, choice, config }).show();
