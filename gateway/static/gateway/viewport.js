// Which rows of the table can be seen, in whatever scrolls them: the table's own box, or the whole page where it is narrow.

// Rows beside those in sight, so that what is scrolled to is there before the next frame.
const BESIDE = 6;

/**
 * The first row to show, and the one behind the last.
 * @param {{ above: number, room: number, height: number, count: number }} place `above`: how far the first row is above what
 *   can be seen; `room`: how much can be seen; `height`: of a row; all in px
 * @returns {[number, number]}
 */
export function inSight({ above, room, height, count }) {
  const first = Math.floor(above / height) - BESIDE;
  const last = Math.ceil((above + Math.max(0, room)) / height) + BESIDE;
  const within = (/** @type {number} */ index) => Math.max(0, Math.min(count, index));
  return [within(first), within(last)];
}

export class Viewport {
  #scroller;
  #body;
  #head;

  /**
   * @param {HTMLElement} scroller
   * @param {HTMLElement} body holds the rows
   * @param {HTMLElement} head stays in sight above them
   * @param {() => void} onMove is told that other rows may be in sight
   */
  constructor(scroller, body, head, onMove) {
    this.#scroller = scroller;
    this.#body = body;
    this.#head = head;
    document.addEventListener("scroll", onMove, { capture: true, passive: true });
    window.addEventListener("resize", onMove);
    new ResizeObserver(onMove).observe(scroller);
  }

  /**
   * @param {number} height of a row, in px
   * @param {number} count
   */
  rows(height, count) {
    const { top, bottom, start } = this.#sight();
    return inSight({ above: top - start, room: bottom - top, height, count });
  }

  /**
   * Scrolls as little as it takes to show a row.
   * @param {number} index
   * @param {number} height of a row, in px
   */
  reveal(index, height) {
    const { top, bottom, start } = this.#sight();
    const above = start + index * height - top - this.#head.offsetHeight;
    const below = start + (index + 1) * height - bottom;
    const way = above < 0 ? above : Math.max(0, Math.min(below, above));
    const own = this.#scroller.scrollHeight > this.#scroller.clientHeight;
    if (way !== 0) (own ? this.#scroller : window).scrollBy(0, way);
  }

  /** How many rows fit. @param {number} height of a row, in px */
  page(height) {
    const { top, bottom } = this.#sight();
    return Math.max(1, Math.floor((bottom - top - this.#head.offsetHeight) / height) - 1);
  }

  #sight() {
    const box = this.#scroller.getBoundingClientRect();
    return {
      top: Math.max(0, box.top),
      bottom: Math.min(window.innerHeight, box.bottom),
      start: this.#body.getBoundingClientRect().top,
    };
  }
}
