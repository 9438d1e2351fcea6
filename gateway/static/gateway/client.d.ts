// What client.js is made of.

export * from "../../../clients/javascript/src/index.ts";
export * from "../../../clients/javascript/src/ledger.ts";
