import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { Positions } from "../../../gateway/static/gateway/positions.js";

// Numbers are text here, as exact.js reads them.
const EPOCH = "5f3a9c1e";
const OTHER = "77aa00ff";

const at = (seq, epoch = EPOCH) => ({ seq, epoch });
const snapshot = (seq, epoch = EPOCH) => ({ symbol: "AAPL", seq: `${seq}`, epoch });
const position = (seq, epoch, recovered) => ({
  positions: { AAPL: { seq: `${seq}`, epoch, ...(recovered === undefined ? {} : { recovered }) } },
});

/** @type {[string, number | null][]} */
let gaps;
/** @type {Positions} */
let positions;

const take = (...seqs) => seqs.map((seq) => positions.take({ symbol: "AAPL", seq: `${seq}` }));
const skip = (count, symbol = "AAPL") => positions.conflated({ skipped: { [symbol]: `${count}` } });
const gap = (missed, seq, epoch = EPOCH) =>
  positions.gap({ symbol: "AAPL", missed: missed === null ? null : `${missed}`, seq: `${seq}`, epoch });
const acknowledge = (seq, { epoch = EPOCH, recovered } = {}) => positions.subscribed(position(seq, epoch, recovered));
const heartbeat = (seq) => positions.heartbeat({ seqs: { AAPL: `${seq}` } });
const missed = () => gaps.map(([, count]) => count);

/** Subscribed, with the snapshot of `seq` delivered. */
function started(seq) {
  acknowledge(seq);
  if (seq > 0) positions.take(snapshot(seq));
}

beforeEach(() => {
  gaps = [];
  positions = new Positions((symbol, count) => gaps.push([symbol, count]));
});

describe("the beginning of a stream", () => {
  test("is the snapshot, and ticks follow it", () => {
    acknowledge(1041);
    assert.equal(positions.take(snapshot(1041)), true);
    assert.deepEqual(take(1042), [true]);
    assert.deepEqual(gaps, []);
    assert.deepEqual(positions.since("AAPL"), at(1042));
  });

  test("is the first tick where the symbol has never ticked", () => {
    acknowledge(0);
    take(1);
    assert.deepEqual(gaps, []);
  });

  test("has a gap if the first tick is not the first", () => {
    acknowledge(0);
    take(2);
    assert.deepEqual(gaps, [["AAPL", 1]]);
  });

  test("may be a tick that no acknowledgement came before", () => {
    assert.deepEqual(take(7), [true]);
    assert.deepEqual(gaps, []);
    take(9);
    assert.deepEqual(missed(), [1]);
  });

  test("may be a snapshot that no acknowledgement came before", () => {
    positions.take(snapshot(7));
    assert.deepEqual(positions.since("AAPL"), at(7));
    assert.equal(positions.holds("AAPL"), true);
  });

  test("is counted as lost where the stream is past it when the snapshot comes", () => {
    acknowledge(5);
    positions.take(snapshot(8));
    assert.deepEqual(missed(), [2]);
  });
});

describe("duplicates", () => {
  test("of the newest tick are no news", () => {
    started(5);
    assert.deepEqual(take(6, 6, 7), [true, false, true]);
    assert.deepEqual(gaps, []);
  });

  test("of older ticks are no news, and do not move the position back", () => {
    started(5);
    assert.deepEqual(take(6, 4), [true, false]);
    assert.deepEqual(positions.since("AAPL"), at(6));
  });

  test("of the snapshot are no news", () => {
    started(5);
    assert.equal(positions.take(snapshot(5)), false);
  });

  test("are told apart from the tick that an acknowledgement names", () => {
    acknowledge(5);
    assert.deepEqual(take(4, 5, 5), [false, true, false]);
  });

  test("keep the receipts for the next tick", () => {
    started(5);
    skip(2);
    assert.deepEqual(take(5, 8), [false, true]);
    assert.deepEqual(gaps, []);
  });
});

describe("a tick without a number", () => {
  test("is always news and leaves the position alone", () => {
    started(5);
    assert.equal(positions.take({ symbol: "AAPL" }), true);
    assert.equal(positions.take({ symbol: "AAPL" }), true);
    assert.deepEqual(take(6), [true]);
    assert.deepEqual(gaps, []);
  });

  test("begins no stream", () => {
    positions.take({ symbol: "AAPL" });
    assert.equal(positions.since("AAPL"), undefined);
    assert.deepEqual([...positions.symbols()], []);
  });
});

describe("a jump", () => {
  test("is a gap, once", () => {
    started(5);
    take(9, 10);
    assert.deepEqual(gaps, [["AAPL", 3]]);
  });

  test("of one tick is a gap", () => {
    started(5);
    take(7);
    assert.deepEqual(missed(), [1]);
  });

  test("is none where receipts add up to it", () => {
    started(5);
    skip(12);
    skip(3);
    take(21);
    assert.deepEqual(gaps, []);
  });

  test("is a gap of what receipts leave over", () => {
    started(5);
    skip(12);
    skip(3);
    take(23);
    assert.deepEqual(missed(), [2]);
  });

  test("is explained by a receipt only once", () => {
    started(5);
    skip(2);
    take(8, 11);
    assert.deepEqual(missed(), [2]);
  });

  test("is not explained by another symbol's receipt", () => {
    started(5);
    skip(2, "MSFT");
    take(8);
    assert.deepEqual(missed(), [2]);
  });

  test("smaller than its receipts is no gap", () => {
    started(5);
    skip(5);
    take(7);
    assert.deepEqual(gaps, []);
  });

  test("of numbers that differ in length is counted by value", () => {
    started(9);
    assert.deepEqual(take(10), [true]);
    assert.deepEqual(gaps, []);
  });
});

describe("a reported gap", () => {
  test("is counted once, and the stream goes on behind it", () => {
    started(1041);
    gap(8, 1049);
    assert.deepEqual(take(1050, 1051), [true, true]);
    assert.deepEqual(gaps, [["AAPL", 8]]);
  });

  test("adds up with the receipt before it", () => {
    started(10);
    skip(4);
    gap(6, 20);
    take(21);
    assert.deepEqual(missed(), [6]);
  });

  test("is believed where it says more than the numbers", () => {
    started(10);
    gap(12, 20);
    assert.deepEqual(missed(), [12]);
  });

  test("is as large as the numbers say where it says less", () => {
    started(10);
    gap(2, 20);
    assert.deepEqual(missed(), [10]);
  });

  test("takes the receipts before it away", () => {
    started(10);
    skip(4);
    gap(6, 20);
    take(23);
    assert.deepEqual(missed(), [6, 2]);
  });

  test("of nothing is not told", () => {
    started(10);
    gap(0, 10);
    assert.deepEqual(gaps, []);
  });

  test("leaves its last tick not held until the next one comes", () => {
    started(10);
    gap(2, 12);
    assert.equal(positions.holds("AAPL"), false);
    assert.deepEqual(positions.since("AAPL"), at(11));
    take(13);
    assert.equal(positions.holds("AAPL"), true);
    assert.deepEqual(positions.since("AAPL"), at(13));
  });

  test("takes its last tick if that comes after all", () => {
    started(10);
    gap(2, 12);
    assert.deepEqual(take(12), [true]);
    assert.deepEqual(missed(), [2]);
  });

  test("of a symbol without a position begins its stream", () => {
    gap(3, 9);
    assert.deepEqual(gaps, [["AAPL", 3]]);
    assert.deepEqual(positions.since("AAPL"), at(8));
  });

  test("that is older than the position does not move it back", () => {
    started(10);
    gap(2, 8);
    assert.deepEqual(missed(), [2]);
    assert.deepEqual(positions.since("AAPL"), at(10));
    assert.equal(positions.holds("AAPL"), true);
  });

  test("up to the position itself doubts that the tick there was delivered", () => {
    started(10);
    gap(1, 10);
    assert.equal(positions.holds("AAPL"), false);
  });

  test("of unknown size is told as such, in the same epoch too", () => {
    started(10);
    gap(null, 12);
    assert.deepEqual(gaps, [["AAPL", null]]);
    take(13);
    assert.deepEqual(missed(), [null]);
  });

  test("of unknown size and an old number puts the stream back there", () => {
    started(10);
    gap(null, 7);
    assert.deepEqual(take(8, 9), [true, true]);
    assert.deepEqual(missed(), [null]);
  });

  test("of unknown size and a new epoch begins at its number", () => {
    started(10);
    gap(null, 0, OTHER);
    assert.deepEqual(take(1, 2), [true, true]);
    assert.deepEqual(missed(), [null]);
    assert.deepEqual(positions.since("AAPL"), at(2, OTHER));
  });

  test("of a new epoch is not compared with the old numbers", () => {
    started(10);
    gap(2, 20, OTHER);
    assert.deepEqual(missed(), [2]);
    gap(2, 22, OTHER);
    assert.deepEqual(missed(), [2, 2]);
  });

  test("of a new epoch goes back to lower numbers", () => {
    started(10);
    gap(2, 4, OTHER);
    assert.deepEqual(positions.since("AAPL"), at(3, OTHER));
  });
});

describe("a snapshot of a new epoch", () => {
  test("is a gap of unknown size, and ticks follow it", () => {
    started(10);
    assert.equal(positions.take(snapshot(3, OTHER)), true);
    assert.deepEqual(take(4), [true]);
    assert.deepEqual(gaps, [["AAPL", null]]);
    assert.deepEqual(positions.since("AAPL"), at(4, OTHER));
  });

  test("takes the receipts of the old one away", () => {
    started(10);
    skip(4);
    positions.take(snapshot(3, OTHER));
    take(6);
    assert.deepEqual(missed(), [null, 2]);
  });
});

describe("an epoch that is not known", () => {
  test("has nothing to resume after", () => {
    take(5);
    assert.equal(positions.since("AAPL"), undefined);
  });

  test("is learnt from the next snapshot, without a gap", () => {
    take(5);
    positions.take(snapshot(6));
    assert.deepEqual(gaps, []);
    assert.deepEqual(positions.since("AAPL"), at(6));
  });

  test("is not forgotten when ticks do not name it", () => {
    started(5);
    take(6);
    assert.deepEqual(positions.since("AAPL"), at(6));
  });
});

describe("an acknowledgement that says recovered", () => {
  test("leaves the position, and late ticks are news", () => {
    started(5);
    assert.deepEqual(acknowledge(8, { recovered: true }), { recovered: 1, late: 3, restarted: 0 });
    assert.deepEqual(take(6, 7, 8, 9), [true, true, true, true]);
    assert.deepEqual(gaps, []);
  });

  test("counts no late ticks where there are none", () => {
    started(5);
    assert.deepEqual(acknowledge(5, { recovered: true }), { recovered: 1, late: 0, restarted: 0 });
    assert.equal(acknowledge(4, { recovered: true }).late, 0);
  });

  test("counts a tick that is not held as late", () => {
    started(5);
    gap(1, 6);
    assert.equal(acknowledge(6, { recovered: true }).late, 1);
  });

  test("forgets receipts for ticks that come after all", () => {
    started(5);
    skip(2);
    acknowledge(8, { recovered: true });
    take(7);
    assert.deepEqual(missed(), [1]);
  });

  test("is held to it: a tick that is missing is a gap", () => {
    started(5);
    acknowledge(8, { recovered: true });
    take(6, 8);
    assert.deepEqual(missed(), [1]);
  });

  test("about a symbol without a position begins its stream", () => {
    assert.deepEqual(acknowledge(8, { recovered: true }), { recovered: 0, late: 0, restarted: 0 });
    assert.deepEqual(positions.since("AAPL"), at(7));
  });

  test("is summed over all symbols", () => {
    positions.take({ ...snapshot(5), symbol: "A" });
    positions.take({ ...snapshot(7), symbol: "B" });
    const answer = { epoch: EPOCH, recovered: true };
    const outcome = positions.subscribed({
      positions: {
        A: { ...answer, seq: "6" },
        B: { ...answer, seq: "9" },
        C: { seq: "1", epoch: EPOCH, recovered: false },
        D: { seq: "1", epoch: EPOCH, recovered: false },
        E: { seq: "1", epoch: EPOCH },
      },
    });
    assert.deepEqual(outcome, { recovered: 2, late: 3, restarted: 2 });
  });
});

describe("an acknowledgement that does not say recovered", () => {
  for (const recovered of [false, undefined]) {
    test(`is a gap up to the snapshot (${recovered})`, () => {
      started(5);
      assert.equal(acknowledge(9, { recovered }).restarted, recovered === false ? 1 : 0);
      assert.deepEqual(missed(), [3]);
      assert.equal(positions.holds("AAPL"), false);
      assert.equal(positions.take(snapshot(9)), true);
      assert.deepEqual(missed(), [3]);
    });
  }

  test("is no gap where the snapshot is the next tick", () => {
    started(5);
    acknowledge(6, { recovered: false });
    assert.deepEqual(gaps, []);
    assert.equal(positions.holds("AAPL"), false);
  });

  test("leaves a position that is as new alone", () => {
    started(5);
    acknowledge(5);
    assert.equal(positions.holds("AAPL"), true);
    assert.equal(positions.take(snapshot(5)), false);
  });

  test("leaves a position that is newer alone", () => {
    started(5);
    acknowledge(4);
    assert.deepEqual(positions.since("AAPL"), at(5));
    assert.deepEqual(gaps, []);
  });

  test("counts what receipts explained", () => {
    started(5);
    skip(2);
    acknowledge(9);
    assert.deepEqual(missed(), [1]);
  });

  test("of a new epoch is a gap of unknown size", () => {
    started(5);
    acknowledge(9, { epoch: OTHER });
    assert.deepEqual(missed(), [null]);
    assert.equal(positions.holds("AAPL"), false);
    assert.deepEqual(positions.since("AAPL"), at(8, OTHER));
  });

  test("of a new epoch without a tick keeps the old price as one that may be old", () => {
    started(5);
    acknowledge(0, { epoch: OTHER });
    assert.deepEqual(missed(), [null]);
    assert.equal(positions.holds("AAPL"), false);
    assert.deepEqual(positions.since("AAPL"), at(0, OTHER));
  });

  test("of a new epoch is no gap where nothing has ever ticked", () => {
    started(0);
    acknowledge(0, { epoch: OTHER });
    assert.deepEqual(gaps, []);
    assert.equal(positions.holds("AAPL"), true);
    assert.deepEqual(positions.since("AAPL"), at(0, OTHER));
  });

  test("of a new epoch with ticks is a gap where nothing had ticked before", () => {
    started(0);
    acknowledge(1, { epoch: OTHER });
    assert.deepEqual(missed(), [null]);
  });

  test("of a new epoch keeps a doubt about one without ticks", () => {
    started(5);
    acknowledge(0, { epoch: OTHER });
    acknowledge(0, { epoch: "third" });
    assert.equal(positions.holds("AAPL"), false);
  });

  test("without positions changes nothing", () => {
    started(5);
    assert.deepEqual(positions.subscribed({}), { recovered: 0, late: 0, restarted: 0 });
    assert.deepEqual(positions.since("AAPL"), at(5));
  });
});

describe("since", () => {
  test("asks for the tick again that was named but not delivered", () => {
    acknowledge(5);
    assert.deepEqual(positions.since("AAPL"), at(4));
  });

  test("is never below 0", () => {
    acknowledge(0);
    assert.deepEqual(positions.since("AAPL"), at(0));
    gap(null, 0, OTHER);
    assert.deepEqual(positions.since("AAPL"), at(0, OTHER));
  });

  test("is undefined for a symbol that is not known, or forgotten", () => {
    assert.equal(positions.since("AAPL"), undefined);
    started(5);
    positions.forget("AAPL");
    assert.equal(positions.since("AAPL"), undefined);
    assert.deepEqual([...positions.symbols()], []);
  });
});

describe("holds", () => {
  test("is true of a symbol that is not known", () => {
    assert.equal(positions.holds("AAPL"), true);
  });

  test("is true of a symbol that has never ticked", () => {
    acknowledge(0);
    assert.equal(positions.holds("AAPL"), true);
  });

  test("is false between an acknowledgement and its snapshot", () => {
    acknowledge(5);
    assert.equal(positions.holds("AAPL"), false);
    positions.take(snapshot(5));
    assert.equal(positions.holds("AAPL"), true);
  });
});

describe("a heartbeat", () => {
  test("is satisfied with the same number", () => {
    started(5);
    assert.deepEqual(heartbeat(5), []);
  });

  test("finds a position that is behind", () => {
    started(5);
    assert.deepEqual(heartbeat(6), ["AAPL"]);
  });

  test("finds a position that is ahead, as after a restart", () => {
    started(5);
    assert.deepEqual(heartbeat(4), ["AAPL"]);
  });

  test("finds a tick that is not held", () => {
    acknowledge(5);
    assert.deepEqual(heartbeat(5), ["AAPL"]);
  });

  test("finds a first tick that is not held", () => {
    acknowledge(1);
    assert.deepEqual(heartbeat(1), ["AAPL"]);
  });

  test("does not ask for a tick that does not exist", () => {
    gap(null, 0, OTHER);
    assert.deepEqual(heartbeat(0), []);
  });

  test("says nothing of symbols that are not known", () => {
    assert.deepEqual(heartbeat(5), []);
  });

  test("may come without numbers", () => {
    started(5);
    assert.deepEqual(positions.heartbeat({}), []);
  });

  test("names only the symbols that are behind", () => {
    for (const symbol of ["A", "B", "C"]) positions.take({ ...snapshot(5), symbol });
    assert.deepEqual(positions.heartbeat({ seqs: { A: "5", B: "6", C: "7" } }), ["B", "C"]);
  });
});

describe("symbols", () => {
  test("have positions of their own", () => {
    positions.take({ ...snapshot(5), symbol: "A" });
    positions.take({ ...snapshot(9), symbol: "B" });
    positions.take({ symbol: "A", seq: "6" });
    assert.deepEqual([...positions.symbols()], ["A", "B"]);
    assert.deepEqual([positions.since("A"), positions.since("B")], [at(6), at(9)]);
    assert.deepEqual(gaps, []);
  });
});

describe("more of every symbol, which is introduced after the acknowledgement", () => {
  const introduced = (seq) => positions.subscribed(position(seq, EPOCH));

  test("begins with its snapshot", () => {
    acknowledge(0);
    positions.forget("AAPL");
    introduced(7);
    assert.equal(positions.holds("AAPL"), false);
    assert.equal(positions.take(snapshot(7)), true);
    assert.deepEqual(take(8), [true]);
    assert.deepEqual(missed(), []);
  });

  test("says what was missed while it was not there", () => {
    started(5);
    introduced(9);
    positions.take(snapshot(9));
    assert.deepEqual(missed(), [3]);
  });

  test("that is known already, as it was asked for again, changes nothing", () => {
    started(5);
    take(6);
    introduced(6);
    assert.equal(positions.take(snapshot(6)), false);
    assert.deepEqual(take(7), [true]);
    assert.deepEqual(missed(), []);
  });
});
