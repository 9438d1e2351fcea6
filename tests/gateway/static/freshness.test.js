import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { Freshness } from "../../../gateway/static/gateway/freshness.js";

describe("freshness", () => {
  let stale;
  let behind;
  let freshness;
  const staleOnes = () => Object.keys(stale).filter((symbol) => stale[symbol]);

  beforeEach(() => {
    stale = { AAPL: false, MSFT: false };
    behind = new Set();
    const table = {
      symbols: () => Object.keys(stale),
      markStale: (symbol, isStale) => {
        stale[symbol] = isStale;
      },
    };
    freshness = new Freshness(table, { holds: (symbol) => !behind.has(symbol) });
    freshness.welcomed();
  });

  test("is lost while the gateway is not heard", () => {
    freshness.heard(false);
    assert.deepEqual(staleOnes(), ["AAPL", "MSFT"]);
    freshness.heard(true);
    assert.deepEqual(staleOnes(), []);
  });

  test("is lost while the bus is away", () => {
    freshness.bus(false);
    assert.deepEqual(staleOnes(), ["AAPL", "MSFT"]);
    freshness.bus(true);
    assert.deepEqual(staleOnes(), []);
  });

  test("is lost by the symbols of which the bus is away", () => {
    freshness.bus(false, ["MSFT"]);
    assert.deepEqual(staleOnes(), ["MSFT"]);
    freshness.bus(false);
    assert.deepEqual(staleOnes(), ["AAPL", "MSFT"]);
    freshness.bus(false, ["AAPL"]);
    assert.deepEqual(staleOnes(), ["AAPL"]);
    freshness.bus(true);
    assert.deepEqual(staleOnes(), []);
  });

  test("takes both the gateway and the bus", () => {
    freshness.heard(false);
    freshness.bus(true);
    assert.deepEqual(staleOnes(), ["AAPL", "MSFT"]);
    freshness.heard(true);
    freshness.bus(false);
    assert.deepEqual(staleOnes(), ["AAPL", "MSFT"]);
  });

  test("is lost by a symbol whose newest tick is not here", () => {
    behind.add("MSFT");
    freshness.check();
    assert.deepEqual(staleOnes(), ["MSFT"]);
    behind.delete("MSFT");
    freshness.check();
    assert.deepEqual(staleOnes(), []);
  });

  test("is checked only of the symbols that are named", () => {
    behind.add("AAPL").add("MSFT");
    freshness.check(["MSFT"]);
    assert.deepEqual(staleOnes(), ["MSFT"]);
  });

  test("is lost with the connection", () => {
    freshness.lost();
    assert.deepEqual(staleOnes(), ["AAPL", "MSFT"]);
  });

  test("comes back symbol by symbol as a new connection confirms them", () => {
    freshness.lost();
    freshness.welcomed();
    freshness.confirmed(["AAPL"]);
    assert.deepEqual(staleOnes(), ["MSFT"]);
    freshness.check();
    assert.deepEqual(staleOnes(), ["MSFT"]);
    freshness.confirmed(["MSFT"]);
    assert.deepEqual(staleOnes(), []);
  });

  test("does not come back with a confirmation alone", () => {
    freshness.lost();
    freshness.confirmed(["AAPL"]);
    assert.deepEqual(staleOnes(), ["AAPL", "MSFT"]);
  });

  test("is confirmed again after each loss", () => {
    freshness.lost();
    freshness.welcomed();
    freshness.confirmed(["AAPL", "MSFT"]);
    freshness.lost();
    freshness.welcomed();
    freshness.check();
    assert.deepEqual(staleOnes(), ["AAPL", "MSFT"]);
  });

  test("assumes of a new connection that its gateway hears the bus", () => {
    freshness.bus(false);
    freshness.welcomed();
    freshness.check();
    assert.deepEqual(staleOnes(), []);
  });

  test("is not there before the first welcome", () => {
    const marked = [];
    const table = { symbols: () => ["AAPL"], markStale: (...call) => marked.push(call) };
    new Freshness(table, { holds: () => true }).check();
    assert.deepEqual(marked, [["AAPL", true]]);
  });
});
