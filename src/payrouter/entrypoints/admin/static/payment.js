// One payment's whole story: where it is, why it went there, and everything that happened, in order.

import { $, announce, chip, el, icon, text } from "/assets/dom.js";
import { instant, milliseconds, money, span } from "/assets/format.js";
import { get } from "/assets/net.js";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const AGAIN_MS = 1500;
const STATES = {
  queued: ["plain", "waiting", "Queued"], attempting: ["warn", "probe", "Attempting"], pinned: ["warn", "unknown", "Pinned, outcome unknown"],
  settled: ["good", "usable", "Settled"], "dead-letter": ["bad", "down", "Dead letter"],
};
const STEPS = {
  accepted: ["plain", "usable", "Accepted"], waited: ["plain", "waiting", "Waited"], queued: ["plain", "waiting", "Queued"],
  attempt: ["info", "probe", "Attempt"], failed: ["bad", "down", "Failed"], pinned: ["warn", "unknown", "Pinned"],
  settled: ["good", "usable", "Settled"], "dead-letter": ["bad", "down", "Dead letter"],
};

let shown = null;
let last = "";
let again = 0;

/** Show the payment of an id, and go on asking until it has come to its end. */
export async function showPayment(id) {
  hidePayment();
  shown = id.trim();
  last = "";
  $("find-id").value = shown;
  $("find-id").removeAttribute("aria-invalid");
  if (!shown) return say("No id given", "Enter a payment's correlation id in the search field.");
  if (!UUID.test(shown)) {
    $("find-id").setAttribute("aria-invalid", "true");
    return say("Not a payment id", `An id is a UUID like 4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3, got “${shown.slice(0, 64)}”.`);
  }
  return refresh(shown);
}

export function hidePayment() {
  clearTimeout(again);
  shown = null;
}

async function refresh(id) {
  let payment;
  try {
    payment = await get(`/api/payments/${encodeURIComponent(id.toLowerCase())}`);
  } catch (error) {
    if (shown !== id || error.status === 401) return;
    if (error.status === 404) say("Unknown payment", `No payment with the id ${id} was ever accepted here, or its books were purged.`);
    else if (last === "") say("It could not be read", error.message);
    if (error.status === 0 || error.status >= 500) again = setTimeout(() => refresh(id), 2 * AGAIN_MS);
    return;
  }
  if (shown !== id) return;
  const now = JSON.stringify(payment);
  if (now !== last) {
    const moved = last === "" || JSON.parse(last).state !== payment.state;
    last = now;
    $("payment").replaceChildren(...drawn(payment));
    if (moved) announce(`Payment ${stateWord(payment)}`);
  }
  if (payment.state !== "settled" && payment.state !== "dead-letter") again = setTimeout(() => refresh(id), AGAIN_MS);
}

function say(title, message) {
  $("payment").replaceChildren(el("div", { class: "panel blank" }, el("h2", { text: title }), el("p", { text: message })));
  announce(`${title}. ${message}`);
}

const stateWord = ({ state, processor }) => `${(STATES[state]?.[2] ?? state).toLowerCase()}${processor ? ` at ${processor}` : ""}`;

function drawn(payment) {
  const [kind, shape, word] = STATES[payment.state] ?? ["plain", "unknown", payment.state];
  return [
    el("div", { class: "panel payment" },
      el("header", {}, el("p", { class: "amount" }, el("b", { text: money(payment.amount) })), chip(kind, shape, word), el("p", { class: "id" }, el("code", { text: payment.correlationId }), copyButton(payment.correlationId))),
      payment.reason ? el("div", { class: "why" }, el("h2", { text: "Why there" }), el("p", { text: sentence(payment.reason.text) })) : null,
      el("dl", { class: "facts wide" }, ...facts(payment).map(([label, value]) => el("div", {}, el("dt", { text: label }), el("dd", { text: value }))))),
    payment.story?.length ? el("section", { "aria-labelledby": "story-title" }, el("div", { class: "heading" }, el("h2", { id: "story-title", text: "Story" })),
      el("ol", { class: "panel story" }, ...story(payment.story))) : "",
  ];
}

function facts({ processor, acceptedAt, requestedAt, settledAt, latencyMs, attempts, reason }) {
  const known = [
    ["Processor", processor ?? "none yet"],
    ["Accepted", instant(acceptedAt)],
    ["Requested", instant(requestedAt)],
    ["Settled", instant(settledAt)],
    ["Answered in", milliseconds(latencyMs)],
    ["Attempts", String(attempts ?? "–")],
  ];
  if (reason?.fee !== undefined) {
    known.push(["Fee", money(reason.fee)], ["Saved against the dearest", money(reason.savedAgainstDearest)], ["Paid more than the cheapest", money(reason.lostAgainstCheapest)]);
  }
  return known;
}

function story(steps) {
  const start = Date.parse(steps[0].at);
  return steps.map((step) => {
    const [kind, shape, word] = STEPS[step.kind] ?? ["plain", "unknown", step.kind];
    const after = (Date.parse(step.at) - start) / 1000;
    return el("li", { class: kind },
      icon(shape),
      el("div", {}, el("h3", { text: word }), el("p", { text: sentence(step.text) })),
      el("p", { class: "when" }, el("time", { datetime: step.at, text: instant(step.at).slice(11) }), el("span", { text: after > 0 ? `+${after < 1 ? `${Math.round(after * 1000)} ms` : span(after)}` : instant(step.at).slice(0, 10) })));
  });
}

/** A text as a sentence: the router's own words begin small and end without a full stop. */
function sentence(words) {
  return /[.!?]$/.test(words) ? words : `${words}.`;
}

function copyButton(id) {
  const button = el("button", { class: "button quiet small", type: "button", text: "Copy", "aria-label": "Copy the id" });
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(id);
      text(button, "Copied");
      announce("The id is copied");
    } catch {
      getSelection().selectAllChildren(button.previousElementSibling);
      text(button, "Selected");
    }
  });
  return button;
}
