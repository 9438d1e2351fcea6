// A subscriber for tests: takes every tick of all symbols, and prints its books as JSON each time it is asked, by a line.

import { createInterface } from "node:readline";
import { Client } from "../../clients/javascript/src/index.ts";
import { Ledger } from "../../clients/javascript/src/ledger.ts";

const [url, ...symbols] = process.argv.slice(2);
const client = new Client(url, { backoff: { base: 0.05, cap: 0.5 }, maxQueue: 100_000, maxAge: Infinity });
const ledger = new Ledger();
const gaps = {};
const newest = {};
let disconnects = 0;

async function read() {
  for await (const event of client) {
    ledger.take(event);
    if (event.type === "gap") gaps[event.reason] = (gaps[event.reason] ?? 0) + 1;
    if (event.type === "disconnected") disconnects += 1;
    if ("price" in event) newest[event.symbol] = event.seq;
  }
}

const reading = read();
await client.open();
await client.subscribe(symbols);
console.log("ready");
for await (const _ of createInterface({ input: process.stdin })) {
  const { streamed, received, skipped, missed, restarted, unaccounted } = ledger;
  const { repeated } = client.counts;
  const isLive = client.isConnected;
  const books = { streamed, received, skipped, missed, restarted, unaccounted };
  console.log(JSON.stringify({ ...books, gaps, newest, repeated, disconnects, isLive }));
}
await client.close();
await reading;
