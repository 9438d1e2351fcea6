import assert from "node:assert/strict";
import { test } from "node:test";
import { later } from "../../../gateway/static/gateway/later.js";

test("work is done once for all calls within the time, at its end", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const work = t.mock.fn();
  const soon = later(work, 100);
  soon();
  t.mock.timers.tick(99);
  soon();
  assert.equal(work.mock.callCount(), 0);
  t.mock.timers.tick(1);
  assert.equal(work.mock.callCount(), 1);
  t.mock.timers.tick(1_000);
  assert.equal(work.mock.callCount(), 1);
});

test("work is done again for a call after that", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const work = t.mock.fn();
  const soon = later(work, 100);
  soon();
  t.mock.timers.tick(100);
  soon();
  t.mock.timers.tick(100);
  assert.equal(work.mock.callCount(), 2);
});
