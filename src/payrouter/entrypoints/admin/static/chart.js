// Line and area charts over time, as SVG: axes, legend with values, a reading line, the data as a table.

import { attribute, el, show, svg, text } from "/assets/dom.js";
import { clock } from "/assets/format.js";

const HEIGHT = 168;
const MARGIN = { top: 10, right: 10, bottom: 22, left: 46 };
const GAP_S = 3.5; // a longer silence is drawn as one
const KEYS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -Infinity, End: Infinity };

/** Return a round step that divides 0..top into at most `most` parts. */
export function roundStep(top, most) {
  const rough = top / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((step) => step >= rough * 0.999);
}

/** Return the series on top of each other, lowest first; null only where all are. */
export function stacked(series) {
  const sums = [];
  return series.map((values) => values.map((value, index) => {
    if (series.every((one) => one[index] === null)) return null;
    sums[index] = (sums[index] ?? 0) + (value ?? 0);
    return sums[index];
  }));
}

export class Chart {
  #at = [];
  #series = [];
  #levels = [];
  #window = [0, 1];
  #width = 320;
  #top = 1;
  #cursor = null; // unix seconds, or null for the newest

  /** `format(value)` words a value; `kind` is "lines", "area" or "stack". */
  constructor(parent, { title, unit, kind, format }) {
    this.title = title;
    this.kind = kind;
    this.format = format;
    this.moment = el("span", { class: "moment" });
    this.legend = el("ul", { class: "legend" });
    this.svg = svg("svg", { height: HEIGHT, "aria-hidden": "true", focusable: "false" });
    this.empty = el("p", { class: "empty", text: "Nothing seen yet" });
    this.plot = el("div", { class: "plot", tabindex: "0", role: "slider", "aria-label": `${title}, ${unit}: reading line`, "aria-valuemin": 0 }, this.svg, this.empty);
    this.table = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${title}: data` });
    this.details = el("details", {}, el("summary", { text: "Data as a table" }), this.table);
    parent.append(el("figure", { class: "panel chart" },
      el("figcaption", {}, el("h3", {}, title, " ", el("small", { text: unit })), this.moment, this.legend), this.plot, this.details));
    this.#listen();
  }

  #listen() {
    new ResizeObserver(([entry]) => {
      this.#width = Math.max(180, Math.floor(entry.contentRect.width));
      this.#paint();
    }).observe(this.plot);
    this.plot.addEventListener("pointermove", (event) => this.#readAt(event.clientX - this.plot.getBoundingClientRect().left));
    this.plot.addEventListener("pointerleave", () => { if (document.activeElement !== this.plot) this.#read(null); });
    this.plot.addEventListener("focus", () => { if (this.#cursor === null) this.#read(this.#at.at(-1) ?? null); });
    this.plot.addEventListener("blur", () => this.#read(null));
    this.plot.addEventListener("keydown", (event) => this.#key(event));
    this.details.addEventListener("toggle", () => this.#tabulate());
  }

  /** Draw `series` ([{ name, values }], each as long as `at`) between two instants. */
  draw(at, series, [from, to]) {
    const first = Math.max(0, at.findIndex((one) => one >= from));
    this.#at = at.slice(first);
    this.#series = series.map(({ name, values }) => ({ name, values: values.slice(first) }));
    const plain = this.#series.map((one) => one.values);
    this.#levels = this.kind === "stack" ? stacked(plain) : plain;
    this.#window = [from, to];
    this.#paint();
  }

  #x(at) {
    const [from, to] = this.#window;
    return MARGIN.left + ((at - from) / (to - from)) * (this.#width - MARGIN.left - MARGIN.right);
  }

  #y(value) {
    return HEIGHT - MARGIN.bottom - (value / this.#top) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  }

  #paint() {
    const highest = Math.max(0, ...this.#levels.flat().filter((value) => value !== null));
    const step = Math.max(1, roundStep(Math.max(highest, 4), 4));
    this.#top = Math.max(step * Math.ceil(highest / step), step * 2);
    attribute(this.svg, "width", this.#width);
    attribute(this.svg, "viewBox", `0 0 ${this.#width} ${HEIGHT}`);
    this.svg.replaceChildren(...this.#axes(step), ...this.#shapes(), ...this.#reading());
    show(this.empty, this.#at.length === 0);
    this.#tell();
  }

  #axes(step) {
    const nodes = [];
    for (let value = 0; value <= this.#top * 1.001; value += step) {
      const y = Math.round(this.#y(value)) + 0.5;
      nodes.push(svg("line", { class: value === 0 ? "base" : "grid", x1: MARGIN.left, x2: this.#width - MARGIN.right, y1: y, y2: y }));
      nodes.push(svg("text", { class: "tick", x: MARGIN.left - 7, y: y + 3.5, "text-anchor": "end", text: short(value) }));
    }
    const [from, to] = this.#window;
    const every = [15, 30, 60, 120, 300].find((one) => ((to - from) / one) * 62 <= this.#width - MARGIN.left) ?? 600;
    for (let at = Math.ceil(from / every) * every; at <= to; at += every) {
      const x = this.#x(at);
      if (x < MARGIN.left + 4 || x > this.#width - 22) continue;
      nodes.push(svg("text", { class: "tick", x, y: HEIGHT - 6, "text-anchor": "middle", text: every % 60 ? clock(at) : clock(at).slice(0, 5) }));
    }
    return nodes;
  }

  /** A stack's highest comes first, so that the lower areas lie on it. */
  #shapes() {
    const shapes = this.#levels.map((values, index) => {
      const lines = this.#runs(values);
      const parts = [];
      if (this.kind !== "lines") {
        const floor = this.#y(0);
        const area = lines.map((run) => `M${run[0][0]} ${floor}L${run.map((one) => one.join(" ")).join("L")}L${run.at(-1)[0]} ${floor}Z`).join("");
        parts.push(svg("path", { class: "area", d: area }));
      }
      parts.push(svg("path", { class: "line", d: lines.map((run) => `M${run.map((one) => one.join(" ")).join("L")}`).join("") }));
      return svg("g", { class: `series s${(index % 6) + 1}` }, ...parts);
    });
    return this.kind === "stack" ? shapes.reverse() : shapes;
  }

  /** Points of a series, cut where nothing was seen. */
  #runs(values) {
    const runs = [];
    let before = -Infinity;
    values.forEach((value, index) => {
      const at = this.#at[index];
      if (value === null) return;
      if (at - before > GAP_S) runs.push([]);
      before = at;
      runs.at(-1).push([this.#x(at).toFixed(1), this.#y(value).toFixed(1)]);
    });
    return runs;
  }

  #reading() {
    const index = this.#index();
    if (this.#cursor === null || index < 0) return [];
    const x = this.#x(this.#at[index]).toFixed(1);
    const dots = this.#levels.map((values, number) => (values[index] === null ? null :
      svg("circle", { class: `dot s${(number % 6) + 1}`, cx: x, cy: this.#y(values[index]).toFixed(1), r: 3.5 })));
    return [svg("line", { class: "cursor", x1: x, x2: x, y1: MARGIN.top - 4, y2: HEIGHT - MARGIN.bottom }), ...dots.filter(Boolean)];
  }

  /** The point that is read: nearest to the cursor, the newest without one, -1 without points. */
  #index() {
    if (this.#cursor === null) return this.#at.length - 1;
    let nearest = -1;
    this.#at.forEach((at, index) => {
      if (nearest < 0 || Math.abs(at - this.#cursor) <= Math.abs(this.#at[nearest] - this.#cursor)) nearest = index;
    });
    return nearest;
  }

  /** Put the values into the legend and where a screen reader finds them. */
  #tell() {
    const index = this.#index();
    if (this.legend.children.length !== this.#series.length) {
      this.legend.replaceChildren(...this.#series.map((_, number) => el("li", { class: `s${(number % 6) + 1}` }, el("i", { "aria-hidden": "true" }), el("span"), " ", el("b"))));
    }
    const words = this.#series.map(({ name, values }, number) => {
      const value = index < 0 || values[index] === null ? "–" : this.format(values[index]);
      const item = this.legend.children[number];
      text(item.children[1], name);
      text(item.children[2], value);
      return `${name} ${value}`;
    });
    const moment = index < 0 ? "" : clock(this.#at[index]);
    text(this.moment, moment);
    this.moment.classList.toggle("read", this.#cursor !== null);
    attribute(this.plot, "aria-valuemax", Math.max(0, this.#at.length - 1));
    attribute(this.plot, "aria-valuenow", Math.max(0, index));
    attribute(this.plot, "aria-valuetext", moment ? `${moment}: ${words.join(", ")}` : "nothing seen yet");
  }

  #read(at) {
    this.#cursor = at;
    this.#paint();
  }

  #readAt(x) {
    const [from, to] = this.#window;
    this.#read(from + ((x - MARGIN.left) / (this.#width - MARGIN.left - MARGIN.right)) * (to - from));
  }

  #key(event) {
    if (!(event.key in KEYS) || this.#at.length === 0) return;
    event.preventDefault();
    const index = Math.min(this.#at.length - 1, Math.max(0, this.#index() + KEYS[event.key]));
    this.#read(this.#at[index]);
  }

  /** The table is of the moment it was opened: a table that changes while it is read cannot be read. */
  #tabulate() {
    if (!this.details.open) {
      this.table.replaceChildren();
      return;
    }
    const head = el("tr", {}, el("th", { scope: "col", text: "UTC" }), ...this.#series.map(({ name }) => el("th", { scope: "col", class: "num", text: name })));
    const body = el("tbody");
    for (let index = this.#at.length - 1; index >= 0; index -= 1) {
      const cells = this.#series.map(({ values }) => el("td", { class: "num", text: values[index] === null ? "–" : this.format(values[index]) }));
      body.append(el("tr", {}, el("th", { scope: "row", text: clock(this.#at[index]) }), ...cells));
    }
    const caption = el("caption", { text: `${this.title}, newest first, as of when this was opened` });
    this.table.replaceChildren(el("table", {}, caption, el("thead", {}, head), body));
  }
}

/** An axis' number: 1500 is 1.5k. */
function short(value) {
  if (value >= 1e6) return `${+(value / 1e6).toFixed(1)}M`;
  if (value >= 1e4) return `${+(value / 1e3).toFixed(1)}k`;
  return String(+value.toFixed(1));
}

/** An area without axes for a card, drawn into `node` (an SVG): the shape of the last values, gaps as zero. */
export function sparkline(node, values, width = 120, height = 26) {
  const top = Math.max(1, ...values);
  const points = values.map((value, index) =>
    `${((index / Math.max(1, values.length - 1)) * width).toFixed(1)} ${(height - 1 - ((value ?? 0) / top) * (height - 3)).toFixed(1)}`);
  attribute(node, "viewBox", `0 0 ${width} ${height}`);
  if (!node.firstChild) node.append(svg("path", { class: "area" }), svg("path", { class: "line" }));
  const line = points.join("L") || "0 0";
  attribute(node.firstChild, "d", `M0 ${height}L${line}L${width} ${height}Z`);
  attribute(node.lastChild, "d", `M${line}`);
}
