import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Quote } from "../../../gateway/static/gateway/quote.js";

/** A quote that took ticks of these prices, a second apart. */
function quoteOf(...prices) {
  const quote = new Quote("AAPL", "Apple Inc.");
  for (const [index, price] of prices.entries()) quote.take({ symbol: "AAPL", price }, index * 1_000);
  return quote;
}

describe("a quote", () => {
  test("has neither change nor percent before the first tick", () => {
    const quote = quoteOf();
    assert.deepEqual([quote.tick, quote.change, quote.percent, quote.takeDirection()], [null, null, null, 0]);
  });

  test("has not changed with its first tick", () => {
    const quote = quoteOf("150.250");
    assert.deepEqual([quote.change, quote.percent, quote.takeDirection()], ["0.000", 0, 0]);
  });

  test("changes against the first price, not the last", () => {
    const quote = quoteOf("150.250", "160", "150.35");
    assert.equal(quote.first, "150.250");
    assert.equal(quote.change, "0.100");
    assert.equal(quote.tick.price, "150.35");
  });

  test("gives the change in percent of the first price", () => {
    assert.equal(quoteOf("200.00", "201.00").percent, 0.5);
    assert.equal(quoteOf("200.00", "150.00").percent, -25);
  });

  test("gives the percent of a negative price the sign of the change", () => {
    assert.equal(quoteOf("-2", "-1").percent, 50);
    assert.equal(quoteOf("-2", "-3").percent, -50);
  });

  test("gives no percent of zero", () => {
    const quote = quoteOf("0.00", "1.00");
    assert.equal(quote.percent, null);
    assert.equal(quote.change, "1.00");
  });

  test("tells the direction of the last tick once", () => {
    const quote = quoteOf("1", "3", "2");
    assert.deepEqual([quote.takeDirection(), quote.takeDirection()], [-1, 0]);
  });

  test("tells a rise that a double cannot hold", () => {
    assert.equal(quoteOf("9007199254740992", "9007199254740993").takeDirection(), 1);
  });

  test("has no direction where the price is the same in other digits", () => {
    assert.equal(quoteOf("1", "2", "2.0").takeDirection(), 0);
  });

  test("keeps the course of its price", () => {
    const { history } = quoteOf("1.5", "2.5");
    assert.deepEqual(
      [[...history.values], [...history.times]],
      [
        [1.5, 2.5],
        [0, 1_000],
      ],
    );
  });
});
