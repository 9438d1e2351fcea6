import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { Ledger } from "../src/ledger.ts";

let ledger;

const symbol = "AAPL";
const take = (...seqs) => {
  for (const seq of seqs) ledger.take({ type: "tick", symbol, price: "1", seq });
};
const skip = (skipped, reason = "slow") => ledger.take({ type: "conflated", symbol, skipped, reason });
const gap = (missed) => ledger.take({ type: "gap", symbol, missed, reason: "bus", seq: 0, epoch: "" });
const figures = () => {
  const { streamed, received, skipped, missed, unaccounted } = ledger;
  return [streamed, received, skipped.slow, skipped.rate, missed, unaccounted];
};

beforeEach(() => {
  ledger = new Ledger();
  take(100);
});

describe("the books balance", () => {
  test("with what the consumer came to counted nowhere", () => {
    assert.deepEqual(figures(), [0, 0, 0, 0, 0, 0]);
    take(101, 102);
    assert.deepEqual(figures(), [2, 2, 0, 0, 0, 0]);
  });

  test("with receipts of either kind, once the tick behind them is there", () => {
    skip(3);
    skip(2, "rate");
    assert.deepEqual(figures(), [0, 0, 0, 0, 0, 0]);
    take(106);
    assert.deepEqual(figures(), [6, 1, 3, 2, 0, 0]);
  });

  test("with a gap, and what was skipped before it", () => {
    skip(1);
    gap(8);
    take(110);
    assert.deepEqual(figures(), [10, 1, 1, 0, 8, 0]);
  });

  test("over a stream that begins again", () => {
    take(101);
    skip(5);
    gap(null);
    take(3, 4);
    assert.deepEqual(figures(), [2, 2, 0, 0, 0, 0]);
    assert.equal(ledger.restarted, 1);
  });

  test("and what is lost without a word shows", () => {
    take(104);
    assert.deepEqual(figures(), [4, 1, 0, 0, 0, 3]);
  });

  test("and what is of no symbol is no line in them", () => {
    ledger.take({ type: "connected", version: "0.1.0" });
    assert.deepEqual(figures(), [0, 0, 0, 0, 0, 0]);
  });
});
