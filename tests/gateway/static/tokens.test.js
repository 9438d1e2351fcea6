import assert from "node:assert/strict";
import { describe, mock, test } from "node:test";
import { Refresher, subprotocols } from "../../../gateway/static/gateway/tokens.js";

/** Gives "token1", "token2" and so on. */
function source() {
  let given = 0;
  return async () => {
    given += 1;
    return `token${given}`;
  };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

describe("the handshake", () => {
  test("shows a token as a subprotocol", async () => {
    assert.deepEqual(await subprotocols(source()), ["marketmux", "marketmux.token.token1"]);
  });

  test("shows none where there are none", async () => {
    assert.deepEqual(await subprotocols(undefined), []);
  });
});

describe("a token that ends", () => {
  test("is replaced before, again and again", async () => {
    mock.timers.enable({ apis: ["setTimeout"] });
    const sent = [];
    const refresher = new Refresher(
      source(),
      (command) => sent.push(command),
      () => 0,
    );
    refresher.expect("1970-01-01T00:01:40Z");
    mock.timers.tick(74_000);
    await settled();
    assert.deepEqual(sent, []);
    mock.timers.tick(2_000);
    await settled();
    assert.deepEqual(sent, [{ action: "auth", token: "token1" }]);
    refresher.expect("1970-01-01T00:00:10Z");
    mock.timers.tick(8_000);
    await settled();
    assert.equal(sent.length, 2);
    refresher.stop();
    mock.timers.tick(900_000);
    await settled();
    assert.equal(sent.length, 2);
    mock.timers.reset();
  });

  test("is left alone where there is no other", () => {
    mock.timers.enable({ apis: ["setTimeout"] });
    const sent = [];
    new Refresher(undefined, (command) => sent.push(command)).expect("1970-01-01T00:00:01Z");
    new Refresher(source(), (command) => sent.push(command)).expect(undefined);
    mock.timers.tick(900_000);
    assert.deepEqual(sent, []);
    mock.timers.reset();
  });
});
