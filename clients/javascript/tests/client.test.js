// What the conformance cases do not say: what is JavaScript's own, and what takes time.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Client, ClosedForGood, CommandRefused, Refused } from "../src/index.ts";
import { EPOCH, Gateway, heard, place, settled, snapshot, tick, until } from "./fake.js";

/** A client that is subscribed to AAPL, at 1041, with what it says. */
async function subscribed(options) {
  const gateway = new Gateway();
  const client = gateway.client(options);
  await client.open();
  const peer = await gateway.peer();
  const call = client.subscribe("AAPL");
  await peer.subscribe();
  await call;
  peer.say(snapshot(1041));
  return { gateway, client, peer };
}

describe("numbers", () => {
  const ODD = tick(1042, "AAPL", ',"bid":0.10,"size":3e2,"extra":{"fee":0.0030,"venue":"0.1","late":false,"n":null}');

  test("are strings of their digits, and what was a string stays one", async () => {
    const { client, peer } = await subscribed();
    peer.say(ODD);
    const { quote } = client.latest("AAPL");
    assert.equal(quote.price, "150.250");
    assert.deepEqual([quote.bid, quote.ask, quote.size], ["0.10", null, "3e2"]);
    assert.deepEqual({ ...quote.extra }, { fee: "0.0030", venue: "0.1", late: false, n: null });
    await client.close();
  });

  test("are numbers, or of a class, where that was chosen", async () => {
    class Decimal {
      constructor(digits) {
        this.digits = digits;
      }
    }
    for (const [options, make] of [
      [{ number: Number }, Number],
      [{ Decimal }, (digits) => new Decimal(digits)],
    ]) {
      const { client, peer } = await subscribed(options);
      peer.say(ODD);
      const { price, bid, extra } = client.latest("AAPL").quote;
      assert.deepEqual([price, bid, extra.fee, extra.venue], [make("150.250"), make("0.10"), make("0.0030"), "0.1"]);
      await client.close();
    }
  });

  test("that are none end the connection: the other side speaks something else", async () => {
    const { client, peer } = await subscribed();
    peer.say('{"type":"tick","symbol":"AAPL","price":"150","timestamp":"","seq":1042}');
    await until(() => client.status.state === "closed");
    assert.equal(client.status.error.name, "BadMessage");
  });
});

describe("symbols", () => {
  test("may be names of JavaScript's own, or of other scripts", async () => {
    const gateway = new Gateway();
    const client = gateway.client();
    await client.open();
    const call = client.subscribe(["__proto__", "constructor", "\u8305\u53f0"]);
    const peer = await gateway.peer();
    const command = await peer.command();
    assert.deepEqual(command.symbols, ["__proto__", "constructor", "\u8305\u53f0"]);
    const places = `{"__proto__":{"seq":5,"epoch":"${EPOCH}"},"constructor":{"seq":6,"epoch":"${EPOCH}"}}`;
    peer.say(`{"type":"subscribed","symbols":[],"positions":${places},"id":${command.id}}`);
    await call;
    peer.say(tick(6, "__proto__"), tick(7, "constructor"));
    peer.end(1012);
    const again = await (await gateway.peer()).command();
    assert.deepEqual(Object.entries(again.since), [
      ["__proto__", { seq: 6, epoch: EPOCH }],
      ["constructor", { seq: 7, epoch: EPOCH }],
    ]);
    await client.close();
  });

  test("that a message has no room for come in the next", async () => {
    const gateway = new Gateway();
    gateway.welcome = { limits: { symbols: 1000, message_bytes: 200, commands_per_second: 100 } };
    const client = gateway.client();
    await client.open();
    const symbols = Array.from({ length: 30 }, (_, index) => `\u8305\u53f0-${index}`);
    const call = client.subscribe(symbols);
    const peer = await gateway.peer();
    const taken = [];
    while (taken.length < symbols.length) taken.push(...(await peer.subscribe()).symbols);
    await call;
    assert.deepEqual(taken, symbols);
    assert.deepEqual(client.symbols, symbols);
    await client.close();
  });
});

describe("subscribe", () => {
  test("that is aborted has not happened", async () => {
    const { client, peer } = await subscribed();
    const abort = new AbortController();
    const call = client.subscribe("MSFT", { signal: abort.signal });
    const command = await peer.command();
    abort.abort(new Error("enough"));
    await assert.rejects(call, /enough/);
    peer.answer(command, { positions: { MSFT: place(3) } });
    peer.say(snapshot(3, "MSFT"));
    const undo = await peer.command();
    assert.deepEqual([undo.action, undo.symbols], ["unsubscribe", ["MSFT"]]);
    assert.deepEqual(client.symbols, ["AAPL"]);
    assert.equal(client.latest("MSFT"), null);
    await client.close();
  });

  test("is refused for all of its symbols, or waits where that helps", async () => {
    const { client, peer } = await subscribed();
    const events = heard(client);
    const call = client.subscribe(["MSFT", "TSLA"]);
    peer.error(await peer.command(), "access_denied", { symbols: ["TSLA"] });
    await assert.rejects(call, (error) => error instanceof CommandRefused && error.symbols[0] === "TSLA");
    client.subscribe("MSFT").catch(() => {});
    peer.error(await peer.command(), "bus_unavailable", { reason: "bus_out_of_memory" });
    await until(() => events.length > 0);
    assert.deepEqual([events[0].type, events[0].reason, events[0].wait], ["delayed", "bus_out_of_memory", 1]);
    assert.equal(client.status.delayed.code, "bus_unavailable");
    await peer.subscribe();
    assert.equal(client.status.delayed, null);
    await client.close();
  });

  test("takes what it can use", async () => {
    const client = new Gateway().client();
    for (const symbols of [[], 5, [5], undefined]) await assert.rejects(client.subscribe(symbols), TypeError);
    await assert.rejects(client.subscribe("AAPL", { maxRate: "5" }), TypeError);
    await assert.rejects(client.subscribe("AAPL", { maxRate: Number.NaN }), RangeError);
    await assert.rejects(client.subscribe("AAPL", { maxRate: 0 }), RangeError);
    assert.throws(() => new Client("ftp://gateway"), RangeError);
    assert.throws(() => new Client("ws://gateway", { key: "k", token: "t" }), TypeError);
    assert.throws(() => new Client("ws://gateway", { token: "a token" }), RangeError);
    assert.throws(() => new Client("ws://gateway", { maxQueue: 0 }), RangeError);
  });

  test("says which rate was taken", async () => {
    const { client, peer } = await subscribed();
    const call = client.subscribe("AAPL", { maxRate: 5.5 });
    const command = await peer.subscribe({}, { max_rate: 5.0 });
    assert.equal(command.max_rate, 5.5);
    assert.equal(await call, 5);
    await client.close();
  });
});

describe("who iterates", () => {
  test("gets everything from the beginning, and the end when the client is closed", async () => {
    const { client, peer } = await subscribed();
    peer.say(tick(1042));
    const seen = [];
    for await (const event of client) {
      seen.push("price" in event ? event.seq : event.type);
      if (event.seq === 1042) client.close();
    }
    assert.deepEqual(seen, ["connected", 1041, 1042]);
  });

  test("is one at a time, and may come again", async () => {
    const { client, peer } = await subscribed();
    for await (const event of client) {
      assert.throws(() => client[Symbol.asyncIterator](), /one consumer/);
      if (event.type === "snapshot") break;
    }
    peer.say(tick(1042));
    for await (const event of client) {
      assert.equal(event.seq, 1042);
      break;
    }
    await client.close();
  });

  test("and is slow gets the newest, and the count of what was left out", async () => {
    const { client, peer } = await subscribed({ maxQueue: 10 });
    for (let seq = 1042; seq <= 1100; seq += 1) peer.say(tick(seq));
    let last = 1040;
    let explained = 0;
    for await (const event of client) {
      if (event.type === "conflated") explained += event.skipped;
      if (!("price" in event)) continue;
      assert.equal(event.seq - last - 1, explained);
      [last, explained] = [event.seq, 0];
      if (event.seq === 1100) break;
    }
    assert.ok(client.counts.skipped > 0);
    await client.close();
  });

  test("and is later than it may be gets the newest, too", async () => {
    const { client, peer } = await subscribed({ maxAge: 0 });
    peer.say(tick(1042), tick(1043));
    await new Promise((resolve) => setTimeout(resolve, 2));
    const seen = [];
    for await (const event of client) {
      seen.push(event.seq ?? event.type);
      if (event.seq === 1043) break;
    }
    assert.deepEqual(seen, ["connected", "conflated", 1043]);
    await client.close();
  });

  test("gets what there is and then the error, when there is no going on", async () => {
    const { client, peer } = await subscribed();
    peer.end(4003, "The access was revoked.");
    const seen = [];
    const over = async () => {
      for await (const event of client) seen.push(event.type);
    };
    await assert.rejects(over, (error) => error instanceof ClosedForGood && error.code === 4003);
    assert.deepEqual(seen, ["connected", "snapshot"]);
    await assert.rejects(client.subscribe("MSFT"), ClosedForGood);
  });
});

test("a listener that throws is none of the others' business", async () => {
  const { client, peer } = await subscribed();
  const { queueMicrotask } = globalThis;
  const thrown = [];
  client.on("tick", () => {
    throw new Error("mine");
  });
  const events = heard(client);
  globalThis.queueMicrotask = (run) => thrown.push(run);
  try {
    peer.say(tick(1042));
  } finally {
    globalThis.queueMicrotask = queueMicrotask;
  }
  assert.deepEqual(events, [1042]);
  assert.throws(thrown[0], /mine/);
  await client.close();
});

describe("a client that comes back", () => {
  test("says where it stopped, and its price is stale until that is answered", async () => {
    const { gateway, client, peer } = await subscribed();
    let changes = 0;
    client.on("change", () => {
      changes += 1;
    });
    assert.equal(client.latest("AAPL").isStale, false);
    assert.equal(client.latest("AAPL"), client.latest("AAPL"));
    peer.end();
    await until(() => client.status.loss !== null);
    assert.equal(client.latest("AAPL").isStale, true);
    const again = await gateway.peer();
    const before = changes;
    const command = await again.subscribe({ AAPL: place(1041, true) });
    assert.deepEqual(command.since, { AAPL: { seq: 1041, epoch: EPOCH } });
    assert.equal(client.latest("AAPL").isStale, false);
    assert.ok(changes > before);
    await client.close();
  });

  test("waits as long as it is told, whatever calls it", async () => {
    const { client, peer } = await subscribed();
    peer.say({ type: "closing", code: 1012, reason: "The gateway stops.", reconnect: true, wait: 30 });
    peer.end(1012);
    await until(() => client.status.state === "waiting");
    const { retryAt, loss } = client.status;
    assert.ok(retryAt - Date.now() > 25_000);
    assert.deepEqual(loss, { code: 1012, reason: "The gateway stops.", wasConnected: true, isRefused: false });
    client.retry();
    client.wake();
    await settled();
    assert.equal(client.status.state, "waiting");
    await client.close();
  });

  test("does not wait when the network is back, or the one who looks", async () => {
    for (const type of ["online", "visibilitychange"]) {
      const returns = { online: [], visibilitychange: [] };
      const listen = (name, run) => returns[name]?.push(run);
      globalThis.addEventListener = listen;
      globalThis.document = { hidden: false, addEventListener: listen, removeEventListener() {} };
      const { gateway, client, peer } = await subscribed({ backoff: { base: 30, cap: 30, random: () => 1 } });
      peer.end();
      await until(() => client.status.state === "waiting");
      returns[type][0]();
      await gateway.peer();
      await client.close();
      delete globalThis.document;
      delete globalThis.addEventListener;
    }
  });

  test("pauses longer and longer while there is nobody", async () => {
    const gateway = new Gateway();
    gateway.refusals = [1006, 1006, 1006, 4029];
    const client = gateway.client({ backoff: { base: 0.002, cap: 0.004, random: () => 1 } });
    const events = heard(client);
    client.open().catch(() => {});
    await until(() => events.length === 4);
    assert.deepEqual(
      events.map(({ wait }) => wait),
      [0.002, 0.004, 0.004, 5.004],
    );
    assert.equal(client.status.loss.isRefused, true);
    await client.close();
  });
});

describe("a connection that says nothing", () => {
  test("is silent, and then given up", async () => {
    const gateway = new Gateway();
    gateway.welcome = { heartbeat: 0.01 };
    const client = gateway.client();
    const states = [];
    client.on("status", ({ state }) => state !== states.at(-1) && states.push(state));
    await client.open();
    const peer = await gateway.peer();
    await gateway.peer();
    assert.equal(peer.isClosed, true);
    assert.deepEqual(states.slice(0, 5), ["connecting", "live", "silent", "waiting", "connecting"]);
    await client.close();
  });

  for (const heartbeat of [0, 10]) {
    test(`is asked as soon as the network is back, with a heartbeat of ${heartbeat} s`, async () => {
      const gateway = new Gateway();
      gateway.welcome = { heartbeat };
      const client = gateway.client();
      await client.open();
      client.wake();
      const peer = await gateway.peer();
      assert.equal((await peer.command()).action, "ping");
      await client.close();
    });
  }

  test("is given two heartbeats and a second", async (t) => {
    const gateway = new Gateway();
    gateway.welcome = { heartbeat: 5 };
    t.mock.timers.enable({ apis: ["setInterval"] });
    const client = gateway.client();
    await client.open();
    t.mock.timers.tick(10_999);
    assert.equal(client.status.state, "live");
    t.mock.timers.tick(1);
    assert.equal(client.status.state, "silent");
    t.mock.timers.reset();
    await client.close();
  });
});

test("a ping takes as long as its answer", async () => {
  const { client, peer } = await subscribed();
  const ping = client.ping();
  const { id } = await peer.command();
  peer.say({ type: "pong", id });
  assert.ok((await ping) >= 0);
  await client.close();
});

describe("tokens", () => {
  test("are a subprotocol of the handshake, another one each time, and replaced before they end", async () => {
    const gateway = new Gateway();
    gateway.welcome = { expires_at: new Date(Date.now() + 500).toISOString() };
    let count = 0;
    const client = gateway.client({ token: async () => `mmt_${++count}` });
    await client.open();
    const peer = await gateway.peer();
    assert.deepEqual(peer.protocols, ["marketmux", "marketmux.token.mmt_1"]);
    const command = await peer.command();
    assert.deepEqual([command.action, command.token], ["auth", "mmt_2"]);
    peer.say({ type: "auth", id: command.id });
    peer.end(4004);
    assert.deepEqual((await gateway.peer()).protocols, ["marketmux", "marketmux.token.mmt_3"]);
    await client.close();
  });

  test("that are not to be had are asked for again", async () => {
    const gateway = new Gateway();
    const answers = [() => Promise.reject(new Error("no login")), () => "no token", () => "mmt_1"];
    const client = gateway.client({ token: () => answers.shift()() });
    const events = heard(client);
    await client.open();
    assert.match(events[0].reason, /no login/);
    assert.match(events[1].reason, /characters/);
    await client.close();
  });
});

describe("a refusal", () => {
  /** A client whose handshakes fail while HTTP answers so. */
  function refused(status, options) {
    const gateway = new Gateway();
    gateway.refusals = Array(9).fill(1006);
    return gateway.client({ probe: async () => status, ...options });
  }

  test("ends a client that was never welcomed", async () => {
    await assert.rejects(refused(401).open(), (error) => error instanceof Refused && error.status === 401);
    await assert.rejects(refused(200).open(), (error) => error instanceof Refused && error.status === null);
  });

  test("is borne by one that is told to, and shown", async () => {
    const client = refused(403, { refusedFor: Infinity });
    client.open().catch(() => {});
    await until(() => client.status.state === "waiting");
    assert.equal(client.status.loss.isRefused, true);
    assert.ok(client.status.retryAt - Date.now() > 4_000);
    await client.close();
  });

  test("for too many handshakes waits longer", async () => {
    const client = refused(429);
    const events = heard(client);
    client.open().catch(() => {});
    await until(() => events.length > 0);
    assert.equal(events[0].wait, 5);
    await client.close();
  });
});

test("a client that was closed is not opened", async () => {
  const gateway = new Gateway();
  const client = gateway.client();
  await client.close();
  await assert.rejects(client.open(), { name: "ClientClosed" });
  assert.equal(gateway.handshakes, 0);
});

test("closing waits for no token", async () => {
  const client = new Gateway().client({ token: () => new Promise(() => {}) });
  const opening = client.open();
  await client.close();
  await assert.rejects(opening, { name: "ClientClosed" });
});

test("opening says why it gave up", async () => {
  const gateway = new Gateway();
  gateway.refusals = Array(1000).fill(1006);
  const opening = gateway.client({ connectTimeout: 0.02 }).open();
  await assert.rejects(opening, { name: "TimeoutError", message: /The connection was lost/ });
});
