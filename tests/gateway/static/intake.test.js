import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { Intake } from "../../../gateway/static/gateway/intake.js";

const tick = (symbol, seq) => ({ type: "tick", symbol, price: "150.250", timestamp: "t", seq });

describe("the intake", () => {
  let handled;
  let frames;
  let now;
  let cost;
  let intake;

  const words = () =>
    handled.map(({ type, symbol, seq, skipped }) =>
      type === "tick" ? symbol + seq : skipped ? [symbol, skipped] : type,
    );
  const frame = () => {
    if (frames === 0) return;
    frames = 0;
    intake.flush();
  };

  beforeEach(() => {
    handled = [];
    frames = 0; // that were asked for
    now = 0;
    cost = 0; // of a message, in ms
    intake = new Intake({
      handle: (message) => {
        now += cost;
        handled.push(message);
      },
      now: () => now,
      request: () => {
        frames += 1;
      },
    });
  });

  test("hands over every tick at the next frame while that takes little time", () => {
    for (const seq of [1, 2, 3]) intake.push(tick("A", seq));
    assert.deepEqual(handled, []);
    frame();
    assert.deepEqual(words(), ["A1", "A2", "A3"]);
    assert.equal(frames, 0);
  });

  test("hands over the newest of each symbol, behind a receipt, when there is more than a frame has room for", () => {
    cost = 1;
    for (let seq = 1; seq <= 1_000; seq += 1) {
      intake.push(tick("A", seq));
      intake.push(tick("B", seq));
    }
    intake.push(tick("C", 1));
    frame();
    assert.deepEqual(words().slice(-4), ["A1000", ["B", 983], "B1000", "C1"]);
    assert.equal(handled.length, 32 + 5);
    assert.ok(now < 50);
  });

  test("leaves nothing out unsaid", () => {
    cost = 0.5;
    for (let seq = 1; seq <= 5_000; seq += 1) intake.push(tick("^GSPC", seq));
    frame();
    const skipped = handled.filter(({ type }) => type === "conflated").reduce((sum, one) => sum + one.skipped, 0);
    assert.equal(handled.filter(({ type }) => type === "tick").length + skipped, 5_000);
    assert.equal(handled.at(-1).seq, 5_000);
    assert.ok(skipped > 4_900);
  });

  test("keeps other events behind the ticks before them, and lets them wait for nothing", () => {
    intake.push(tick("A", 1));
    intake.push({ type: "gap", symbol: "A", missed: 2, reason: "bus", seq: 3, epoch: "e" });
    intake.push(tick("A", 4));
    assert.deepEqual(words(), ["A1", "gap"]);
    intake.push({ type: "disconnected", code: 1012, reason: "", wait: 1 });
    assert.deepEqual(words(), ["A1", "gap", "A4", "disconnected"]);
  });

  test("does not let thousands wait where there are no frames", () => {
    for (let seq = 1; seq <= 10_000; seq += 1) intake.push(tick("A", seq));
    assert.equal(words().at(-1), "A10000");
  });

  test("can be emptied at once", () => {
    intake.push(tick("A", 1));
    intake.flush();
    assert.deepEqual(words(), ["A1"]);
    frame();
    assert.deepEqual(words(), ["A1"]);
  });
});
