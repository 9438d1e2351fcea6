import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Turns } from "../../../gateway/static/gateway/turns.js";

describe("turns", () => {
  const done = (turns, items, most) => {
    const list = [];
    const isAll = turns.take(items, (item) => list.push(item) < most);
    return [list, isAll];
  };

  test("go through all where there is time for all", () => {
    assert.deepEqual(done(new Turns(), [1, 2, 3], 9), [[1, 2, 3], true]);
    assert.deepEqual(done(new Turns(), [], 9), [[], true]);
  });

  test("go on where they stopped", () => {
    const turns = new Turns();
    assert.deepEqual(done(turns, [1, 2, 3, 4, 5], 2), [[1, 2], false]);
    assert.deepEqual(done(turns, [1, 2, 3, 4, 5], 2), [[3, 4], false]);
    assert.deepEqual(done(turns, [1, 2, 3, 4, 5], 2), [[5, 1], false]);
  });

  test("come to each once at most", () => {
    const turns = new Turns();
    done(turns, [1, 2, 3], 2);
    assert.deepEqual(done(turns, [1, 2, 3], 9), [[3, 1, 2], true]);
  });

  test("bear a list that became shorter", () => {
    const turns = new Turns();
    done(turns, [1, 2, 3, 4], 3);
    assert.deepEqual(done(turns, [1, 2], 9), [[2, 1], true]);
  });
});
