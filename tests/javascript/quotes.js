// A page for test_react.py: prices by the hooks of the package, in StrictMode. `window.page` is what the test looks at.

import { createElement as h, Profiler, StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { Client } from "../../clients/javascript/src/index.ts";
import { FeedProvider, useFeedStatus, useQuote } from "../../clients/javascript/src/react.ts";

const client = new Client(new URLSearchParams(location.search).get("url"), { backoff: { base: 0.05, cap: 0.5 } });
const page = { client, commits: 0, frames: 0, sent: [], error: "" };
window.page = page;

const { send } = WebSocket.prototype;
WebSocket.prototype.send = function (text) {
  page.sent.push(JSON.parse(text));
  send.call(this, text);
};

function Price({ symbol, as = symbol }) {
  const latest = useQuote(symbol);
  return h("b", { id: as, "data-stale": `${latest?.isStale ?? true}` }, latest?.quote.price ?? "none");
}

function Status() {
  return h("i", { id: "status" }, useFeedStatus().state);
}

function App() {
  const [shown, show] = useState(["AAPL"]);
  page.show = show;
  const prices = shown.map((symbol, index) => h(Price, { key: index, symbol, as: `${symbol}-${index}` }));
  return h("main", null, h(Status), h(Profiler, { id: "prices", onRender: () => (page.commits += 1) }, prices));
}

function count() {
  page.frames += 1;
  requestAnimationFrame(count);
}

count();
client.open().catch((error) => {
  page.error = `${error}`;
});
createRoot(document.getElementById("root")).render(h(StrictMode, null, h(FeedProvider, { client }, h(App))));
