// What the page uses of uPlot.

export type Data = [number[], number[]];

export default class uPlot {
  constructor(options: object, data: Data, parent: HTMLElement);
  setData(data: Data): void;
  setSize(size: { width: number; height: number }): void;
  destroy(): void;
}
