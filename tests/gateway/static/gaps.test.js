import assert from "node:assert/strict";
import { beforeEach, describe, mock, test } from "node:test";
import { Gaps } from "../../../gateway/static/gateway/gaps.js";

describe("gaps", () => {
  let reports;
  let gaps;
  const later = () => {
    mock.timers.tick(1_000);
    return reports.splice(0);
  };

  beforeEach(() => {
    mock.timers.reset();
    mock.timers.enable({ apis: ["setTimeout"] });
    reports = [];
    gaps = new Gaps((texts) => reports.push(texts));
  });

  test("are counted at once and reported a little later", () => {
    gaps.add("AAPL", 8);
    assert.equal(gaps.count, 1);
    assert.deepEqual(reports, []);
    assert.deepEqual(later(), [["Gap: 8 ticks lost (AAPL 8)."]]);
  });

  test("of many symbols are reported together", () => {
    gaps.add("AAPL", 1);
    gaps.add("MSFT", 3);
    gaps.add("AAPL", 4);
    assert.equal(gaps.count, 3);
    assert.deepEqual(later(), [["Gap: 8 ticks lost (AAPL 5, MSFT 3)."]]);
  });

  test("of one tick are told in the singular", () => {
    gaps.add("AAPL", 1);
    assert.deepEqual(later(), [["Gap: 1 tick lost (AAPL 1)."]]);
  });

  test("of unknown size are told by symbol, each once", () => {
    gaps.add("AAPL", null);
    gaps.add("AAPL", null);
    gaps.add("MSFT", null);
    assert.equal(gaps.count, 3);
    assert.deepEqual(later(), [["Gap: 2 symbols may have lost ticks, how many is unknown (AAPL, MSFT)."]]);
  });

  test("of both kinds are told in two sentences", () => {
    gaps.add("MSFT", null);
    gaps.add("AAPL", 2);
    assert.deepEqual(later(), [
      ["Gap: 2 ticks lost (AAPL 2).", "Gap: 1 symbol may have lost ticks, how many is unknown (MSFT)."],
    ]);
  });

  test("that were reported are not reported again", () => {
    gaps.add("AAPL", 2);
    gaps.add("MSFT", null);
    later();
    gaps.add("TSLA", 1);
    assert.deepEqual(later(), [["Gap: 1 tick lost (TSLA 1)."]]);
    assert.equal(gaps.count, 3);
    assert.deepEqual(later(), []);
  });
});
