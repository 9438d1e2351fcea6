import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { compare, subtract } from "../../../gateway/static/gateway/exact.js";

describe("subtract", () => {
  for (const [a, b, difference] of [
    ["5", "3", "2"],
    ["3", "5", "-2"],
    ["0", "0", "0"],
    ["1.10", "1.1", "0.00"],
    ["0.3", "0.1", "0.2"],
    ["1", "0.001", "0.999"],
    ["0.001", "1", "-0.999"],
    ["100", "99.95", "0.05"],
    ["-0.75", "1.25", "-2.00"],
    ["1.25", "-0.75", "2.00"],
    ["-1.5", "-1.25", "-0.25"],
    ["-0.0", "0.0", "0.0"],
    ["10", "-10", "20"],
    ["9007199254740993.000000001000", "9007199254740992", "1.000000001000"],
    [`1${"0".repeat(60)}`, "1", "9".repeat(60)],
  ]) {
    test(`${a} - ${b} is ${difference}`, () => {
      assert.equal(subtract(a, b), difference);
    });
  }

  for (const [a, b] of [
    ["1e5", "1"],
    ["1", "1e5"],
    ["", "1"],
    ["1.", "1"],
    ["--1", "1"],
    ["x1", "1"],
    ["1x", "1"],
  ]) {
    test(`refuses ${JSON.stringify(a)} - ${JSON.stringify(b)}`, () => {
      assert.throws(() => subtract(a, b), SyntaxError);
    });
  }
});

describe("compare", () => {
  for (const [a, b, order] of [
    ["1", "1", 0],
    ["1.0", "1.00", 0],
    ["-0", "0", 0],
    ["2", "10", -1],
    ["10", "2", 1],
    ["1.5", "1.25", 1],
    ["1.25", "1.5", -1],
    ["-1.5", "-1.25", -1],
    ["-1", "1", -1],
    ["1", "-1", 1],
    ["9007199254740993", "9007199254740992", 1],
    ["0.30000000000000000001", "0.3", 1],
    ["1e5", "1e5", 0],
  ]) {
    test(`${a} to ${b} is ${order}`, () => {
      assert.equal(compare(a, b), order);
    });
  }

  test("refuses an exponent where the texts differ", () => {
    assert.throws(() => compare("1e5", "100000"), SyntaxError);
  });
});
