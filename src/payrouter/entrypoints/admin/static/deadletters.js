// Dead letters: filter, inspect, select, send again. Poison entries apart.

import { $, confirmed, el, keyed, row, show, text } from "/assets/dom.js";
import { count, instant, money, plural } from "/assets/format.js";
import { get, post } from "/assets/net.js";

const LIMIT = 200;
const TYPED_MS = 250;

const selected = new Set();
let shown = [];
let total = 0; // those that the filter lets through
let open = false;
let typed = 0;
let asked = 0;
let known = null;

export function startDeadLetters() {
  $("dead-filter").addEventListener("input", () => {
    clearTimeout(typed);
    typed = setTimeout(load, TYPED_MS);
  });
  $("dead-every").addEventListener("change", (event) => {
    for (const one of shown) event.target.checked ? selected.add(one.correlationId) : selected.delete(one.correlationId);
    drawSelection();
  });
  $("dead-retry").addEventListener("click", retrySelected);
  $("dead-all").addEventListener("click", retryAll);
}

export function showDeadLetters() {
  open = true;
  text($("dead-result"), "");
  return load();
}

export function hideDeadLetters() {
  open = false;
  clearTimeout(typed);
}

/** The overview's count: when it changes under an open list, the list is read again. */
export function deadLettersCounted(number) {
  if (open && known !== null && number !== known) load();
  known = number;
}

const filter = () => $("dead-filter").value.trim();

async function load() {
  const turn = (asked += 1);
  let answer;
  try {
    answer = await get(`/api/dead-letters?contains=${encodeURIComponent(filter())}&limit=${LIMIT}`);
  } catch (error) {
    if (turn === asked) say(`The list could not be read: ${error.message}`, true);
    return;
  }
  if (turn !== asked) return; // a later question is on its way
  shown = answer.shown;
  total = filter() === "" ? answer.count : answer.found;
  const present = new Set(shown.map((one) => one.correlationId));
  for (const id of selected) if (!present.has(id)) selected.delete(id);
  drawRows();
  drawPoison(answer);
}

function drawRows() {
  const byId = new Map(shown.map((one) => [one.correlationId, one]));
  keyed($("dead-rows"), byId.keys(), (id) => {
    const one = byId.get(id);
    const box = el("input", { type: "checkbox", "aria-label": `Select ${id}` });
    box.addEventListener("change", () => {
      box.checked ? selected.add(id) : selected.delete(id);
      drawSelection();
    });
    return row(
      ["", box, "check"], ["Payment", el("a", { href: `#payment=${id}`, class: "id", text: id })], ["Amount", money(one.amount), "num"],
      ["Accepted", instant(one.acceptedAt).slice(0, 19), "nowrap"], ["Pinned to", one.pinnedTo ?? "–"], ["Reason", one.reason ?? "–", "words"]);
  });
  const words = filter() ? ` of those that contain “${filter()}”` : "";
  text($("dead-count"), shown.length === 0 ? `No dead letters${filter() ? ` that contain “${filter()}”` : ""}.`
    : shown.length < total ? `The first ${count(shown.length)} of ${count(total)}${words ? `,${words}` : ""}.` : `${plural(shown.length, "dead letter")}.`);
  drawSelection();
}

function drawSelection() {
  for (const tr of $("dead-rows").children) tr.querySelector("input").checked = selected.has(tr.dataset.key);
  const every = $("dead-every");
  every.disabled = shown.length === 0;
  every.checked = shown.length > 0 && selected.size === shown.length;
  every.indeterminate = selected.size > 0 && selected.size < shown.length;
  $("dead-retry").disabled = selected.size === 0;
  text($("dead-retry"), selected.size ? `Retry ${count(selected.size)} selected` : "Retry selected");
  // "All" means all there are, so it is not offered beside a filter that hides some.
  $("dead-all").disabled = shown.length === 0 || filter() !== "";
  text($("dead-all"), filter() === "" && total ? `Retry all ${count(total)}` : "Retry all");
}

function drawPoison({ poison, poisonCount }) {
  show($("poison"), poisonCount > 0);
  const texts = new Map(poison.map((one) => [one.place, one.text]));
  keyed($("poison-rows"), texts.keys(), (place) => row(["Place", el("code", { text: place })], ["What is there", texts.get(place), "words"]));
  text($("poison-count"), poison.length < poisonCount ? `The first ${count(poison.length)} of ${count(poisonCount)}.` : "");
}

async function retrySelected() {
  const ids = [...selected];
  const pinned = shown.filter((one) => selected.has(one.correlationId) && one.pinnedTo).length;
  await retry({ correlationIds: ids }, ids.length, pinned);
}

async function retryAll() {
  await retry({ all: true }, total, shown.filter((one) => one.pinnedTo).length);
}

async function retry(body, number, pinned) {
  const it = number === 1 ? "It goes" : "They go";
  const message = `${it} back to the queue and to a processor again. If what was wrong is still wrong, ${number === 1 ? "it comes" : "they come"} back here.${
    pinned ? ` ${plural(pinned, "payment")} may have been charged before, and can only go to the same processor as then.` : ""}`;
  if (!(await confirmed(`Retry ${plural(number, "payment")}?`, message, "Retry"))) return;
  try {
    const { retried } = await post("/api/dead-letters/retry", body);
    selected.clear();
    await load();
    say(retried === number ? `${plural(retried, "payment")} sent again.` : `${count(retried)} of ${plural(number, "payment")} sent again; the others were no dead letters any more.`);
  } catch (error) {
    say(`Nothing is certain to have been sent again: ${error.message}`, true);
  }
  $("dead-filter").focus();
}

function say(message, bad = false) {
  $("dead-result").classList.toggle("bad", bad);
  text($("dead-result"), message);
}
