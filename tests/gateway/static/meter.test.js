import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Meter } from "../../../gateway/static/gateway/meter.js";

describe("a meter", () => {
  const rates = (...counts) => {
    const meter = new Meter();
    return counts.map((count) => {
      for (let number = 0; number < count; number += 1) meter.count();
      return meter.tick();
    });
  };

  test("shows the messages of the first second", () => {
    assert.deepEqual(rates(4), [4]);
  });

  test("averages over three seconds", () => {
    assert.deepEqual(rates(3, 6, 9), [3, 4.5, 6]);
  });

  test("forgets what is older", () => {
    assert.deepEqual(rates(300, 3, 6, 9, 0, 0, 0).slice(3), [6, 5, 3, 0]);
  });
});
