// The last minutes: asked for once, then extended by each overview.

const POINTS = 600;

/** Series over the same instants (unix seconds, oldest first); null where nothing was seen. */
export class History {
  constructor(answer) {
    this.at = [...answer.at];
    this.accepted = [...answer.accepted];
    this.settled = [...answer.settled];
    this.waiting = [...answer.waiting];
    this.processors = {};
    for (const [name, series] of Object.entries(answer.processors)) {
      this.processors[name] = { settled: [...series.settled], observedMs: [...series.observedMs] };
    }
  }

  static empty() {
    return new History({ at: [], accepted: [], settled: [], waiting: [], processors: {} });
  }

  /** Add what an overview says, in place of the last point when both are of the same second. */
  add(overview) {
    const at = Date.parse(overview.at) / 1000;
    const last = this.at.at(-1);
    if (last !== undefined && at < last - 1) return; // the server's clock went back; its next history is right
    const index = last !== undefined && at - last < 0.5 ? this.at.length - 1 : this.at.length;
    if (index === this.at.length) this.at.push(at);
    this.accepted[index] = overview.rates.accepted;
    this.settled[index] = overview.rates.settled;
    this.waiting[index] = overview.backlog.waiting;
    for (const one of overview.processors) {
      const series = (this.processors[one.name] ??= { settled: [], observedMs: [] });
      series.settled[index] = one.settledPerSecond;
      series.observedMs[index] = one.observedMs;
    }
    this.#level();
  }

  /** Every series as long as `at`, and none longer than its bound. */
  #level() {
    const over = Math.max(0, this.at.length - POINTS);
    const all = [this.accepted, this.settled, this.waiting];
    for (const one of Object.values(this.processors)) all.push(one.settled, one.observedMs);
    for (const series of all) {
      for (let index = 0; index < this.at.length; index += 1) series[index] ??= null;
      series.splice(0, over);
    }
    this.at.splice(0, over);
  }
}
