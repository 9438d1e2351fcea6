import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isSymbol } from "../../../gateway/static/gateway/symbols.js";

describe("what is typed is a symbol", () => {
  for (const text of [
    "*",
    "AAPL",
    "^GSPC",
    "SPY   251219C00650000",
    "\u8d35\u5dde\u8305\u53f0",
    "[N/A]",
    "X".repeat(64),
  ]) {
    test(`where it is ${text}`, () => assert.ok(isSymbol(text)));
  }
  for (const text of ["", " A", "A ", "A,B", "BTC*", "A\u200bB", "A\u00a0B", "X".repeat(65)]) {
    test(`not where it is ${JSON.stringify(text)}`, () => assert.ok(!isSymbol(text)));
  }
});
