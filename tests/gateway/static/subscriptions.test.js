import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, mock, test } from "node:test";
import { isSymbol, Subscriptions } from "../../../gateway/static/gateway/subscriptions.js";

const at = (seq) => ({ seq, epoch: "5f3a9c1e" });

let now;
let sent;
let isConnected;
let known;
let subscriptions;

/** The commands since the last call, as the server reads them. */
const commands = () => sent.splice(0).map((command) => JSON.parse(JSON.stringify(command)));
const welcome = (limits) => subscriptions.welcomed({ limits });
const pass = (ms) => {
  now += ms;
  mock.timers.tick(ms);
};

beforeEach(() => {
  now = 1_000;
  mock.method(performance, "now", () => now);
  mock.timers.enable({ apis: ["setTimeout"] });
  sent = [];
  isConnected = true;
  known = new Map();
  const send = (command) => isConnected && sent.push(command) > 0;
  const positions = { since: (symbol) => known.get(symbol), symbols: () => known.keys() };
  subscriptions = new Subscriptions(send, positions);
});

afterEach(() => {
  mock.timers.reset();
  mock.restoreAll();
});

describe("a symbol", () => {
  for (const text of [
    "A",
    "BRK.B",
    "EUR/USD",
    "^GSPC",
    "$X:Y+Z#_-1",
    "a=b",
    "X".repeat(64),
    "SPY   251219C00650000",
    "b\u00fccher",
    "\u{1f4b0}".repeat(64),
    "A;B",
    "A\\B",
    "*",
  ]) {
    test(`may be ${text}`, () => {
      assert.equal(isSymbol(text), true);
    });
  }

  for (const text of ["", "X".repeat(65), " A", "A ", "A\u202eB", "A*", "**", "A\n", "A,B", "\u{1f4b0}".repeat(65)]) {
    test(`may not be ${JSON.stringify(text)}`, () => {
      assert.equal(isSymbol(text), false);
    });
  }
});

describe("what is wanted", () => {
  test("is asked for only after the welcome", () => {
    subscriptions.add(["AAPL", "MSFT"]);
    assert.deepEqual(commands(), []);
    welcome();
    assert.deepEqual(commands(), [{ action: "subscribe", id: 1, symbols: ["AAPL", "MSFT"] }]);
  });

  test("is asked for at once on a connection", () => {
    welcome();
    subscriptions.add(["AAPL"]);
    assert.deepEqual(commands(), [{ action: "subscribe", id: 1, symbols: ["AAPL"] }]);
  });

  test("is asked for again after each welcome, where it stopped", () => {
    welcome();
    subscriptions.add(["AAPL", "MSFT"]);
    commands();
    known.set("AAPL", at(5));
    welcome();
    const [command] = commands();
    assert.deepEqual(command, { action: "subscribe", id: 2, symbols: ["AAPL", "MSFT"], since: { AAPL: at(5) } });
  });

  test("stays due while nothing can be sent", () => {
    welcome();
    isConnected = false;
    subscriptions.add(["AAPL"]);
    assert.equal(subscriptions.settled, false);
    isConnected = true;
    subscriptions.askDue();
    assert.deepEqual(commands()[0].symbols, ["AAPL"]);
  });

  test("is covered by its name or by everything", () => {
    subscriptions.add(["AAPL"]);
    assert.deepEqual([subscriptions.has("AAPL"), subscriptions.covers("AAPL")], [true, true]);
    assert.deepEqual([subscriptions.has("MSFT"), subscriptions.covers("MSFT")], [false, false]);
    subscriptions.add(["*"]);
    assert.deepEqual([subscriptions.has("MSFT"), subscriptions.covers("MSFT")], [false, true]);
  });

  test("is settled when every request has been answered", () => {
    welcome();
    assert.equal(subscriptions.settled, true);
    subscriptions.add(["AAPL"]);
    subscriptions.add(["MSFT"]);
    subscriptions.acknowledged({ symbols: ["AAPL"], id: "1" });
    assert.equal(subscriptions.settled, false);
    subscriptions.acknowledged({ symbols: ["AAPL", "MSFT"], id: "2" });
    assert.equal(subscriptions.settled, true);
  });

  test("is split into commands that the server takes", () => {
    const symbols = Array.from({ length: 40 }, (_, number) => `SYMBOL-${number}`);
    for (const symbol of symbols) known.set(symbol, at(1_000_000));
    subscriptions.add(symbols);
    welcome({ message_bytes: "500", commands_per_second: "100" });
    const found = commands();
    assert.ok(found.length > 1);
    for (const command of found) {
      assert.ok(JSON.stringify(command).length <= 500);
      assert.deepEqual(Object.keys(command.since), command.symbols);
    }
    assert.deepEqual(
      found.flatMap((command) => command.symbols),
      symbols,
    );
  });
});

describe("unsubscribing", () => {
  beforeEach(() => {
    welcome();
    subscriptions.add(["AAPL", "MSFT"]);
    subscriptions.acknowledged({ symbols: ["AAPL", "MSFT"], id: "1" });
    commands();
  });

  test("is asked for at once", () => {
    subscriptions.remove("AAPL");
    assert.deepEqual(commands(), [{ action: "unsubscribe", id: 2, symbols: ["AAPL"] }]);
    assert.equal(subscriptions.has("AAPL"), false);
  });

  test("is not asked for on the next connection", () => {
    isConnected = false;
    subscriptions.remove("AAPL");
    isConnected = true;
    welcome();
    assert.deepEqual(commands(), [{ action: "subscribe", id: 3, symbols: ["MSFT"] }]);
  });

  test("goes before what is to be subscribed to", () => {
    isConnected = false;
    subscriptions.add(["TSLA"]);
    subscriptions.remove("AAPL");
    isConnected = true;
    subscriptions.askDue();
    assert.deepEqual(
      commands().map(({ action, symbols }) => [action, symbols]),
      [
        ["unsubscribe", ["AAPL"]],
        ["subscribe", ["TSLA"]],
      ],
    );
  });

  test("is called off by subscribing again", () => {
    isConnected = false;
    subscriptions.remove("AAPL");
    subscriptions.add(["AAPL"]);
    isConnected = true;
    subscriptions.askDue();
    assert.deepEqual(
      commands().map(({ action, symbols }) => [action, symbols]),
      [["subscribe", ["AAPL"]]],
    );
  });

  test("calls off what was still due", () => {
    isConnected = false;
    subscriptions.add(["TSLA"]);
    subscriptions.remove("TSLA");
    isConnected = true;
    subscriptions.askDue();
    assert.deepEqual(
      commands().map(({ action, symbols }) => [action, symbols]),
      [["unsubscribe", ["TSLA"]]],
    );
  });
});

describe("a rate", () => {
  test("is asked for with all that is wanted", () => {
    subscriptions.add(["AAPL", "MSFT"]);
    welcome();
    commands();
    subscriptions.limit(5);
    assert.deepEqual(commands(), [{ action: "subscribe", max_rate: 5, id: 2, symbols: ["AAPL", "MSFT"] }]);
    subscriptions.limit(null);
    assert.deepEqual(commands(), [{ action: "subscribe", id: 3, symbols: ["AAPL", "MSFT"] }]);
  });

  test("is no part of unsubscribing", () => {
    welcome();
    subscriptions.limit(5);
    subscriptions.remove("AAPL");
    assert.deepEqual(commands(), [{ action: "unsubscribe", id: 1, symbols: ["AAPL"] }]);
  });
});

describe("everything", () => {
  test("is asked for last and alone", () => {
    subscriptions.add(["*", "AAPL"]);
    welcome();
    assert.deepEqual(
      commands().map(({ symbols }) => symbols),
      [["AAPL"], ["*"]],
    );
  });

  test("resumes what came through it, and not what has a name of its own", () => {
    known.set("AAPL", at(5)).set("TSLA", at(3));
    subscriptions.add(["*", "AAPL"]);
    welcome();
    assert.deepEqual(
      commands().map(({ since }) => since),
      [{ AAPL: at(5) }, { TSLA: at(3) }],
    );
  });

  test("resumes no more than fits", () => {
    for (let number = 0; number < 40; number += 1) known.set(`SYMBOL-${number}`, at(7));
    subscriptions.add(["*"]);
    welcome({ message_bytes: "300" });
    const found = commands();
    assert.deepEqual(
      found.map(({ symbols }) => symbols),
      [["*"]],
    );
    assert.ok(JSON.stringify(found[0]).length <= 300);
    assert.ok(Object.keys(found[0].since).length > 1);
  });
});

describe("the server's limit on commands", () => {
  const addOneByOne = (count) => {
    for (let number = 0; number < count; number += 1) subscriptions.add([`S${number}`]);
  };

  test("is kept, with two commands to spare for pings", () => {
    welcome({ commands_per_second: "5" });
    addOneByOne(9);
    assert.equal(commands().length, 3);
  });

  test("leaves at least one command a second", () => {
    welcome({ commands_per_second: "1" });
    addOneByOne(9);
    assert.equal(commands().length, 1);
  });

  test("is ten a second where the server names none", () => {
    welcome();
    addOneByOne(20);
    assert.equal(commands().length, 8);
  });

  test("delays the rest, which then goes in one command", () => {
    welcome({ commands_per_second: "3" });
    addOneByOne(4);
    commands();
    pass(999);
    assert.deepEqual(commands(), []);
    pass(1);
    assert.deepEqual(commands()[0].symbols, ["S1", "S2", "S3"]);
    assert.equal(subscriptions.settled, false);
  });
});

describe("a refusal", () => {
  beforeEach(() => {
    welcome();
    subscriptions.add(["AAPL", "MSFT"]);
    commands();
  });

  test("that is final gives the symbols up", () => {
    assert.deepEqual(subscriptions.refused({ id: "1", code: "too_many_symbols" }), ["AAPL", "MSFT"]);
    assert.equal(subscriptions.has("AAPL"), false);
    assert.equal(subscriptions.settled, true);
    pass(10_000);
    assert.deepEqual(commands(), []);
  });

  test("does not give up a symbol that is subscribed to already", () => {
    subscriptions.acknowledged({ symbols: ["AAPL"], id: "x" });
    assert.deepEqual(subscriptions.refused({ id: "1", code: "too_many_symbols" }), ["MSFT"]);
    assert.equal(subscriptions.has("AAPL"), true);
  });

  test("does not give up a symbol that is no longer wanted", () => {
    subscriptions.remove("AAPL");
    assert.deepEqual(subscriptions.refused({ id: "1", code: "too_many_symbols" }), ["MSFT"]);
  });

  test("of something unknown gives nothing up", () => {
    assert.deepEqual(subscriptions.refused({ code: "invalid_json" }), []);
    assert.deepEqual(subscriptions.refused({ id: "77", code: "invalid_json" }), []);
    assert.equal(subscriptions.has("AAPL"), true);
    assert.equal(subscriptions.settled, false);
  });

  for (const code of ["bus_unavailable", "too_many_commands"]) {
    test(`for ${code} is tried again after two seconds`, () => {
      assert.deepEqual(subscriptions.refused({ id: "1", code }), []);
      assert.equal(subscriptions.settled, false);
      pass(1_999);
      assert.deepEqual(commands(), []);
      pass(1);
      assert.deepEqual(commands()[0].symbols, ["AAPL", "MSFT"]);
    });
  }

  test("is tried again when the server says, with what it refused", () => {
    assert.deepEqual(subscriptions.refused({ id: "1", code: "too_many_symbols", retry_after: "5.5" }), []);
    pass(5_499);
    assert.deepEqual(commands(), []);
    pass(1);
    assert.deepEqual(commands()[0].symbols, ["AAPL", "MSFT"]);
  });

  test("is not tried again for a symbol that is no longer wanted", () => {
    subscriptions.remove("AAPL");
    commands();
    subscriptions.refused({ id: "1", code: "bus_unavailable" });
    pass(2_000);
    assert.deepEqual(
      commands().map(({ action, symbols }) => [action, symbols]),
      [["subscribe", ["MSFT"]]],
    );
  });

  test("of unsubscribing is tried again", () => {
    subscriptions.remove("AAPL");
    commands();
    subscriptions.refused({ id: "2", code: "bus_unavailable" });
    pass(2_000);
    assert.deepEqual(commands(), [{ action: "unsubscribe", id: 3, symbols: ["AAPL"] }]);
  });

  test("of unsubscribing is not tried again once the symbol is wanted again", () => {
    subscriptions.remove("AAPL");
    subscriptions.add(["AAPL"]);
    commands();
    subscriptions.refused({ id: "2", code: "bus_unavailable" });
    pass(2_000);
    assert.deepEqual(commands(), []);
  });
});

describe("a new connection", () => {
  test("does not wait for answers of the old one", () => {
    welcome();
    subscriptions.add(["AAPL"]);
    subscriptions.remove("AAPL");
    welcome();
    assert.equal(subscriptions.settled, true);
  });

  test("has confirmed nothing yet", () => {
    welcome();
    subscriptions.add(["AAPL"]);
    subscriptions.acknowledged({ symbols: ["AAPL"], id: "1" });
    welcome();
    assert.deepEqual(subscriptions.refused({ id: "2", code: "too_many_symbols" }), ["AAPL"]);
  });

  test("has a budget of its own", () => {
    welcome({ commands_per_second: "3" });
    subscriptions.add(["AAPL"]);
    subscriptions.add(["MSFT"]);
    assert.equal(commands().length, 1);
    welcome({ commands_per_second: "3" });
    assert.deepEqual(commands()[0].symbols, ["AAPL", "MSFT"]);
  });
});

describe("access", () => {
  test("that is denied to some symbols takes only these", () => {
    subscriptions.add(["AAPL", "MSFT"]);
    welcome();
    commands();
    assert.deepEqual(subscriptions.refused({ id: "1", code: "access_denied", symbols: ["MSFT"] }), ["MSFT"]);
    assert.deepEqual(commands(), [{ action: "subscribe", id: 2, symbols: ["AAPL"] }]);
  });

  test("that has ended is not asked for again", () => {
    subscriptions.add(["AAPL", "MSFT"]);
    welcome();
    subscriptions.acknowledged({ symbols: ["AAPL", "MSFT"], id: "1" });
    subscriptions.ended(["MSFT"]);
    commands();
    welcome();
    assert.deepEqual(commands(), [{ action: "subscribe", id: 2, symbols: ["AAPL"] }]);
  });
});
