// The overview's figures, charts, money and processes.

import { Chart } from "/assets/chart.js";
import { $, announce, attribute, chip, el, keyed, row, show, text } from "/assets/dom.js";
import { clock, count, money, percent, plural, rate, span } from "/assets/format.js";
import { drawProcessors } from "/assets/processors.js";

const BOOKS = {
  agree: ["good", "agree"], differ: ["bad", "differ"], unavailable: ["warn", "not comparable"],
  never: ["plain", "not compared"], off: ["plain", "off"],
};

let charts = null;
let problemsTold = 0;

function makeCharts() {
  const parent = $("charts");
  return {
    flow: new Chart(parent, { title: "Throughput", unit: "per second", kind: "lines", format: rate }),
    backlog: new Chart(parent, { title: "Backlog", unit: "payments waiting", kind: "area", format: count }),
    processors: new Chart(parent, { title: "Settled by processor", unit: "per second", kind: "stack", format: rate }),
  };
}

/** The seconds the charts look back. */
const range = () => Number(document.querySelector("input[name=range]:checked").value);

/** Draw the charts over the last minutes before now. */
export function drawCharts(history) {
  charts ??= makeCharts();
  const to = history.at.at(-1) ?? Date.now() / 1000;
  const window = [to - range(), to];
  charts.flow.draw(history.at, [{ name: "Accepted", values: history.accepted }, { name: "Settled", values: history.settled }], window);
  charts.backlog.draw(history.at, [{ name: "Waiting", values: history.waiting }], window);
  const parts = Object.entries(history.processors).map(([name, series]) => ({ name, values: series.settled }));
  charts.processors.draw(history.at, parts, window);
}

export function onRange(redraw) {
  for (const input of document.querySelectorAll("input[name=range]")) input.addEventListener("change", redraw);
}

/** Show everything an overview says. */
export function drawOverview(overview, history) {
  drawNow(overview);
  drawMoney(overview.money);
  drawNodes(overview);
  drawProcessors(overview.processors, history);
}

function drawNow({ rates, backlog, unknown, deadLetters, audit, webhooks }) {
  text($("t-accepted"), rate(rates.accepted));
  text($("t-settled"), rate(rates.settled));
  text($("t-failed"), rates.failed > 0 ? `${rate(rates.failed)} attempts failed per second` : "");
  text($("t-waiting"), count(backlog.waiting));
  text($("t-oldest"), backlog.waiting > 0 ? `oldest for ${span(backlog.oldestAgeSeconds)}` : "nothing waits");
  text($("t-reason"), backlog.reason ?? "");
  text($("t-unknown"), count(unknown.count));
  text($("t-unknown-age"), unknown.count > 0 ? `oldest for ${span(unknown.oldestAgeSeconds)}` : "");
  text($("t-dead"), count(deadLetters.count));
  mark($("t-dead"), deadLetters.count > 0 ? "warn" : null);
  drawBooksTile(audit);
  show($("tile-webhooks"), Boolean(webhooks));
  if (webhooks) {
    text($("t-webhooks"), count(webhooks.waiting));
    text($("t-webhooks-age"), webhooks.waiting > 0 ? `oldest for ${span(webhooks.oldestAgeSeconds)}` : "");
  }
}

function drawBooksTile(audit) {
  const [kind, word] = BOOKS[audit.state] ?? ["plain", audit.state];
  text($("t-books"), word);
  mark($("t-books"), kind === "plain" ? null : kind);
  text($("t-books-text"), booksRemark(audit));
}

function booksRemark({ state, at, text: remark, differences }) {
  if (state === "agree") return at ? `compared at ${clock(at)}` : "";
  return state === "differ" && differences ? plural(differences, "difference") : (remark ?? "");
}

function mark(node, kind) {
  attribute(node, "class", kind);
}

/** Problems are shown as they are; a screen reader hears only when their number changes, as their words may tick. */
export function drawProblems(problems) {
  show($("problems"), problems.length > 0);
  text($("problems-title"), plural(problems.length, "problem"));
  const nodes = keyed($("problems-list"), problems.map((_, index) => String(index)), () => el("li"));
  problems.forEach((problem, index) => text(nodes.get(String(index)), problem));
  if (problems.length !== problemsTold) {
    announce(problems.length ? `${plural(problems.length, "problem")}: ${problems.join("; ")}` : "All problems are gone");
    problemsTold = problems.length;
  }
  document.title = problems.length ? `${plural(problems.length, "problem")} · Payrouter` : "Payrouter";
}

/** What waits for somebody, beside the names of the sections. */
export function drawBadges({ deadLetters, audit }) {
  show($("nav-dead"), deadLetters.count > 0);
  text($("nav-dead"), count(deadLetters.count));
  show($("nav-books"), audit.state === "differ");
  text($("nav-books"), audit.differences ? count(audit.differences) : "!");
}

function drawMoney(all) {
  text($("m-amount"), money(all.amount));
  text($("m-count"), plural(all.settled, "payment"));
  text($("m-fees"), money(all.fees));
  text($("m-rate"), Number(all.amount) > 0 ? `${percent(Number(all.fees) / Number(all.amount), 2)} of what was settled` : "");
  text($("m-saved"), money(all.savedAgainstDearest));
  text($("m-lost"), money(all.lostAgainstCheapest));
}

function drawNodes({ nodes, engine, clustered }) {
  text($("engine"), clustered ? `Cluster on ${engine}` : `One file: ${engine}`);
  const rows = keyed($("nodes"), nodes.map((one) => `${one.name} ${one.host} ${one.pid}`), () =>
    row(["Process", el("strong")], ["Leads", el("span")], ["Host", el("span")], ["Up for", el("span"), "num"], ["CPU, mean", el("span"), "num"], ["Memory", el("span"), "num"], ["Last seen", el("span"), "num"]));
  [...rows.values()].forEach((tr, index) => {
    const one = nodes[index];
    const cells = [...tr.cells].map((cell) => cell.firstChild);
    text(cells[0], one.name);
    if (cells[1].dataset.leads !== String(one.leads)) {
      cells[1].dataset.leads = String(one.leads);
      cells[1].replaceChildren(one.leads ? chip("good", "usable", "leads") : "–");
    }
    text(cells[2], `${one.host}, pid ${one.pid}`);
    text(cells[3], span(one.uptimeSeconds));
    text(cells[4], percent(one.cpu, 0));
    text(cells[5], one.memoryMb === null || one.memoryMb === undefined ? "–" : `${one.memoryMb.toFixed(1)} MB`);
    text(cells[6], one.seenSecondsAgo < 1.5 ? "now" : `${span(one.seenSecondsAgo)} ago`);
  });
}
