// Clients write and read in dual_write, each answer checked by content, and afterwards the follower
// has everything: within a few seconds nothing waits, and it has as many points when it is the one
// that answers.
//
// PROXY_URL and ADMIN_URL name a sidecar with two stores in primary_only or dual_write; the
// collection `mirrored-k6` is made and dropped here. VUS, RATE and DURATION change the load.

import http from "k6/http";
import { check, sleep } from "k6";
import exec from "k6/execution";
import { HEADERS, PROXY_URL } from "./qdrant.js";
import { admin, drop, inSync, prepare, step, thresholds } from "./owned.js";

const COLLECTION = "mirrored-k6";
const COMPARED_SECONDS_MAX = 30;

export const options = {
  scenarios: {
    traffic: {
      executor: "constant-arrival-rate",
      rate: Number(__ENV.RATE || 200),
      duration: __ENV.DURATION || "20s",
      preAllocatedVUs: Number(__ENV.VUS || 100),
      gracefulStop: "10s",
      exec: "traffic",
    },
  },
  thresholds: {
    ...thresholds,
    iterations: ["count>500"],
    // Generous: k6 itself takes much of two processors. This finds stalls, not slowness.
    "http_req_duration{kind:write}": ["p(99)<1000", "max<5000"],
    "http_req_duration{kind:read}": ["p(99)<1000", "max<5000"],
  },
};

export function setup() {
  prepare(COLLECTION);
  become("dual_write");
  if (!synced()) {
    exec.test.abort("the stores were not compared in time");
  }
}

export function traffic() {
  step(COLLECTION);
}

export function teardown() {
  check(synced(), { "the follower has everything": (isSo) => isSo });
  const primary = everything("primary");
  become("dual_read");
  become("cutover");
  const secondary = everything("secondary");
  check(null, { "both stores have the same points": () => primary === secondary });
  become("dual_read");
  become("dual_write");
  drop(COLLECTION);
}

function become(mode) {
  const answer = admin("PUT", "/api/mode", { mode, why: "k6 dual-write" });
  if (answer.status !== 200) {
    exec.test.abort(`${mode}: ${answer.body}`);
  }
}

// As text: ids in their order, with payloads.
function everything(store) {
  const found = [];
  let offset = null;
  do {
    const body = JSON.stringify({ limit: 1000, with_payload: true, offset });
    const url = `${PROXY_URL}/collections/${COLLECTION}/points/scroll`;
    const answer = http.post(url, body, { headers: HEADERS });
    const from = answer.headers["X-Outrigger-Store"];
    check(from, { "read from the store that was meant": () => from === store });
    const page = answer.json("result");
    found.push(...page.points.map((point) => [point.id, point.payload.version]));
    offset = page.next_page_offset;
  } while (offset !== null && offset !== undefined);
  return JSON.stringify(found);
}

function synced() {
  for (let waited = 0; waited < COMPARED_SECONDS_MAX; waited += 0.2) {
    if (inSync(0)) {
      return true;
    }
    sleep(0.2);
  }
  return false;
}
