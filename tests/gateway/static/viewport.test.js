import assert from "node:assert/strict";
import { test } from "node:test";
import { inSight } from "../../../gateway/static/gateway/viewport.js";

const rows = (above, count) => inSight({ above, room: 600, height: 30, count });

test("of thousands of rows those in sight are shown, and a few beside them", () => {
  assert.deepEqual(rows(0, 3_000), [0, 26]);
  assert.deepEqual(rows(30_000, 3_000), [994, 1_026]);
  assert.deepEqual(rows(89_400, 3_000), [2_974, 3_000]);
});

test("there are never more rows than there are", () => {
  assert.deepEqual(rows(0, 3), [0, 3]);
  assert.deepEqual(rows(0, 0), [0, 0]);
});

test("a table that is scrolled out of sight shows next to none", () => {
  assert.deepEqual(rows(90_900, 3_000), [3_000, 3_000]);
  assert.deepEqual(inSight({ above: -5_000, room: -100, height: 30, count: 100 }), [0, 0]);
});
