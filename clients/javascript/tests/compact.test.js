// The compact format: what comes out of the WebSocket is what others get.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { compact, expanded } from "../src/compact.ts";

const FIELDS = ["symbol", "price", "timestamp", "seq", "bid", "ask", "size"];

describe("the ticks in a message", () => {
  test("are messages with the digits that were sent", () => {
    const text =
      '[["AAPL",150.250,"T",1042],["A,]B",1.0E+3,"T",7,null,1.10,3,{"skipped":4,"extra":{"a":[1],"b":"}"}}]]';
    assert.deepEqual(expanded(text, FIELDS), [
      '{"type":"tick","symbol":"AAPL","price":150.250,"timestamp":"T","seq":1042}',
      '{"type":"tick","symbol":"A,]B","price":1.0E+3,"timestamp":"T","seq":7,"ask":1.10,"size":3,"skipped":4,"extra":{"a":[1],"b":"}"}}',
    ]);
  });
  test("may be one with an object behind the first values", () => {
    assert.deepEqual(expanded('[["A",1,"T",2,{"skipped":1}]]', FIELDS), [
      '{"type":"tick","symbol":"A","price":1,"timestamp":"T","seq":2,"skipped":1}',
    ]);
  });
});

test("an array without ticks stays what it is, which is no message", () => {
  for (const text of ["[]", "[1]"]) assert.deepEqual(expanded(text, FIELDS), [text]);
});

class Platform {
  static last = null;
  onmessage = null;

  constructor(url, protocols) {
    Object.assign(this, { url, protocols });
    Platform.last = this;
  }
}

describe("the WebSocket", () => {
  test("asks for the format, beside what else is in the address", () => {
    new (compact(Platform))("wss://a/ws?b=c", ["d"]);
    assert.equal(Platform.last.url, "wss://a/ws?b=c&format=compact");
    assert.deepEqual(Platform.last.protocols, ["d"]);
  });

  test("gives each tick to the one who listens then, and all else as it is", () => {
    const socket = new (compact(Platform))("wss://a/ws");
    const heard = [];
    const welcome = `{"type":"welcome","fields":${JSON.stringify(FIELDS)}}`;
    socket.onmessage = ({ data }) => {
      heard.push(data);
      if (heard.length === 3) socket.onmessage = null;
    };
    for (const data of [welcome, '{"type":"heartbeat"}', '[["A",1,"T",2],["A",1,"T",3]]']) {
      Platform.last.onmessage({ data });
    }
    assert.deepEqual(heard, [
      welcome,
      '{"type":"heartbeat"}',
      '{"type":"tick","symbol":"A","price":1,"timestamp":"T","seq":2}',
    ]);
  });
});
