import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { Lag } from "../../../gateway/static/gateway/lag.js";

describe("the lag of the page", () => {
  let now;
  let lag;
  const look = (ms = 250) => {
    now += ms;
    return lag.look(250);
  };

  beforeEach(() => {
    now = 0;
    lag = new Lag(() => now);
  });

  test("is none while timers come in time and pings return", () => {
    lag.pinged(40);
    lag.pinged(300);
    assert.deepEqual([look(), look(), look(400)], [null, null, null]);
  });

  test("is how late a timer was, for some seconds", () => {
    assert.equal(look(1_450), 1_200);
    assert.equal(look(), 1_200);
    assert.equal(look(600), 1_200);
    for (let count = 0; count < 12; count += 1) look();
    assert.equal(look(), null);
  });

  test("is said of a page that left out ticks, though not how long it was", () => {
    lag.skipped();
    assert.equal(look(), 0);
  });

  test("is what a ping took longer than the quickest one", () => {
    lag.pinged(30);
    lag.pinged(2_030);
    assert.equal(look(), 2_000);
  });

  test("is not that nobody looked at a hidden page", () => {
    now += 60_000;
    lag.restart();
    assert.equal(look(), null);
  });
});
