import assert from "node:assert/strict";
import { test } from "node:test";

import { STEPS, shown, steps } from "../../../gateway/static/gateway/traces.js";

const trace = {
  published: 1778598245000000,
  received: 1778598245001500,
  sequenced: 1778598245002000,
  sent: 1778598245004000,
};

test("each step is the time from one stamp to the next", () => {
  assert.deepEqual(steps(trace, 1778598245014), [1.5, 0.5, 2, 10]);
  assert.equal(STEPS.length, 4);
});

test("where a stamp is not known nothing is drawn", () => {
  assert.equal(steps({ ...trace, received: undefined }, 1778598245014), null);
  assert.equal(steps({ ...trace, published: undefined }, 1778598245014), null);
});

test("clocks that differ take no time back", () => {
  assert.deepEqual(steps({ ...trace, received: 1778598244999000 }, 1778598245003), [0, 3, 2, 0]);
});

test("times are shown with the digits that say something", () => {
  assert.deepEqual([0.123, 12.3, 4_250].map(shown), ["0.12 ms", "12 ms", "4.3 s"]);
});
