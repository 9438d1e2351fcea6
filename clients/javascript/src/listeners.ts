// Functions that are called with what happens.

/** By what they listen to: `M` has the type of what each is called with. */
export class Listeners<M> {
  #all = new Map<keyof M, Set<(value: never) => void>>();

  /** Returns what ends it. A function that listens twice is called twice. */
  add<K extends keyof M>(type: K, listener: (value: M[K]) => void): () => void {
    const listeners = this.#all.get(type) ?? new Set();
    this.#all.set(type, listeners);
    const own = (value: M[K]) => listener(value);
    listeners.add(own);
    return () => void listeners.delete(own);
  }

  /** What a listener throws is reported as an error of its own, and does not keep the others from hearing. */
  call<K extends keyof M>(type: K, value: M[K]): void {
    for (const listener of this.#all.get(type) ?? []) {
      try {
        (listener as (value: M[K]) => void)(value);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
