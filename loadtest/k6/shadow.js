// Clients write and read in dual_read while every read runs at the follower too, each answer checked
// by content. At the end the books have to balance: every read was compared, or it is told why not;
// and with nothing under way both stores find the same.
//
// PROXY_URL and ADMIN_URL name a sidecar with two stores, shadow.sample = 1.0 and no cache, in a mode
// before cutover; the collection `shadowed-k6` is made and dropped here. VUS, RATE and DURATION change
// the load.

import http from "k6/http";
import { check, sleep } from "k6";
import exec from "k6/execution";
import { Trend } from "k6/metrics";
import { HEADERS, PROXY_URL, vectorOf } from "./qdrant.js";
import { ADMIN_URL, admin, drop, inSync, prepare, step, thresholds } from "./owned.js";

const COLLECTION = "shadowed-k6";
const SECONDS_MAX = 60;
const QUIET_SEARCHES = 200;
// The reads that are compared, as `outrigger_requests_total` names them.
const READS = ["get_points", "scroll_points", "count_points", "query_points"];

const overlap = new Trend("quiet_overlap_mean");
const compared = new Trend("reads_compared");
const dropped = new Trend("reads_dropped");

export const options = {
  scenarios: {
    traffic: {
      executor: "constant-arrival-rate",
      rate: Number(__ENV.RATE || 200),
      duration: __ENV.DURATION || "20s",
      // Few, so that each has points to read.
      preAllocatedVUs: Number(__ENV.VUS || 20),
      gracefulStop: "10s",
      exec: "traffic",
    },
  },
  teardownTimeout: "180s",
  thresholds: {
    ...thresholds,
    iterations: ["count>500"],
    quiet_overlap_mean: ["min>=0.95"],
    reads_compared: ["min>500"],
    // Generous: k6 itself takes much of two processors. This finds stalls, not slowness.
    "http_req_duration{kind:write}": ["p(99)<1000", "max<5000"],
    "http_req_duration{kind:read}": ["p(99)<1000", "max<5000"],
  },
};

export function setup() {
  prepare(COLLECTION);
  become("dual_write");
  until("the stores are compared", () => inSync(0));
  become("dual_read");
}

export function traffic() {
  step(COLLECTION);
}

export function teardown() {
  until("the follower has everything", () => inSync(0));
  until("every read is accounted for", () => accounted(scrape()));
  const before = scrape();
  const said = { "the books balance": () => accounted(before) };
  said["searches were compared"] = () => sum(before, "outrigger_shadow_overlap_ratio_count") > 0;
  said["no read was found to be wrong"] = () =>
    sum(before, "outrigger_shadow_reads_total", 'class="real"') === 0;
  said["both sides were timed"] = () =>
    ["authority", "follower"].every(
      (side) => sum(before, "outrigger_shadow_latency_seconds_count", `side="${side}"`) > 0,
    );
  check(null, said);
  compared.add(sum(before, "outrigger_shadow_reads_total"));
  dropped.add(sum(before, "outrigger_shadow_dropped_total"));
  quietSearches(before);
  become("dual_write");
  drop(COLLECTION);
}

// Nothing is written any more: what both stores find is to be the same.
function quietSearches(before) {
  for (let number = 0; number < QUIET_SEARCHES; number += 1) {
    const body = JSON.stringify({ query: vectorOf(number, 16), limit: 10 });
    const url = `${PROXY_URL}/collections/${COLLECTION}/points/query`;
    const answer = http.post(url, body, { headers: HEADERS, tags: { kind: "quiet" } });
    check(answer, { "searched": () => answer.status === 200 });
  }
  until("every search is accounted for", () => accounted(scrape()));
  const after = scrape();
  const grown = (name) => sum(after, name) - sum(before, name);
  const count = grown("outrigger_shadow_overlap_ratio_count");
  const lost = grown("outrigger_shadow_dropped_total") + grown("outrigger_shadow_skipped_total");
  check(null, { "every search was compared or dropped": () => count + lost === QUIET_SEARCHES });
  overlap.add(count > 0 ? grown("outrigger_shadow_overlap_ratio_sum") / count : 0);
}

// Every read that was answered was compared, or dropped, or skipped for a reason.
function accounted(scraped) {
  const reads = READS.map((read) =>
    sum(scraped, "outrigger_requests_total", `operation="${read}"`, 'status="200"'),
  );
  const found = [
    "outrigger_shadow_reads_total",
    "outrigger_shadow_dropped_total",
    "outrigger_shadow_skipped_total",
  ].map((name) => sum(scraped, name));
  const all = (values) => values.reduce((one, other) => one + other, 0);
  return all(reads) === all(found);
}

function scrape() {
  const answer = http.get(`${ADMIN_URL}/metrics`, { tags: { kind: "admin" } });
  return answer.body.split("\n");
}

// Over all lines of this name that have these labels.
function sum(lines, name, ...labels) {
  const fits = (line) =>
    line.split(/[ {]/, 1)[0] === name && labels.every((label) => line.includes(label));
  const values = lines.filter(fits).map((line) => Number(line.slice(line.lastIndexOf(" "))));
  return values.reduce((one, other) => one + other, 0);
}

function become(mode) {
  const answer = admin("PUT", "/api/mode", { mode, why: "k6 shadow" });
  if (answer.status !== 200) {
    exec.test.abort(`${mode}: ${answer.body}`);
  }
}

function until(what, holds) {
  let is = holds();
  for (let waited = 0; !is && waited < SECONDS_MAX; waited += 0.2) {
    sleep(0.2);
    is = holds();
  }
  check(is, { [what]: () => is });
}
