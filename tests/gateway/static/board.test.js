import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { Board } from "../../../gateway/static/gateway/board.js";
import { pressed, sortOf, sortText } from "../../../gateway/static/gateway/order.js";

describe("the board", () => {
  let board;
  let changes;
  const shown = () => board.shown.map(({ symbol }) => symbol);
  const tick = (symbol, price, more = {}) => board.take({ symbol, price, timestamp: "2026-05-12T15:04:05Z", ...more });

  beforeEach(() => {
    changes = 0;
    board = new Board(() => {
      changes += 1;
    });
    for (const [symbol, name] of [
      ["AAPL", "Apple Inc."],
      ["MSFT", "Microsoft"],
      ["TSLA", "Tesla"],
    ]) {
      board.append(symbol, name);
    }
  });

  test("keeps the order of subscription, what was added by hand first", () => {
    board.prepend("ONE", "");
    board.prepend("TWO", "");
    assert.deepEqual(shown(), ["TWO", "ONE", "AAPL", "MSFT", "TSLA"]);
  });

  test("finds symbols and names, in any letters", () => {
    board.filterBy(" aPP ");
    assert.deepEqual(shown(), ["AAPL"]);
    board.rename("TSLA", "Tesla, not Apple");
    assert.deepEqual(shown(), ["AAPL", "TSLA"]);
    board.filterBy("");
    assert.equal(board.shown.length, 3);
  });

  test("sorts numbers as numbers, and what has none last either way", () => {
    tick("AAPL", "9.5");
    tick("MSFT", "10.25");
    board.sortBy({ column: "price", descending: true });
    assert.deepEqual(shown(), ["MSFT", "AAPL", "TSLA"]);
    board.sortBy({ column: "price", descending: false });
    assert.deepEqual(shown(), ["AAPL", "MSFT", "TSLA"]);
  });

  test("sorts by what changed since the page was opened", () => {
    for (const [symbol, ...prices] of [
      ["AAPL", "100", "101"],
      ["MSFT", "1", "1.5"],
      ["TSLA", "10", "9"],
    ]) {
      for (const price of prices) tick(symbol, price);
    }
    board.sortBy(sortOf("-change"));
    assert.deepEqual(shown(), ["AAPL", "MSFT", "TSLA"]);
    board.sortBy(sortOf("-percent"));
    assert.deepEqual(shown(), ["MSFT", "AAPL", "TSLA"]);
  });

  test("moves rows for prices only when asked to, and gives the same list until then", () => {
    tick("AAPL", "1");
    tick("MSFT", "2");
    board.sortBy(sortOf("-price"));
    const before = board.shown;
    tick("AAPL", "3");
    assert.equal(board.shown, before);
    board.resort();
    assert.deepEqual(shown(), ["AAPL", "MSFT", "TSLA"]);
  });

  test("says that there is something to paint, and of which symbols", () => {
    for (const quote of board.shown) quote.changed = false;
    changes = 0;
    tick("MSFT", "1");
    tick("NOT", "1");
    board.markStale("TSLA", true);
    board.markStale("TSLA", true);
    assert.equal(changes, 2);
    assert.deepEqual(
      board.shown.filter(({ changed }) => changed).map(({ symbol }) => symbol),
      ["MSFT", "TSLA"],
    );
  });

  test("a tick makes a price current", () => {
    board.markStale("AAPL", true);
    tick("AAPL", "1");
    assert.equal(board.get("AAPL").stale, false);
  });
});

describe("a column's head", () => {
  const presses = (column) => {
    const sorts = [];
    let sort = null;
    for (let count = 0; count < 3; count += 1) {
      sort = pressed(sort, column);
      sorts.push(sortText(sort));
    }
    return sorts;
  };

  test("sorts texts up and down, and then not at all", () => {
    assert.deepEqual(presses("symbol"), ["symbol", "-symbol", ""]);
  });

  test("begins with the highest number", () => {
    assert.deepEqual(presses("percent"), ["-percent", "percent", ""]);
  });

  test("takes no sort from an address that is none", () => {
    for (const text of [null, "", "-", "constructor", "--price", "chart"]) assert.equal(sortOf(text), null);
    assert.deepEqual(sortOf("-price"), { column: "price", descending: true });
  });
});
