import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Command } from "../../../gateway/static/gateway/command.js";

const FIELDS = { action: "subscribe", id: 1 };
const SINCE = { seq: 1041, epoch: "5f3a9c1e" };

const textOf = (command) => JSON.stringify(command);
const bytes = (symbols, since) => textOf({ ...FIELDS, symbols, since }).length;

describe("a command", () => {
  test("is sent with its fields and symbols", () => {
    const command = new Command({ ...FIELDS, max_rate: 5 }, 1_000);
    command.add("AAPL");
    command.add("MSFT");
    assert.deepEqual(JSON.parse(textOf(command)), { ...FIELDS, max_rate: 5, symbols: ["AAPL", "MSFT"] });
  });

  test("says where to resume the symbols that have a position", () => {
    const command = new Command(FIELDS, 1_000);
    command.add("AAPL", SINCE);
    command.add("MSFT");
    assert.deepEqual(JSON.parse(textOf(command)), { ...FIELDS, symbols: ["AAPL", "MSFT"], since: { AAPL: SINCE } });
  });

  test("may resume symbols that it does not name", () => {
    const command = new Command(FIELDS, 1_000);
    command.add("*");
    assert.equal(command.resume("AAPL", SINCE), true);
    assert.deepEqual(JSON.parse(textOf(command)), { ...FIELDS, symbols: ["*"], since: { AAPL: SINCE } });
  });
});

describe("the limit of a command", () => {
  // A comma is counted behind the last symbol, and one behind the last position, that JSON does not write.
  test("is kept to the byte by symbols", () => {
    const limit = bytes(["AAPL", "MSFT"], {}) + 1;
    for (const [allowed, fits] of [
      [limit, true],
      [limit - 1, false],
    ]) {
      const command = new Command(FIELDS, allowed);
      command.add("AAPL");
      assert.equal(command.add("MSFT"), fits);
      assert.deepEqual(command.symbols, fits ? ["AAPL", "MSFT"] : ["AAPL"]);
    }
  });

  test("is kept to the byte by symbols with positions", () => {
    const limit = bytes(["AAPL", "MSFT"], { AAPL: SINCE, MSFT: SINCE }) + 2;
    for (const [allowed, fits] of [
      [limit, true],
      [limit - 1, false],
    ]) {
      const command = new Command(FIELDS, allowed);
      command.add("AAPL", SINCE);
      assert.equal(command.add("MSFT", SINCE), fits);
      assert.ok(textOf(command).length <= allowed);
      assert.deepEqual(Object.keys(JSON.parse(textOf(command)).since), command.symbols);
    }
  });

  test("is kept to the byte by positions alone", () => {
    const limit = bytes(["*"], { AAPL: SINCE }) + 2;
    for (const [allowed, fits] of [
      [limit, true],
      [limit - 1, false],
    ]) {
      const command = new Command(FIELDS, allowed);
      command.add("*");
      assert.equal(command.resume("AAPL", SINCE), fits);
      assert.equal("since" in JSON.parse(textOf(command)), fits);
    }
  });

  test("counts what was resumed before", () => {
    const command = new Command(FIELDS, bytes(["*"], { AAPL: SINCE, MSFT: SINCE }) + 2);
    command.add("*");
    assert.deepEqual(
      ["AAPL", "MSFT", "TSLA"].map((symbol) => command.resume(symbol, SINCE)),
      [true, true, false],
    );
    command.add("ANY");
    assert.deepEqual(command.symbols, ["*"]);
  });

  test("does not keep the first symbol out, only its position", () => {
    const command = new Command(FIELDS, 10);
    assert.equal(command.add("AAPL", SINCE), true);
    assert.equal(command.add("MSFT"), false);
    assert.deepEqual(JSON.parse(textOf(command)), { ...FIELDS, symbols: ["AAPL"] });
  });

  for (const limit of [120, 200, 500]) {
    test(`of ${limit} bytes is never exceeded, and nearly used up`, () => {
      const command = new Command(FIELDS, limit);
      let number = 0;
      while (command.add(`S${number}`, { seq: 10 ** (number % 9), epoch: "5f3a9c1e" })) number += 1;
      const used = textOf(command).length;
      assert.ok(used <= limit && used > limit - 60, `${used} of ${limit}`);
    });
  }
});
