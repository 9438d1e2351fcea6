import assert from "node:assert/strict";
import { test } from "node:test";
import { Frame } from "../../../gateway/static/gateway/frame.js";

test("however often a frame is asked for, all steps are done once and in their order", () => {
  const scheduled = [];
  const done = [];
  const frame = new Frame([() => done.push("messages"), () => done.push("paint")], (work) => scheduled.push(work));
  for (let count = 0; count < 1_000; count += 1) frame.request();
  assert.equal(scheduled.length, 1);
  scheduled[0]();
  assert.deepEqual(done, ["messages", "paint"]);
  frame.request();
  assert.equal(scheduled.length, 2);
});

test("what a step asks for is done in the next frame", () => {
  const scheduled = [];
  const frame = new Frame([() => frame.request()], (work) => scheduled.push(work));
  frame.request();
  scheduled[0]();
  assert.equal(scheduled.length, 2);
});
