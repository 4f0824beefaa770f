// One schedule, as the challenge runs it: users who ramp up and post payments, stages that change the processors, an
// auditor. Everything comes in BENCH (JSON, written by payrouter_lab.bench); nothing is fetched from elsewhere.
//
// What it tells the runner, on the console, a line each:
//   start <epoch ms>                the load begins
//   refused <user> <n> <status>     payment n of that user was not answered 2xx; status 0 = no answer
//   last <user> <n>                 n was that user's last payment (the greatest n counts)
//   audit {...}                     one comparison of the books
//   error <text>                    the test itself went wrong
//   samples <ms>:<ms> ...           when that user sent, since the start, and how long accepting took (config.samples)
//   end {...}                       the three summaries once the load has ended
// So the accepted payments are, per user, 0 to last, without the refused ones.

import http from "k6/http";
import exec from "k6/execution";
import { sleep } from "k6";
import { Counter } from "k6/metrics";

const config = JSON.parse(__ENV.BENCH);
const accepted = new Counter("accepted");
const lengthMs = config.length_s * 1000;

export const options = {
  summaryTrendStats: ["p(50)", "p(90)", "p(99)", "max", "count"],
  systemTags: [],
  discardResponseBodies: true,
  scenarios: {
    payments: {
      exec: "pay",
      executor: "ramping-vus",
      startVUs: config.users.from,
      stages: [{ target: config.users.to, duration: `${lengthMs}ms` }],
      gracefulRampDown: "0s",
      gracefulStop: "35s",
    },
    stages: {
      exec: "changeStages",
      executor: "per-vu-iterations",
      vus: 1,
      iterations: 1,
      maxDuration: `${lengthMs}ms`,
    },
    audits: {
      exec: "auditBooks",
      executor: "per-vu-iterations",
      vus: 1,
      iterations: 1,
      maxDuration: `${lengthMs + 30000}ms`,
    },
  },
};

const post = { headers: { "Content-Type": "application/json" }, timeout: "30s" };
const read = { responseType: "text", timeout: "30s" };
const admin = config.processors.map((processor) => ({
  ...read,
  headers: { "Content-Type": "application/json", "X-Rinha-Token": processor.token },
}));

// MurmurHash3's finalizer, as in payrouter_lab/bench/ids.py.
function scramble(key) {
  key ^= key >>> 16;
  key = Math.imul(key, 0x85ebca6b);
  key ^= key >>> 13;
  key = Math.imul(key, 0xc2b2ae35);
  return (key ^ (key >>> 16)) >>> 0;
}

const hex = (number, width) => number.toString(16).padStart(width, "0");
const version = `4${hex(config.salt & 0xfff, 3)}-8000`;
const stream = hex(__VU, 4);

let sent = 0;
let startedAt = 0;
let almostOver = 0;
let samples = [];

export function pay() {
  if (almostOver === 0) {
    startedAt = exec.scenario.startTime;
    almostOver = startedAt + lengthMs - 200;
  }
  const n = sent++;
  const id = `${hex(scramble(((__VU << 16) + n) ^ config.salt), 8)}-${stream}-${version}-${hex(n, 12)}`;
  const sentAt = Date.now();
  const answer = http.post(config.payments_url, `{"correlationId":"${id}","amount":${config.amount}}`, post);
  if (answer.status >= 200 && answer.status < 300) {
    accepted.add(1);
    if (config.samples) {
      samples.push(`${sentAt - startedAt}:${answer.timings.duration.toFixed(2)}`);
    }
  } else {
    console.log(`refused ${__VU} ${n} ${answer.status}`);
  }
  sleep(1);
  if (Date.now() > almostOver) {
    console.log(`last ${__VU} ${n}`);
    if (samples.length > 0) {
      console.log(`samples ${samples.join(" ")}`);
      samples = [];
    }
  }
}

function sleepUntil(instantMs) {
  const left = instantMs - Date.now();
  if (left > 0) {
    sleep(left / 1000);
  }
}

export function changeStages() {
  const start = exec.scenario.startTime;
  console.log(`start ${start}`);
  for (const stage of config.stages) {
    sleepUntil(start + stage.at_s * 1000);
    const calls = config.processors.flatMap((processor, i) => {
      const state = stage[processor.name];
      const base = `${processor.url}/admin/configurations`;
      return [
        ["PUT", `${base}/delay`, JSON.stringify({ delay: state.delay_ms }), admin[i]],
        ["PUT", `${base}/failure`, JSON.stringify({ failure: state.failing }), admin[i]],
      ];
    });
    for (const answer of http.batch(calls)) {
      if (answer.status !== 200) {
        console.log(`error stage at ${stage.at_s} s: ${answer.url} was answered ${answer.status}`);
      }
    }
  }
}

// All three at once; `query` is empty for everything.
function summaries(query) {
  const calls = config.processors.map((processor, i) => [
    "GET",
    `${processor.url}/admin/payments-summary${query}`,
    null,
    admin[i],
  ]);
  const [ours, ...theirs] = http.batch([["GET", config.summary_url + query, null, read], ...calls]);
  const wrong = [ours, ...theirs].filter((answer) => answer.status !== 200);
  if (wrong.length > 0) {
    return { error: wrong.map((answer) => `${answer.url} was answered ${answer.status}`).join("; ") };
  }
  return { ours: ours.json(), theirs: theirs.map((answer) => answer.json()) };
}

function differences(found) {
  if (found.error) {
    return [found.error];
  }
  return config.processors.flatMap(({ name }, i) => {
    const ours = found.ours[name] || {};
    const theirs = found.theirs[i];
    const same =
      ours.totalRequests === theirs.totalRequests &&
      Math.round(ours.totalAmount * 100) === Math.round(theirs.totalAmount * 100);
    return same ? [] : [`${name}: ours ${ours.totalRequests}, theirs ${theirs.totalRequests}`];
  });
}

export function auditBooks() {
  const { period_s, lookback_s, lag_s } = config.audit;
  const start = exec.scenario.startTime;
  for (let at = period_s; at <= config.length_s; at += period_s) {
    sleepUntil(start + at * 1000);
    const now = Date.now();
    const from = new Date(now - lookback_s * 1000).toISOString();
    const to = new Date(now - lag_s * 1000).toISOString();
    const found = differences(summaries(`?from=${from}&to=${to}`));
    console.log(`audit ${JSON.stringify({ at_s: at, from, to, differences: found })}`);
  }
}

export function teardown() {
  const found = summaries("");
  console.log(found.error ? `error at the end: ${found.error}` : `end ${JSON.stringify(found)}`);
}

export function handleSummary(data) {
  const latency = data.metrics.http_req_duration.values;
  const total = data.metrics.accepted ? data.metrics.accepted.values.count : 0;
  return { [config.result_file]: JSON.stringify({ accepted: total, latency }) };
}
