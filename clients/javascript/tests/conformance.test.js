// What every client does: the cases of clients/conformance, which the Python client runs too.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { compact } from "../src/compact.ts";
import { BadMessage, ClosedForGood } from "../src/index.ts";
import { Gateway, until } from "./fake.js";

const CASES = join(import.meta.dirname, "..", "..", "conformance");
const NAMES = { busState: "bus", accessChanged: "access" };
const PLAIN = { code: 1006 };

/** An event as the cases have it. */
function told({ type, ...fields }) {
  const symbols = fields.symbols === undefined ? {} : { symbols: [...fields.symbols].sort() };
  return { type: NAMES[type] ?? type, ...fields, ...symbols };
}

const options = ({ max_rate, snapshot }) => ({
  ...(max_rate === undefined ? {} : { maxRate: max_rate }),
  ...(snapshot === undefined ? {} : { snapshot }),
});

/** Of `found` what `expected` names, with null for what is not there. */
function named(found, expected) {
  if (Array.isArray(expected) || typeof expected !== "object" || expected === null) return found ?? null;
  return Object.fromEntries(Object.entries(expected).map(([name, value]) => [name, named(found?.[name], value)]));
}

class Run {
  gateway = new Gateway();
  events = [];
  command = null;
  #peer = null;

  constructor({ welcome = {}, compact: isCompact = false }) {
    this.gateway.welcome = welcome;
    const { WebSocket } = this.gateway;
    this.client = this.gateway.client({ refusedFor: 60, ...(isCompact && { WebSocket: compact(WebSocket) }) });
    this.client.on("event", (event) => this.events.push(told(event)));
  }

  async peer() {
    if (this.#peer === null || this.#peer.readyState === 3) this.#peer = await this.gateway.peer();
    return this.#peer;
  }

  steps = {
    receive: async (expected) => {
      this.command = await (await this.peer()).command();
      assert.deepEqual(named(this.command, expected), expected);
    },
    answer: async (fields) => (await this.peer()).answer(this.command, fields),
    send: async (messages) => (await this.peer()).say(...messages),
    close: async ({ code, reason = "" }) => (await this.peer()).end(code, reason),
    cut: async () => (await this.peer()).end(),
    refuse: async (_, { times = 1 }) => this.gateway.refusals.push(...Array(times).fill(PLAIN.code)),
    events: async (expected) => {
      await until(() => this.events.length >= expected.length);
      const found = this.events.splice(0);
      assert.deepEqual(
        found.map((event, index) => named(event, expected[index] ?? event)),
        expected,
      );
    },
    unsubscribe: async (symbols) => this.ignore(this.client.unsubscribe(symbols)),
    latest: async (expected) => {
      const found = Object.keys(expected).map((symbol) => {
        const latest = this.client.latest(symbol);
        return [symbol, latest && { seq: latest.quote.seq, is_stale: latest.isStale }];
      });
      assert.deepEqual(Object.fromEntries(found), expected);
    },
  };

  /** A call whose outcome the case says by its events, or its end. */
  ignore(call) {
    call.catch(() => {});
  }

  async play({ subscribe = [], steps, end }) {
    this.ignore(this.client.open());
    for (const wanted of subscribe) this.ignore(this.client.subscribe(wanted.symbols, options(wanted)));
    await this.peer();
    for (const step of steps) {
      const [name, value] = Object.entries(step)[0];
      await this.steps[name](value, step);
    }
    if (end !== undefined) await this.end(end);
  }

  async end({ type, code }) {
    await until(() => this.client.status.state === "closed");
    const { error } = this.client.status;
    assert.ok(error instanceof (type === "bad_message" ? BadMessage : ClosedForGood), error);
    if (code !== undefined) assert.equal(error.code, code);
  }
}

for (const file of readdirSync(CASES).filter((name) => name.endsWith(".json"))) {
  describe(file, () => {
    for (const script of JSON.parse(readFileSync(join(CASES, file), "utf8"))) {
      test(script.name, async () => {
        const run = new Run(script);
        try {
          await run.play(script);
        } finally {
          await run.client.close();
        }
      });
    }
  });
}
