import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { Budget } from "../../../gateway/static/gateway/budget.js";

describe("a budget of two commands a second", () => {
  let now;
  let budget;
  const spendAt = (ms) => {
    now = 1_000 + ms;
    return budget.spend();
  };

  beforeEach(() => {
    now = 1_000;
    budget = new Budget(2, () => now);
  });

  test("allows two at once and no third", () => {
    assert.deepEqual([0, 0, 0].map(spendAt), [true, true, false]);
  });

  test("allows another each half second", () => {
    assert.deepEqual([0, 0, 499, 500, 999, 1_000].map(spendAt), [true, true, false, true, false, true]);
  });

  test("says how long to wait for the next", () => {
    [0, 0, 0].map(spendAt);
    assert.equal(budget.wait, 500);
    spendAt(400);
    assert.equal(budget.wait, 100);
  });

  test("says a wait that is long enough", () => {
    [0, 0, 499.5].map(spendAt);
    assert.equal(budget.wait, 1);
  });

  test("saves up no more than a second's worth", () => {
    assert.deepEqual([60_000, 60_000, 60_000].map(spendAt), [true, true, false]);
  });
});

test("a budget goes by the page's monotonic clock", (t) => {
  const clock = t.mock.method(performance, "now", () => 5_000);
  const budget = new Budget(1);
  assert.equal(budget.spend(), true);
  assert.equal(budget.spend(), false);
  clock.mock.mockImplementation(() => 6_000);
  assert.equal(budget.spend(), true);
});
