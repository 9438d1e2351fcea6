import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { Gateway, place, settled, snapshot, until } from "../../../clients/javascript/tests/fake.js";
import { Feed } from "../../../gateway/static/gateway/feed.js";

// Or the process would not end.
const every = globalThis.setInterval;
globalThis.setInterval = (...more) => every(...more).unref();

describe("the page's feed", () => {
  let gateway;
  let said;
  let feed;
  let peer;

  const statuses = () => said.filter(([what]) => what === "status").map(([, { state }]) => state);
  const rest = () => said.filter(([what]) => what === "rate" || what === "refused");

  /** The next command that is no ping. */
  async function subscription(positions, more = {}) {
    const command = await peer.command();
    if (command.action === "ping") {
      peer.say({ type: "pong", id: command.id });
      return subscription(positions, more);
    }
    const places = Object.fromEntries(command.symbols.map((symbol) => [symbol, place(1041)]));
    peer.answer(command, { positions: { ...places, ...positions }, ...more });
    return command;
  }

  beforeEach(async () => {
    gateway = new Gateway();
    said = [];
    const backoff = { base: 0.001, cap: 0.001, random: () => 0 };
    feed = new Feed(
      "ws://gateway/ws",
      { WebSocket: gateway.WebSocket, backoff },
      {
        onEvent: () => {},
        onStatus: (status) => said.push(["status", status]),
        onChange: () => {},
        onRate: (rate) => said.push(["rate", rate]),
        onRefused: (symbols, { code }) => said.push(["refused", symbols, code]),
        onPing: () => {},
      },
    );
    feed.limit(5);
    feed.add(["AAPL", "MSFT"]);
    feed.open();
    peer = await gateway.peer();
  });

  test("asks for what is wanted at the rate that was chosen, and says what the gateway has taken", async () => {
    const command = await subscription({}, { max_rate: 4 });
    assert.deepEqual([command.symbols, command.max_rate], [["AAPL", "MSFT"], 5]);
    await settled();
    assert.deepEqual(rest(), [["rate", 4]]);
    feed.limit(null);
    const again = await subscription();
    assert.deepEqual([again.symbols, again.max_rate], [["AAPL", "MSFT"], undefined]);
    assert.equal(again.since.AAPL.seq, 1040);
  });

  test("names the symbols that are refused, and asks for the others again", async () => {
    peer.error(await peer.command(), "access_denied", { symbols: ["AAPL"] });
    const command = await subscription();
    assert.deepEqual(command.symbols, ["MSFT"]);
    await settled();
    assert.deepEqual(rest(), [
      ["refused", ["AAPL"], "access_denied"],
      ["rate", null],
    ]);
    assert.deepEqual([feed.has("AAPL"), feed.has("MSFT")], [false, true]);
  });

  test("keeps what it has where another rate is refused", async () => {
    await subscription();
    await settled();
    feed.limit(1);
    let command = await peer.command();
    while (command.action === "ping") {
      peer.say({ type: "pong", id: command.id });
      command = await peer.command();
    }
    peer.error(command, "invalid_rate");
    await settled();
    assert.deepEqual(rest().at(-1), ["refused", [], "invalid_rate"]);
    assert.ok(feed.has("AAPL") && feed.has("MSFT"));
  });

  test("says which prices may be old", async () => {
    assert.ok(!feed.isStale("MSFT")); // there is none
    await subscription({ MSFT: place(0) });
    assert.ok(!feed.isStale("MSFT"));
    peer.say(snapshot(1041));
    assert.ok(!feed.isStale("AAPL"));
    peer.say({ type: "bus", connected: false });
    assert.ok(feed.isStale("AAPL") && feed.isStale("MSFT"));
  });

  test("begins again where it has ended for good and is asked to try again", async () => {
    await subscription();
    await settled();
    peer.end(1009, "too big");
    await until(() => statuses().at(-1) === "closed");
    feed.retry();
    peer = await gateway.peer();
    assert.deepEqual((await subscription()).symbols, ["AAPL", "MSFT"]);
    assert.equal(statuses().at(-1), "live");
  });
});
