import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { labels, room } from "../../../gateway/static/gateway/axis.js";

describe("the numbers at a chart's side", () => {
  test("have the digits that tell them apart", () => {
    assert.deepEqual(labels([99, 100, 101]), ["99", "100", "101"]);
    assert.deepEqual(labels([1_000, 1_000.5]), ["1,000", "1,000.5"]);
    assert.deepEqual(labels([1.00002, 1.00004]), ["1.00002", "1.00004"]);
  });

  test("are short where they would be long", () => {
    assert.deepEqual(labels([-1e32, 0, 1e32]), ["-1.000e32", "0", "1.000e32"]);
  });

  test("have room for all of them", () => {
    assert.equal(room([]), room(["1"]));
    assert.ok(room(["1,234,567.25"]) > 12 * 7);
  });
});
