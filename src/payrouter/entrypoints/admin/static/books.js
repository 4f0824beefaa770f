// Our books against the processors': sums, differences by payment, comparing now.

import { $, chip, el, row, show, text } from "/assets/dom.js";
import { cents, count, instant, money, plural } from "/assets/format.js";
import { get, post } from "/assets/net.js";

const STATES = {
  agree: ["good", "usable", "Agree"], differ: ["bad", "down", "Differ"], unavailable: ["warn", "slow", "Not comparable"],
  never: ["plain", "unknown", "Not compared yet"], off: ["plain", "paused", "Off"],
};
const WAIT_MS = 1000;
const PATIENCE_MS = 60000;

let open = false;
let at = null;
let waiting = 0;

export function startBooks() {
  $("books-now").addEventListener("click", compare);
}

export function showBooks() {
  open = true;
  text($("books-result"), "");
  return load();
}

export function hideBooks() {
  open = false;
}

/** The overview's instant of the last comparison: a newer one under an open page is read. */
export function booksCompared(instantOfLast) {
  if (open && !waiting && instantOfLast !== at) load();
}

async function load() {
  try {
    const audit = await get("/api/audit");
    at = audit.at;
    draw(audit);
    return audit;
  } catch (error) {
    say(`The comparison could not be read: ${error.message}`, true);
    return null;
  }
}

const stateChip = (state) => chip(...(STATES[state] ?? ["plain", "unknown", state]));

function draw(audit) {
  const span = audit.from || audit.to ? `Window ${audit.from ? `from ${instant(audit.from)}` : ""} ${audit.to ? `to ${instant(audit.to)}` : ""}`.trim() : "";
  const remark = audit.state === "agree" || audit.state === "differ" ? "" : audit.text || hint(audit.state);
  const words = [audit.at ? `Compared at ${instant(audit.at)}` : "", span, remark].filter(Boolean).join(" · ");
  $("books-verdict").replaceChildren(stateChip(audit.state), el("span", { text: words }));
  $("books-rows").replaceChildren(...audit.processors.map(processorRow));
  show($("differences-table"), audit.differences.length > 0);
  show($("differences-none"), audit.differences.length === 0);
  text($("differences-none"), audit.state === "agree" ? "None." : "None known.");
  const inAll = audit.differencesInAll ?? audit.differences.length;
  text($("differences-count"), audit.differences.length < inAll ? `The first ${count(audit.differences.length)} of ${count(inAll)}.` : "");
  $("differences-rows").replaceChildren(...audit.differences.map((one) => row(
    ["Payment", one.correlationId ? el("a", { class: "id", href: `#payment=${one.correlationId}`, text: one.correlationId }) : "–"],
    ["Processor", one.processor], ["Kind", one.kind], ["Requested", instant(one.at).slice(0, 19), "nowrap"], ["What it is", one.text, "words"])));
}

function hint(state) {
  return state === "off" ? "Comparing in the background is off (PAYROUTER_AUDIT_EVERY_S); compare now still works." : "";
}

function processorRow({ name, state, ours, theirs, text: remark }) {
  const sums = (side) => (side ? el("span", {}, el("b", { text: money(side.amount) }), el("small", { text: ` in ${plural(side.count, "payment")}` })) : "–");
  return row(["Processor", el("strong", { text: name })], ["State", stateChip(state)], ["Ours", sums(ours), "num"], ["Theirs", sums(theirs), "num"],
    ["Difference", theirs && ours ? difference(ours, theirs) : "–", "num"], ["Remark", remark || "–", "words"]);
}

function difference(ours, theirs) {
  const amount = cents(theirs.amount) - cents(ours.amount);
  const payments = theirs.count - ours.count;
  if (amount === 0n && payments === 0) return "0.00";
  const digits = String(amount < 0n ? -amount : amount).padStart(3, "0");
  const signed = (negative, words) => `${negative ? "−" : "+"}${words}`;
  return `${signed(amount < 0n, money(`${digits.slice(0, -2)}.${digits.slice(-2)}`))} in ${signed(payments < 0, plural(Math.abs(payments), "payment"))}`;
}

async function compare() {
  const before = at;
  waiting = Date.now() + PATIENCE_MS;
  $("books-now").disabled = true;
  try {
    const { message } = await post("/api/audit");
    say(message || "Comparing now.");
    const audit = await newer(before);
    if (audit) say(audit.state === "agree" ? "The books agree." : audit.state === "differ" ? `${plural(audit.differences.length, "difference")} by payment.` : "Compared, but not everything could be.");
    else say("The comparison is still under way; its result shows here when it is done.");
  } catch (error) {
    say(`Not compared: ${error.message}`, true);
  } finally {
    waiting = 0;
    $("books-now").disabled = false;
  }
}

/** The audit once it is newer than `before`; null when that took too long or the page was left. */
async function newer(before) {
  while (open && Date.now() < waiting) {
    await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
    const audit = await load();
    if (audit && audit.at !== before) return audit;
  }
  return null;
}

function say(message, bad = false) {
  $("books-result").classList.toggle("bad", bad);
  text($("books-result"), message);
}
