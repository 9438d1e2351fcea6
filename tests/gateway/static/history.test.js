import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { History } from "../../../gateway/static/gateway/history.js";

describe("a history", () => {
  let history;
  const addMany = (count, interval) => {
    for (let number = 0; number < count; number += 1) history.add(number, number * interval);
  };

  beforeEach(() => {
    history = new History();
  });

  test("keeps points that are an interval apart", () => {
    history.add(1, 0);
    history.add(2, 250);
    history.add(3, 500);
    assert.deepEqual(
      [[...history.values], [...history.times]],
      [
        [1, 2, 3],
        [0, 250, 500],
      ],
    );
  });

  test("replaces a point that is younger than the interval, and keeps its time", () => {
    history.add(1, 0);
    history.add(2, 250);
    history.add(3, 499);
    history.add(4, 500);
    assert.deepEqual(
      [[...history.values], [...history.times]],
      [
        [1, 3, 4],
        [0, 250, 500],
      ],
    );
  });

  test("never replaces the first point", () => {
    history.add(1, 0);
    history.add(2, 1);
    history.add(3, 2);
    assert.deepEqual([...history.values], [1, 3]);
  });

  test("is full with 120 points", () => {
    addMany(120, 250);
    assert.equal(history.values.length, 120);
  });

  test("drops every second point when it is full, but neither the first nor the newest", () => {
    addMany(121, 250);
    assert.equal(history.values.length, 61);
    assert.deepEqual([...history.values].slice(0, 3), [0, 2, 4]);
    assert.deepEqual([...history.values].slice(-2), [118, 120]);
    assert.deepEqual([...history.times].slice(0, 3), [0, 500, 1_000]);
  });

  test("keeps the newest point where its turn would be to go", () => {
    addMany(121, 250);
    for (let number = 0; number < 60; number += 1) history.add(1_000 + number, 30_500 + number * 500);
    assert.equal(history.values.at(-1), 1_059);
    assert.equal(history.values.length, 61);
  });

  test("doubles the interval when it is full", () => {
    addMany(121, 250);
    history.add(-1, 30_499);
    assert.equal(history.values.length, 61);
    history.add(-2, 30_500);
    assert.equal(history.values.length, 62);
  });

  test("stays bounded and true to its ends however long it goes on", () => {
    addMany(20_000, 100);
    assert.ok(history.values.length <= 120);
    assert.equal(history.values.length, history.times.length);
    assert.deepEqual([history.values[0], history.times[0], history.values.at(-1)], [0, 0, 19_999]);
  });
});
