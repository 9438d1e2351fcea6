import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { parse } from "../../../gateway/static/gateway/exact.js";
import { Intake } from "../../../gateway/static/gateway/intake.js";
import { Positions } from "../../../gateway/static/gateway/positions.js";

const tick = (symbol, seq) => `{"type":"tick","symbol":"${symbol}","price":150.250,"timestamp":"t","seq":${seq}}`;

describe("the intake", () => {
  let handled;
  let frames;
  let now;
  let cost;
  let intake;

  const words = () =>
    handled.map(({ type, symbol, seq, skipped }) => (type === "tick" ? symbol + seq : skipped ? { ...skipped } : type));
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
      parse,
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
    assert.deepEqual(words().slice(-4), [{ A: "983", B: "983" }, "A1000", "B1000", "C1"]);
    assert.equal(handled.length, 32 + 4);
    assert.ok(now < 50);
  });

  test("leaves nothing out unsaid", () => {
    cost = 0.5;
    const gaps = [];
    const positions = new Positions((symbol, missed) => gaps.push([symbol, missed]));
    for (let seq = 1; seq <= 5_000; seq += 1) intake.push(tick("^GSPC", seq));
    frame();
    let skipped = 0;
    let taken = 0;
    for (const message of handled) {
      if (message.type === "tick") taken += positions.take(message) ? 1 : 0;
      else {
        positions.conflated(message);
        skipped += Number(message.skipped["^GSPC"]);
      }
    }
    assert.deepEqual(gaps, []);
    assert.equal(taken + skipped, 5_000);
    assert.deepEqual(positions.since("^GSPC"), undefined); // ticks name no epoch
    assert.ok(skipped > 4_900);
  });

  test("keeps other messages behind the ticks before them, and lets them wait for nothing", () => {
    intake.push(tick("A", 1));
    intake.push('{"type":"gap","symbol":"A","missed":2,"seq":3,"epoch":"e"}');
    intake.push(tick("A", 4));
    assert.deepEqual(words(), ["A1", "gap"]);
    intake.push('{"type":"closing","reconnect":true,"wait":1}');
    assert.deepEqual(words(), ["A1", "gap", "A4", "closing"]);
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
