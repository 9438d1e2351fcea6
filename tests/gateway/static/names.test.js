import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Names } from "../../../gateway/static/gateway/names.js";

describe("names", () => {
  let asked;
  let names;
  let told;
  let listed;

  beforeEach(() => {
    asked = [];
    told = [];
    listed = new Map([
      ["AAPL", "Apple Inc."],
      ["aa", "in small letters"],
      ["AA", "Alcoa"],
    ]);
    globalThis.fetch = async (url) => {
      const symbols = new URL(url, "http://x").searchParams.get("symbols")?.split(",") ?? [];
      asked.push(symbols);
      const instruments = symbols
        .filter((one) => listed.has(one))
        .map((symbol) => ({ symbol, name: listed.get(symbol) }));
      return { ok: true, json: async () => ({ instruments }) };
    };
    names = new Names("/instruments", (symbol, name) => told.push([symbol, name]));
  });

  test("are asked for together, once, and told when they are there", async () => {
    assert.deepEqual([names.get("AAPL"), names.get("NONE"), names.get("AAPL")], ["", "", ""]);
    await sleep(150);
    assert.deepEqual(asked, [["AAPL", "NONE"]]);
    assert.deepEqual(told, [["AAPL", "Apple Inc."]]);
    assert.deepEqual([names.get("AAPL"), names.get("NONE")], ["Apple Inc.", ""]);
    await sleep(150);
    assert.equal(asked.length, 1);
  });

  test("of thousands are asked for in pieces that fit into an address", async () => {
    for (let number = 0; number < 1_000; number += 1) names.get(`SYMBOL-${number}`);
    await sleep(900);
    assert.equal(asked.flat().length, 1_000);
    assert.ok(Math.max(...asked.map((one) => one.join(",").length)) <= 3_000);
  });

  test("small letters stand for the symbol that is known", async () => {
    assert.deepEqual(await names.known(["aapl", "Aapl", "MSFT"]), ["AAPL", "AAPL", "MSFT"]);
  });

  test("small letters stand for themselves where there is such a symbol, or none at all", async () => {
    assert.deepEqual(await names.known(["aa", "btc"]), ["aa", "btc"]);
  });

  test("nothing is asked for what is in capitals", async () => {
    await names.known(["AAPL", "EUR/USD", "^GSPC"]);
    assert.deepEqual(asked, []);
  });

  test("a gateway that does not answer leaves symbols as they are", async () => {
    globalThis.fetch = async () => {
      throw new TypeError("away");
    };
    assert.deepEqual(await names.known(["aapl"]), ["aapl"]);
  });
});
