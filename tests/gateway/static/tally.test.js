import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { counted, grouped, listed, Tally } from "../../../gateway/static/gateway/tally.js";

describe("a tally", () => {
  const tallyOf = (...counts) => {
    const tally = new Tally();
    for (const [symbol, count] of counts) tally.add(symbol, count);
    return tally;
  };

  test("is empty at first", () => {
    const tally = tallyOf();
    assert.deepEqual([tally.total, tally.breakdown], [0, ""]);
  });

  test("adds up, in total and by symbol", () => {
    const tally = tallyOf(["AAPL", 1_200], ["MSFT", 34], ["AAPL", 1_200]);
    assert.equal(tally.total, 2_434);
    assert.equal(tally.breakdown, "AAPL 2,400, MSFT 34");
  });

  test("names the symbols with the highest counts first, and counts the rest", () => {
    const tally = tallyOf(["A", 1], ["B", 2], ["C", 30], ["D", 4], ["E", 5]);
    assert.equal(tally.breakdown, "C 30, E 5, D 4, 2 more");
  });
});

describe("listed", () => {
  for (const [names, text] of [
    [[], ""],
    [["A"], "A"],
    [["A", "B", "C"], "A, B, C"],
    [["A", "B", "C", "D"], "A, B, C, 1 more"],
    [Array(1_203).fill("A"), "A, A, A, 1,200 more"],
  ]) {
    test(`shortens ${names.length} names to "${text}"`, () => {
      assert.equal(listed(names), text);
    });
  }
});

describe("counted", () => {
  for (const [count, text] of [
    [0, "0 ticks"],
    [1, "1 tick"],
    [2, "2 ticks"],
    [1_204, "1,204 ticks"],
  ]) {
    test(`says ${text}`, () => {
      assert.equal(counted(count, "tick"), text);
    });
  }
});

test("grouped separates thousands", () => {
  assert.equal(grouped(1_234_567), "1,234,567");
});
