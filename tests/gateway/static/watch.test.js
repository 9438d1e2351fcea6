import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Watch } from "../../../gateway/static/gateway/watch.js";

/** How often a watch says that the gateway is back, if it is here as `answers` say, one look after the other. */
async function said(...answers) {
  let times = 0;
  const { promise, resolve } = Promise.withResolvers();
  const watch = new Watch(
    async () => {
      if (answers.length === 0) resolve();
      return answers.shift() ?? false;
    },
    () => {
      times += 1;
    },
    1,
  );
  watch.start();
  await promise;
  watch.stop();
  return times;
}

test("a gateway that was away and is here is back", async () => {
  assert.equal(await said(false, false, true), 1);
});

test("a gateway that was here all the time is not back: it refuses", async () => {
  assert.equal(await said(true, true, true), 0);
});

test("a gateway that goes and comes is back each time", async () => {
  assert.equal(await said(false, true, true, false, true), 2);
});

test("nothing is said after the watch has stopped", async () => {
  let times = 0;
  const answers = [false, true];
  const watch = new Watch(
    async () => {
      const answer = answers.shift() ?? true;
      if (answer) watch.stop();
      return answer;
    },
    () => {
      times += 1;
    },
    1,
  );
  watch.start();
  await sleep(50);
  assert.equal(times, 0);
});
