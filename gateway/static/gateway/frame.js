// Work that the page does once a frame, all of it in one go: what a burst of messages changes is painted once.

// Frames do not come while the page is hidden, and timers rarely.
const LATEST_MS = 100;

export class Frame {
  #steps;
  #schedule;
  #isDue = false;

  /**
   * @param {(() => void)[]} steps in their order
   * @param {(work: () => void) => void} schedule calls a function at the next frame
   */
  constructor(steps, schedule = atNextFrame) {
    this.#steps = steps;
    this.#schedule = schedule;
  }

  /** Asks for a frame; one that is asked for already does for all. */
  request() {
    if (this.#isDue) return;
    this.#isDue = true;
    this.#schedule(() => this.#run());
  }

  #run() {
    this.#isDue = false;
    for (const step of this.#steps) step();
  }
}

/** @param {() => void} work */
function atNextFrame(work) {
  let isDone = false;
  const once = () => {
    cancelAnimationFrame(frame);
    clearTimeout(timer);
    if (!isDone) work();
    isDone = true;
  };
  const frame = requestAnimationFrame(once);
  const timer = setTimeout(once, LATEST_MS);
}
