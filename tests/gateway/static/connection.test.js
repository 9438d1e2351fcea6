import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { backoff } from "../../../gateway/static/gateway/connection.js";

describe("the backoff", () => {
  const bound = (attempt) => backoff(attempt, () => 1);

  test("doubles from a second on", () => {
    assert.deepEqual([0, 1, 2, 3].map(bound), [1_000, 2_000, 4_000, 8_000]);
  });

  test("has a bound", () => {
    assert.deepEqual([4, 5, 20, 2_000].map(bound), [16_000, 30_000, 30_000, 30_000]);
  });

  test("has full jitter", () => {
    assert.equal(
      backoff(3, () => 0),
      0,
    );
    assert.equal(
      backoff(3, () => 0.25),
      2_000,
    );
  });

  test("is random", () => {
    const waits = new Set(Array.from({ length: 20 }, () => backoff(10)));
    assert.ok(waits.size > 1);
    for (const wait of waits) assert.ok(wait >= 0 && wait < 30_000);
  });
});
