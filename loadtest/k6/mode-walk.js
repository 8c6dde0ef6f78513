// Modes walk forwards to secondary_only and back while clients write and read, each answer checked
// by content. No request may fail, no read may be stale, and no write may be held for longer than
// the fence lasts.
//
// PROXY_URL and ADMIN_URL name a sidecar with two stores in primary_only; the collection `walked-k6`
// is made and dropped here. VUS, RATE (requests per second) and DURATION change the load.

import { check, sleep } from "k6";
import exec from "k6/execution";
import { Counter, Trend } from "k6/metrics";
import { ADMIN_URL, admin, drop, inSync, prepare, step, thresholds } from "./owned.js";

const COLLECTION = "walked-k6";
const SECONDS = Number.parseInt(__ENV.DURATION || "40s", 10);
const STEPS = [
  "dual_write", "dual_read", "cutover", "secondary_only",
  "cutover", "dual_read", "dual_write", "primary_only",
];
// The rest of the time is for what is compared, and for the changes themselves.
const REST_SECONDS = SECONDS / 2 / STEPS.length;
const COMPARED_SECONDS_MAX = 30;
const TRIES = 5;

const held = new Trend("writes_held_ms");
const steps = new Counter("mode_changes");
const refused = new Counter("mode_changes_refused");

export const options = {
  scenarios: {
    traffic: {
      executor: "constant-arrival-rate",
      rate: Number(__ENV.RATE || 200),
      duration: `${SECONDS}s`,
      // Each holds one request while writes are held.
      preAllocatedVUs: Number(__ENV.VUS || 100),
      gracefulStop: "10s",
      exec: "traffic",
    },
    walk: {
      executor: "per-vu-iterations",
      vus: 1,
      iterations: 1,
      startTime: "2s",
      maxDuration: "5m",
      exec: "walk",
    },
  },
  thresholds: {
    ...thresholds,
    mode_changes: [`count==${STEPS.length}`],
    writes_held_ms: ["max<3000"],
    "http_req_duration{kind:write}": ["max<5000"],
    "http_req_duration{kind:read}": ["p(99)<1000", "max<5000"],
  },
};

export function setup() {
  prepare(COLLECTION);
  const mode = admin("GET", "/api/mode").json("mode");
  if (mode !== "primary_only") {
    exec.test.abort(`${ADMIN_URL} is in ${mode}; the walk begins in primary_only`);
  }
}

export function traffic() {
  step(COLLECTION);
}

export function walk() {
  for (const mode of STEPS) {
    if (!change(mode)) {
      return;
    }
    sleep(REST_SECONDS);
  }
}

export function teardown() {
  drop(COLLECTION);
}

function change(mode) {
  for (let attempt = 1; attempt <= TRIES; attempt += 1) {
    const answer = admin("PUT", "/api/mode", { mode, why: "k6 mode-walk" });
    const said = answer.json();
    if (answer.status === 200 && said.done) {
      steps.add(1);
      held.add(said.held_ms || 0);
      return check(compared(), { "compared in time": (isCompared) => isCompared });
    }
    refused.add(1);
    console.warn(`${mode} was refused: ${answer.body}`);
    sleep(1);
  }
  return check(null, { "a change was made in the end": () => false });
}

// Until the follower is compared whole; what is written meanwhile always waits a little.
function compared() {
  for (let waited = 0; waited < COMPARED_SECONDS_MAX; waited += 0.2) {
    if (inSync(200)) {
      return true;
    }
    sleep(0.2);
  }
  return false;
}
