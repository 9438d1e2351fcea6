// Puts the page together: feed -> events -> board, table and notices.

import { read, webSocketUrl, write } from "./address.js";
import { Board } from "./board.js";
import { Choice } from "./choice.js";
import { ClosedForGood } from "./client.js";
import { Detail } from "./detail.js";
import { field, find } from "./dom.js";
import { Feed } from "./feed.js";
import { Figures } from "./figures.js";
import { Frame } from "./frame.js";
import { Heads } from "./heads.js";
import { Intake } from "./intake.js";
import { later } from "./later.js";
import { Mistreat } from "./mistreat.js";
import { Names } from "./names.js";
import { Notices } from "./notices.js";
import { isLive, pressed } from "./order.js";
import { PublishForm } from "./publish.js";
import { Resumed } from "./resumed.js";
import { Stale } from "./stale.js";
import { Status } from "./status.js";
import { SubscribeForm } from "./subscribe.js";
import { Suggest } from "./suggest.js";
import { Table } from "./table.js";
import { listed } from "./tally.js";
import { answers, Watch } from "./watch.js";

/** @import { CommandRefused, Event, FeedStatus, Gap, Loss } from "./client.js" */
/** @import { Config, Tick } from "./types.js" */

/** @typedef {{ [Type in Event["type"]]: (event: Event & { type: Type }) => void }} Handlers one for each type of event */

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
const intake = new Intake({ handle, request: () => frame.request() });
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
const frame = new Frame([() => intake.flush(), () => stale.mark(), () => table.paint(), () => detail.paint()]);
const names = new Names(config.instruments_url, (symbol, name) => board.rename(symbol, name));
const feed = new Feed(
  webSocketUrl(config.websocket_path),
  { probe },
  {
    onEvent,
    onStatus,
    onChange: (symbol) => stale.changed(symbol),
    onRate: showRate,
    onRefused,
    onPing,
  },
);
const stale = new Stale(board, feed, () => frame.request());
const watch = new Watch(
  () => answers(config.health_url),
  () => feed.wake(),
);
const keep = later(keepAddress);
const detail = new Detail($("detail"), board, () => {
  frame.request();
  keep();
});
const choice = new Choice({ feed, board, names }, () => {
  $("everything").hidden = !choice.everything;
  keep();
});
const status = new Status($("connection"), {
  retry: $("retry"),
  signIn: document.getElementById("sign-in"),
  onRetry: () => feed.retry(),
});
const form = new SubscribeForm(elements.subscribe, names, subscribe);
const heads = new Heads(elements.table, (column) => sortBy(pressed(board.sort, column)));
const resumed = new Resumed(notices);
/** @type {Set<string>} */
const behind = new Set();
const tellBehind = later(() => {
  notices.add(`Behind without having been told, asked again: ${listed([...behind])}`, "warning");
  behind.clear();
});
/** @type {FeedStatus["state"]} */
let state = "idle";

// Events

/** @type {Handlers} */
const handlers = {
  tick: take,
  snapshot: take,
  gap,
  conflated: (receipt) => figures.conflated(receipt),
  busState({ connected, symbols }) {
    if (symbols.size > 0) notices.add(`${PART_AWAY} ${listed([...symbols])}`, "warning");
    else notices.add(connected ? BUS_BACK : BUS_AWAY, connected ? "info" : "warning");
  },
  accessChanged({ lost, patterns }) {
    feed.ended(lost);
    choice.drop(
      patterns === null ? [...lost] : board.symbols().filter((symbol) => !choice.isVisible(symbol, patterns)),
    );
    const what = lost.length > 0 ? `No more access to ${listed([...lost])}.` : "What you may see has changed.";
    notices.add(what, "warning", "access");
  },
  delayed: ({ code, message }) => notices.add(message, "error", code),
  connected: ({ version }) => figures.version(version),
  disconnected() {}, // its status says more
};

/** @param {Event} event */
function onEvent(event) {
  if ("price" in event) figures.meter.count();
  intake.push(event);
}

/** @param {Event} event */
function handle(event) {
  // A type that the page does not know yet has no handler.
  const handler = /** @type {((event: Event) => void) | undefined} */ (handlers[event.type]);
  handler?.(event);
}

/** @param {Tick} tick */
function take(tick) {
  if (choice.take(tick)) detail.take(tick);
}

/** @param {Gap} event */
function gap(event) {
  const { symbol, missed, reason } = event;
  if (!choice.covers(symbol)) return;
  if (reason === "heartbeat") {
    behind.add(symbol);
    tellBehind();
    return;
  }
  resumed.gap(event);
  figures.gaps.add(symbol, missed);
}

/**
 * @param {string[]} lost
 * @param {CommandRefused} error
 */
function onRefused(lost, { text, code }) {
  choice.drop(lost);
  notices.add([text, ...lost.slice(0, 5)].join(" \u00b7 "), "error", code);
}

/** @param {number} ms */
function onPing(ms) {
  figures.ping(ms);
  resumed.end(feed.counts);
}

// Connection

/** @param {FeedStatus} now */
function onStatus(now) {
  status.show(now);
  if (now.state === state) return;
  state = now.state;
  if (state !== "live") {
    intake.flush();
    figures.ping(null);
  }
  if (state === "waiting" && now.loss !== null) onLoss(now.loss);
  if (state === "closed") {
    const why =
      now.error instanceof ClosedForGood ? `${now.error.code} ${now.error.reason}`.trim() : now.error?.message;
    notices.add(`Disconnected for good (${why}).`, "error");
  }
  // While it connects, too: an attempt may take long to fail.
  if (state === "waiting") watch.start();
  else if (state !== "connecting") watch.stop();
}

/** @param {Loss} loss */
function onLoss({ code, reason, wasConnected, isRefused }) {
  if (isRefused) notices.add(whyRefused(code, reason), "error", "refused");
  if (!wasConnected) return;
  resumed.begin(feed.counts);
  notices.add(`Connection lost (${`${code} ${reason}`.trim()}). Prices stand still.`, "warning");
}

/**
 * @param {number} code
 * @param {string} reason
 */
function whyRefused(code, reason) {
  const why = reason || config.closures[code] || "";
  return code === 1006 ? REFUSED : `The gateway refused the WebSocket: ${why} (${code})`;
}

// A browser does not tell a refused handshake from an absent server, so HTTP is asked: it says outright that a login is
// wanted. An Origin that is not allowed shows by HTTP working while no handshake does.
async function probe() {
  const response = await fetch(`${config.ticks_url}?page_size=1`, { cache: "no-store" });
  return response.status;
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
  feed.limit(Number(elements.rate.value) || null);
}

/** @param {number | null} rate that the gateway has taken */
function showRate(rate) {
  elements.rate.title = rate === null ? "" : `The gateway sends ${rate} a second`;
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
feed.open();
new Mistreat($("mistreat"), { board, choice, config }).show();
