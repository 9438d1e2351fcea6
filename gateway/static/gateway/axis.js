// The numbers at a chart's side: as short as they can be told apart, with room for all of their digits.

const MOST_DIGITS = 10;
// Of the font that the chart has, at most.
const DIGIT_PX = 7.5;
const BESIDE_PX = 22;
const LEAST_PX = 56;

/**
 * What stands beside the lines of these prices, which are a step apart.
 * @param {number[]} prices
 */
export function labels(prices) {
  const plain = prices.map((price) => price.toLocaleString("en", { maximumFractionDigits: decimals(prices) }));
  return plain.every((text) => text.length <= MOST_DIGITS + 3) ? plain : prices.map(short);
}

/**
 * How much they need, in px.
 * @param {string[]} texts
 */
export function room(texts) {
  return Math.max(LEAST_PX, Math.ceil(BESIDE_PX + DIGIT_PX * Math.max(0, ...texts.map((text) => text.length))));
}

/** @param {number[]} prices */
function decimals([first, second]) {
  const step = Math.abs(second - first);
  return step > 0 && step < 1 ? Math.min(MOST_DIGITS, Math.ceil(-Math.log10(step)) + 1) : 2;
}

/** @param {number} price */
function short(price) {
  return price === 0 ? "0" : price.toExponential(3).replace("e+", "e");
}
