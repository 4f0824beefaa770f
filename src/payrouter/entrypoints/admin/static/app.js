// The page: session, live overviews, and what each part does with them.

import { booksCompared, hideBooks, showBooks, startBooks } from "/assets/books.js";
import { deadLettersCounted, hideDeadLetters, showDeadLetters, startDeadLetters } from "/assets/deadletters.js";
import { $, announce, attribute, show, text } from "/assets/dom.js";
import { clock } from "/assets/format.js";
import { History } from "/assets/history.js";
import { listen } from "/assets/live.js";
import { get, openSession, signOut } from "/assets/net.js";
import { drawBadges, drawCharts, drawOverview, drawProblems, onRange } from "/assets/overview.js";
import { hidePayment, showPayment } from "/assets/payment.js";
import { follow } from "/assets/views.js";

const THEMES = ["system", "light", "dark"];

let series = History.empty();
let overview = null;
let view = () => "overview";
let wasAway = false;

/** Draw what changed. A page nobody looks at draws nothing, and makes up for it when it is looked at. */
function draw() {
  if (overview === null || document.hidden) return;
  drawProblems(overview.problems);
  drawBadges(overview);
  text($("version"), overview.version);
  if (view() !== "overview") return;
  drawOverview(overview, series);
  drawCharts(series);
}

function onOverview(one) {
  overview = one;
  series.add(one);
  deadLettersCounted(one.deadLetters.count);
  booksCompared(one.audit.at);
  draw();
}

/** The minutes before this connection, those without one included. */
async function loadHistory() {
  try {
    series = new History(await get("/api/history"));
    if (overview !== null) series.add(overview);
    draw();
  } catch (error) {
    if (error.status !== 401) announce(`The last minutes could not be read: ${error.message}`);
  }
}

function onOpen() {
  show($("away"), false);
  setLive("live", "Live");
  if (wasAway) announce("Connected again");
  wasAway = false;
  document.documentElement.classList.remove("stale");
  loadHistory();
}

function onAway({ since, nextMs }) {
  text($("away-since"), `${clock(since)} UTC`);
  text($("away-next"), `Trying again in ${Math.round(nextMs / 1000)} s.`);
  show($("away"), true);
  setLive("away", "Not connected");
  document.documentElement.classList.add("stale");
  if (!wasAway) announce("The connection to the router is lost");
  wasAway = true;
}

function setLive(state, word) {
  $("live").dataset.state = state;
  text($("live-text"), word);
}

function startTheme() {
  const button = $("theme");
  const root = document.documentElement;
  const tell = () => {
    const name = root.dataset.theme ?? "system";
    text($("theme-name"), name);
    attribute(button, "aria-label", `Theme: ${name}`);
  };
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "system") + 1) % THEMES.length];
    if (next === "system") delete root.dataset.theme;
    else root.dataset.theme = next;
    try {
      if (next === "system") localStorage.removeItem("payrouter-theme");
      else localStorage.setItem("payrouter-theme", next);
    } catch {
      // Storage is closed to this page: the choice holds until it is left.
    }
    tell();
  });
  tell();
}

async function startSession() {
  try {
    show($("sign-out"), (await openSession()).needsToken);
  } catch (error) {
    if (error.status !== 401) announce(error.message);
  }
  $("sign-out").addEventListener("click", async () => {
    try {
      await signOut();
    } catch (error) {
      announce(error.message);
    }
  });
}

startTheme();
startDeadLetters();
startBooks();
startSession();
onRange(draw);
view = follow({
  overview: { show: draw, hide() {} },
  payment: { show: showPayment, hide: hidePayment },
  "dead-letters": { show: showDeadLetters, hide: hideDeadLetters },
  books: { show: showBooks, hide: hideBooks },
});
drawCharts(series);
document.addEventListener("visibilitychange", draw);
const stream = listen({ onOverview, onOpen, onAway });
$("away-now").addEventListener("click", () => stream.tryNow());
