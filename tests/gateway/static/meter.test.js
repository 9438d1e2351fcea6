import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Meter } from "../../../gateway/static/gateway/meter.js";

describe("a meter", () => {
  /** The rates after looks, each `[ms since the last one, messages counted meanwhile]`. */
  const rates = (...looks) => {
    let now = 0;
    const meter = new Meter(() => now);
    return looks.map(([ms, count]) => {
      for (let number = 0; number < count; number += 1) meter.count();
      now += ms;
      return meter.look();
    });
  };
  const second = (count) => [1_000, count];

  test("shows the messages of the first second", () => {
    assert.deepEqual(rates(second(4)), [4]);
  });

  test("averages over three seconds", () => {
    assert.deepEqual(rates(second(3), second(6), second(9)), [3, 4.5, 6]);
  });

  test("forgets what is older", () => {
    assert.deepEqual(rates(...[300, 3, 6, 9, 0, 0, 0].map(second)).slice(3), [6, 5, 3, 0]);
  });

  test("goes by the time that has passed, and not by how often it was looked", () => {
    assert.deepEqual(rates([2_000, 1_000], [500, 250], [1_400, 700]), [500, 500, 500]);
  });

  test("is true of a page that was busy, and counted afterwards what had come", () => {
    const busy = rates(second(500), [6_000, 0], [1_000, 3_500], second(500), second(500), second(500), second(500));
    assert.deepEqual(busy.slice(2), [500, 500, 500, 500, 500]);
  });

  test("does not take the rest of a pile for news when it was late twice", () => {
    const rate = rates([5_000, 0], [3_000, 2_000], [1_000, 2_500], second(500), second(500), second(500)).slice(2);
    assert.deepEqual(rate, [500, 500, 500, 500]);
  });
});
