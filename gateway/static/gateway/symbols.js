// What may be typed for a symbol.

import { EVERYTHING } from "./client.js";

// Printable characters and spaces within, no comma, no "*" at the end. The gateway looks more closely (NFC, fillers).
const SYMBOL = /^(?! )(?:[^\p{C}\p{Z},]| ){1,64}(?<![ *])$/u;

/** @param {string} text */
export const isSymbol = (text) => text === EVERYTHING || SYMBOL.test(text);
