// A card per processor: what it can take now, how fast, for how much; and pausing it.

import { sparkline } from "/assets/chart.js";
import { $, attribute, chip, confirmed, el, keyed, show, svg, text } from "/assets/dom.js";
import { count, milliseconds, money, percent, rate } from "/assets/format.js";
import { post } from "/assets/net.js";

const STANDINGS = {
  usable: ["good", "Usable"], probe: ["warn", "Probing"], full: ["warn", "Full"],
  slow: ["warn", "Slow"], down: ["bad", "Down"], unknown: ["plain", "Unknown"],
};
const BREAKERS = { closed: ["good", "usable"], "half-open": ["warn", "probe"], open: ["bad", "down"] };
const SPARK_POINTS = 120;

const cards = new Map();

/** Show the processors in the router's order, cheapest first. */
export function drawProcessors(processors, history) {
  const nodes = keyed($("processors"), processors.map((one) => one.name), (name) => {
    const card = new Card(name);
    cards.set(name, card);
    return card.node;
  });
  for (const name of cards.keys()) if (!nodes.has(name)) cards.delete(name);
  for (const one of processors) cards.get(one.name).draw(one, history.processors[one.name]);
}

class Card {
  constructor(name) {
    this.name = name;
    this.paused = false;
    this.values = {};
    const id = `processor-${cards.size}`;
    this.status = el("p", { class: "status" });
    this.fee = el("span", { class: "tag" });
    this.rate = el("b");
    this.remark = el("p", { class: "remark" });
    this.spark = svg("svg", { class: "spark", "aria-hidden": "true", preserveAspectRatio: "none" });
    this.flight = meter(`${id}-flight`, "In flight");
    this.share = meter(`${id}-share`, "Share of settled");
    this.button = el("button", { class: "button small", type: "button", onclick: () => this.#toggle() });
    this.result = el("p", { class: "result", role: "status" });
    this.node = el("article", { class: "panel card", "aria-labelledby": id },
      el("header", {}, el("h3", { id }, name), this.fee, this.status),
      el("p", { class: "figure" }, this.rate, el("small", { text: " settled per second" })), this.spark,
      this.remark, this.flight.node, this.share.node,
      el("dl", { class: "facts" }, ...["Observed latency", "Reported latency", "Failed per second", "Pinned", "Settled", "Amount", "Fees paid"].map((label) => this.#fact(label))),
      el("footer", {}, this.button, this.result));
  }

  #fact(label) {
    const value = el("dd");
    this.values[label] = value;
    return el("div", {}, el("dt", { text: label }), value);
  }

  draw(one, series) {
    this.paused = one.paused;
    this.#drawStatus(one);
    text(this.fee, `fee ${one.feePercent}`);
    text(this.rate, rate(one.settledPerSecond));
    if (series) sparkline(this.spark, series.settled.slice(-SPARK_POINTS));
    text(this.remark, one.reportedFailing ? "It says of itself that it is failing." : "");
    this.flight.draw(one.inFlight, one.limit, `${count(one.inFlight)} of ${count(one.limit)}`);
    this.share.draw(one.share, 1, percent(one.share));
    const facts = [milliseconds(one.observedMs), milliseconds(one.reportedMs), rate(one.failedPerSecond), count(one.pinned), count(one.settled), money(one.amount), money(one.fees)];
    Object.values(this.values).forEach((node, index) => text(node, facts[index]));
    text(this.button, one.paused ? "Resume" : "Pause");
    attribute(this.button, "aria-label", `${one.paused ? "Resume" : "Pause"} ${this.name}`);
  }

  #drawStatus({ standing, breaker, paused }) {
    const key = `${standing} ${breaker} ${paused}`;
    if (this.status.dataset.key === key) return;
    this.status.dataset.key = key;
    const [kind, word] = STANDINGS[standing] ?? ["plain", standing];
    const [breakerKind, breakerShape] = BREAKERS[breaker] ?? ["plain", "unknown"];
    this.status.replaceChildren(...[
      paused ? chip("plain", "paused", "Paused") : null,
      chip(kind, standing in STANDINGS ? standing : "unknown", word),
      breaker ? chip(`${breakerKind} bare`, breakerShape, `breaker ${breaker}`) : null].filter(Boolean));
  }

  async #toggle() {
    const pause = !this.paused;
    const sure = pause
      ? await confirmed(`Pause ${this.name}?`, "No new payment goes there until somebody resumes it, also after a restart. What is in flight or pinned there is brought to its end.", "Pause")
      : await confirmed(`Resume ${this.name}?`, "Payments go there again as soon as it is the best choice.", "Resume");
    if (!sure) return;
    this.button.disabled = true;
    try {
      await post(`/api/processors/${encodeURIComponent(this.name)}/${pause ? "pause" : "resume"}`);
      this.#say(`${this.name} is ${pause ? "paused" : "in service again"}.`);
    } catch (error) {
      this.#say(`Not ${pause ? "paused" : "resumed"}: ${error.message}`, true);
    } finally {
      this.button.disabled = false;
      this.button.focus();
    }
  }

  #say(message, bad = false) {
    this.result.classList.toggle("bad", bad);
    text(this.result, message);
    clearTimeout(this.quiet);
    if (!bad) this.quiet = setTimeout(() => text(this.result, ""), 8000);
  }
}

/** A bar with its label and words. */
function meter(id, label) {
  const words = el("span");
  const bar = el("i");
  const node = el("div", { class: "meter" },
    el("p", {}, el("span", { id, text: label }), words),
    el("div", { class: "track", role: "meter", "aria-labelledby": id, "aria-valuemin": 0 }, bar));
  return {
    node,
    draw(value, most, said) {
      text(words, said);
      const share = most > 0 ? Math.min(1, (value ?? 0) / most) : 0;
      bar.style.width = `${(share * 100).toFixed(1)}%`;
      attribute(node.lastChild, "aria-valuemax", Math.max(most, 0.001));
      attribute(node.lastChild, "aria-valuenow", value ?? 0);
      attribute(node.lastChild, "aria-valuetext", said);
    },
  };
}
