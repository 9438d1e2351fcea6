import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { read, write } from "../../../gateway/static/gateway/address.js";

const plain = { symbols: null, sort: null, filter: "", rate: "", chart: "" };
const again = (view) => {
  const { search, state } = write(view);
  return read(search, state);
};

describe("the address", () => {
  test("says nothing of what is as the gateway proposes", () => {
    assert.deepEqual(write(plain), { search: "", state: null });
    assert.deepEqual(read("", null), plain);
  });

  test("can be read by people", () => {
    const { search } = write({
      symbols: ["AAPL", "EUR/USD", "BRK.B"],
      sort: { column: "change", descending: true },
      filter: "a b",
      rate: "5",
      chart: "EUR/USD",
    });
    assert.equal(search, "?symbols=AAPL,EUR/USD,BRK.B&sort=-change&filter=a%20b&rate=5&chart=EUR/USD");
  });

  test("brings back every symbol that there can be", () => {
    const view = { ...plain, symbols: ["*", "A.B-C_/=^:+$#", "!X&Y"], filter: "&#=+%" };
    assert.deepEqual(again(view), view);
  });

  test("is never too long for a server: a long list stays with the history entry", () => {
    const symbols = Array.from({ length: 1_000 }, (_, number) => `SYMBOL-${number}`);
    const view = { ...plain, symbols, filter: "x" };
    assert.equal(write(view).search, "?filter=x");
    assert.deepEqual(again(view), view);
  });

  test("says that there are no symbols at all", () => {
    assert.deepEqual(again({ ...plain, symbols: [] }), { ...plain, symbols: [] });
  });

  test("that somebody made up does no harm", () => {
    const view = read("?symbols=,,A,&sort=__proto__&rate=x", "no object");
    assert.deepEqual(view, { symbols: ["A"], sort: null, filter: "", rate: "x", chart: "" });
  });
});
