// Puts the page together: connection -> messages -> subscriptions, table and notices.

import { Conflation } from "./conflation.js";
import { Connection } from "./connection.js";
import { parse } from "./exact.js";
import { latestTicks } from "./latest.js";
import { Meter } from "./meter.js";
import { Notices } from "./notices.js";
import { PublishForm } from "./publish.js";
import { Status } from "./status.js";
import { isSymbol, Subscriptions } from "./subscriptions.js";
import { Table } from "./table.js";

// The rest of a long list of instruments is there to be subscribed to.
const SUBSCRIBED_AT_FIRST = 100;

const REFUSED =
  "The gateway refused the WebSocket: it wants a login first, or this page\u2019s origin is not one it allows.";

const config = JSON.parse(document.getElementById("config").textContent);
const names = new Map(config.instruments.map(({ symbol, name }) => [symbol, name]));
const $ = (id) => document.getElementById(id);

const notices = new Notices($("notices"), $("no-notices"));
const conflation = new Conflation();
const meter = new Meter();
const table = new Table($("table"), $("row"), { onRemove: unsubscribe, onCount: showCount });
const connection = new Connection(webSocketUrl(config.websocket_path), { onState, onMessage, ping, wasRefused });
const subscriptions = new Subscriptions((command) => connection.send(command));
const status = new Status($("connection"), {
  retry: $("retry"),
  signIn: $("sign-in"),
  onRetry: () => connection.retryNow(),
});
let pingedAt = 0;
let failedHandshakes = 0;

// Messages

const handlers = {
  tick: (message) => table.take(message),
  welcome(message) {
    $("version").textContent = `v${message.version}`;
    subscriptions.welcomed(message);
  },
  subscribed: (message) => fillIn(subscriptions.acknowledged(message)),
  unsubscribed: (message) => subscriptions.acknowledged(message),
  pong() {
    $("latency").textContent = `${Math.max(1, Math.round(performance.now() - pingedAt))} ms`;
  },
  conflated({ skipped }) {
    conflation.take(skipped);
    $("skipped").textContent = conflation.total.toLocaleString("en");
    $("skipped").parentElement.hidden = false;
    notices.add(`This page was behind: skipped to the newest past ${conflation.summary}`, "warning", "conflated");
  },
  error(message) {
    const lost = subscriptions.refused(message);
    for (const symbol of lost) table.remove(symbol);
    notices.add([message.message, ...lost.slice(0, 5)].join(" \u00b7 "), "error", message.code);
  },
};

function onMessage(text) {
  meter.count();
  const message = parse(text);
  handlers[message.type]?.(message);
}

// What the symbols last traded at, unless the stream has brought something newer meanwhile.
async function fillIn(symbols) {
  const before = new Map(symbols.map((symbol) => [symbol, table.get(symbol)?.tick]));
  if (before.size === 0) return;
  for (const tick of await latestTicks(config.ticks_url)) {
    const quote = table.get(tick.symbol);
    if (quote && before.has(tick.symbol) && quote.tick === before.get(tick.symbol)) table.take(tick);
  }
}

function ping() {
  pingedAt = performance.now();
  connection.send({ action: "ping" });
}

// Connection

function onState(state) {
  status.show(state);
  if (state.name === "live") failedHandshakes = 0;
  else $("latency").textContent = "\u2013";
  if (state.refused) notices.add(REFUSED, "error", "refused");
  if (state.wasLive) notices.add(`Connection lost (${[state.code, state.reason].join(" ").trim()}). Prices stand still.`, "warning");
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

function webSocketUrl(path) {
  const url = new URL(path, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  return url;
}

// Subscribing

function subscribe(symbols) {
  const fresh = symbols.filter((symbol) => !subscriptions.has(symbol));
  for (const symbol of fresh) table.prepend(symbol, names.get(symbol) ?? "");
  if (fresh.length > 0) subscriptions.add(fresh);
  table.reveal(symbols.at(-1));
}

function unsubscribe(symbol) {
  subscriptions.remove(symbol);
  table.remove(symbol);
}

$("subscribe").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = event.target.elements.symbols;
  const symbols = input.value.split(/[\s,;]+/).filter(Boolean);
  const wrong = symbols.find((symbol) => !isSymbol(symbol));
  showSubscribeError(wrong);
  if (wrong !== undefined || symbols.length === 0) return;
  input.value = "";
  $("filter").value = "";
  table.filter("");
  subscribe(symbols);
});

function showSubscribeError(wrong) {
  const input = $("subscribe").elements.symbols;
  input.toggleAttribute("aria-invalid", wrong !== undefined);
  $("subscribe-error").textContent =
    wrong === undefined ? "" : `\u201c${wrong}\u201d is no symbol: 1 to 32 letters, digits and .-_/=^:+$#`;
}

$("filter").addEventListener("input", (event) => table.filter(event.target.value));

// Figures

function showCount(shown, all) {
  $("count").textContent = shown === all ? all : `${shown} of ${all}`;
  $("no-rows").hidden = shown > 0;
  $("no-rows").textContent = all === 0 ? "No symbols. Subscribe to one above." : "No symbol matches the filter.";
}

setInterval(() => {
  const rate = meter.tick();
  $("rate").textContent = (rate < 10 && rate > 0 ? Number(rate.toFixed(1)) : Math.round(rate)).toLocaleString("en");
}, 1_000);

// Start

new PublishForm($("publish"), { url: config.ticks_url, csrfCookie: config.csrf_cookie });
$("publish").elements.symbol.addEventListener("input", (event) => {
  $("publish").elements.price.placeholder = table.get(event.target.value)?.tick?.price ?? "150.250";
});

const first = config.instruments.slice(0, Math.min(SUBSCRIBED_AT_FIRST, config.max_symbols));
for (const { symbol, name } of first) table.append(symbol, name);
subscriptions.add(first.map(({ symbol }) => symbol));
showCount(first.length, first.length);
connection.open();
