// @ts-check
/** Whether something still comes by a connection. Pure. */

export class Silence {
  constructor() {
    /** @type {number | null} */
    this.bytes = null;
    this.silent = false;
  }

  /**
   * To be asked at regular times.
   * @param {Iterable<{type: string, bytesReceived?: number}>} reports what the browser reports of
   *   the connection
   * @returns {boolean} true once when nothing has come since it was asked last
   */
  begins(reports) {
    let bytes = 0;
    for (const { type, bytesReceived } of reports) {
      if (type === "candidate-pair") bytes += bytesReceived ?? 0;
    }
    const before = this.silent;
    this.silent = bytes === this.bytes;
    this.bytes = bytes;
    return this.silent && !before;
  }

  forget() {
    this.bytes = null;
    this.silent = false;
  }
}
