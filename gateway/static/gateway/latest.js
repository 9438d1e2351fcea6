// The last ticks from before a subscription, over HTTP: a symbol that ticks once an hour has its price at once.

import { parse } from "./exact.js";

const MOST = 1_000;

/** The newest tick of each symbol that has one, among the first thousand; none if they cannot be had. */
export async function latestTicks(url) {
  try {
    const response = await fetch(`${url}?page_size=${MOST}`, { headers: { Accept: "application/json" } });
    return response.ok ? parse(await response.text()).results : [];
  } catch {
    return [];
  }
}
