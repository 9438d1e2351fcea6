import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { age, clockTime } from "../../../gateway/static/gateway/times.js";

const NOW = Date.parse("2026-05-12T15:04:05Z");
const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

describe("an age", () => {
  for (const [ms, text] of [
    [-5_000, "now"],
    [0, "now"],
    [999, "now"],
    [SECOND, "1s"],
    [MINUTE - 1, "59s"],
    [MINUTE, "1m"],
    [HOUR - 1, "59m"],
    [HOUR, "1h"],
    [DAY - 1, "23h"],
    [DAY, "1d"],
    [400 * DAY, "400d"],
  ]) {
    test(`of ${ms} ms is ${text}`, () => {
      assert.equal(age(NOW - ms, NOW), text);
    });
  }

  test("is counted up to the present", () => {
    assert.equal(age(Date.now() - 90 * MINUTE), "1h");
  });
});

describe("a time on the clock", () => {
  test("is the time of day, in 24 hours", () => {
    assert.equal(clockTime(NOW, NOW), "15:04:05");
  });

  test("begins with 00 in the hour after midnight", () => {
    const midnight = Date.parse("2026-05-12T00:00:30Z");
    assert.equal(clockTime(midnight, midnight), "00:00:30");
  });

  for (const way of [-1, 1]) {
    test(`is the time of day less than twelve hours away (${way})`, () => {
      assert.match(clockTime(NOW + way * (12 * HOUR - 1), NOW), /^\d\d:\d\d:\d\d$/);
    });

    test(`is the day from twelve hours on (${way})`, () => {
      assert.match(clockTime(NOW + way * 12 * HOUR, NOW), /2026/);
    });
  }

  test("is close to the present or not", () => {
    assert.match(clockTime(Date.now()), /^\d\d:\d\d:\d\d$/);
    assert.match(clockTime(Date.now() - 13 * HOUR), /\d{4}/);
  });
});
