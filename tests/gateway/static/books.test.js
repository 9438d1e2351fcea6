import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { Books } from "../../../gateway/static/gateway/books.js";

const EPOCH = "5f3a9c1e";
const OTHER = "77aa00ff";

/** @type {Books} */
let books;

const take = (...seqs) => {
  for (const seq of seqs) books.take({ symbol: "AAPL", seq: `${seq}` });
};
const skip = (count, reason = "slow") => books.conflated({ reason, skipped: { AAPL: `${count}` } });
const acknowledge = (seq, recovered, epoch = EPOCH) =>
  books.subscribed({
    positions: { AAPL: { seq: `${seq}`, epoch, ...(recovered === undefined ? {} : { recovered }) } },
  });
const gap = (missed, seq, epoch = EPOCH) => books.gap({ symbol: "AAPL", missed, seq: `${seq}`, epoch });
const figures = () => {
  const { streamed, received, skipped, missed, unaccounted } = books;
  return [streamed, received, skipped.slow, skipped.rate, missed, unaccounted];
};

beforeEach(() => {
  books = new Books();
  acknowledge(100);
  take(100);
});

describe("the books balance", () => {
  test("with what the client came to counted nowhere, and nothing twice", () => {
    assert.deepEqual(figures(), [0, 0, 0, 0, 0, 0]);
    take(101, 102, 102);
    assert.deepEqual(figures(), [2, 2, 0, 0, 0, 0]);
  });

  test("with receipts of either kind, once the tick behind them is there", () => {
    skip(3);
    skip(2, "rate");
    assert.deepEqual(figures(), [0, 0, 0, 0, 0, 0]);
    take(106);
    assert.deepEqual(figures(), [6, 1, 3, 2, 0, 0]);
  });

  test("with a gap that was told", () => {
    skip(1);
    gap("8", 109);
    take(110);
    assert.deepEqual(figures(), [10, 1, 1, 0, 8, 0]);
  });

  test("with ticks that come after all", () => {
    take(101);
    skip(3);
    assert.deepEqual(books.since("AAPL"), { seq: 101, epoch: EPOCH });
    acknowledge(105, true);
    take(102, 103, 104, 105, 106);
    assert.deepEqual(figures(), [6, 6, 0, 0, 0, 0]);
    assert.equal(books.recovered, 4);
  });

  test("with a stream that went on too far to be recovered", () => {
    acknowledge(110, false);
    books.take({ symbol: "AAPL", seq: "110", epoch: EPOCH });
    assert.deepEqual(figures(), [10, 1, 0, 0, 9, 0]);
  });
});

test("a tick that is lost without a word is seen", () => {
  take(101, 104);
  assert.equal(books.unaccounted, 2);
});

test("a stream that began again is counted, and the books go on", () => {
  gap(null, 0, OTHER);
  take(1, 2);
  acknowledge(1, false, EPOCH);
  assert.equal(books.restarted, 2);
  assert.deepEqual(figures(), [2, 2, 0, 0, 0, 0]);
});
