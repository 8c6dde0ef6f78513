// Nine reads to each write, the reads by a Zipf law, and every read checked against what its
// writer wrote last: by id, by scrolling, by counting and by searching. A stale answer fails the
// run.
//
// PROXY_URL names a sidecar with the cache on; the collection `mixed` is made and dropped here.
// `redis-lost` is the same under the loss of Redis (the runner sees to that).

import http from "k6/http";
import { check } from "k6";
import exec from "k6/execution";
import { Counter, Rate } from "k6/metrics";
import { HEADERS, PROXY_URL, ok, vectorOf, zipf } from "./qdrant.js";

const VUS = Number(__ENV.VUS || 16);
const POINTS = 50;
const SIZE = 16;
const WRITES = 0.1;

const hits = new Rate("cache_hits");
const stale = new Counter("stale_reads");

export const options = {
  scenarios: {
    mixed: {
      executor: "constant-vus",
      vus: VUS,
      duration: __ENV.DURATION || "20s",
      gracefulStop: "5s",
    },
  },
  thresholds: {
    iterations: ["count>1000"],
    checks: ["rate==1"],
    http_req_failed: ["rate==0"],
    stale_reads: ["count==0"],
    cache_hits: [`rate>${__ENV.HITS_MIN || 0.25}`],
  },
};

export function setup() {
  http.del(`${PROXY_URL}/collections/mixed`);
  ok("PUT", "/collections/mixed", { vectors: { size: SIZE, distance: "Cosine" } });
  // The runner's settings say that `user` tells tenants apart.
  ok("PUT", "/collections/mixed/index?wait=true", { field_name: "user", field_schema: "keyword" });
}

// What this client wrote last, by the number of its point.
const written = new Map();

export default function () {
  // Every point is another user's: a write leaves the answers of the others alone.
  const number = zipf(POINTS);
  const user = `user-${exec.vu.idInTest}-${number}`;
  if (!written.has(number) || Math.random() < WRITES) {
    write(user, number);
  } else {
    read(user, number);
  }
}

export function teardown() {
  http.del(`${PROXY_URL}/collections/mixed`);
}

function idOf(number) {
  return exec.vu.idInTest * 1000 + number;
}

function write(user, number) {
  const version = (written.get(number) || 0) + 1;
  const id = idOf(number);
  const point = { id, vector: vectorOf(id, SIZE), payload: { user, number, version } };
  const answer = call("PUT", "points?wait=true", { points: [point] });
  check(answer, { "written": () => answer.status === 200 });
  written.set(number, version);
}

function read(user, number) {
  const version = written.get(number);
  const id = idOf(number);
  const of = (key, value) => ({ key, match: { value } });
  const filter = { must: [of("user", user), of("number", number)] };
  const ways = [
    () => seen(call("POST", "points", { ids: [id], with_payload: true }), (result) => result[0].payload.version),
    () => seen(call("POST", "points/scroll", { filter, limit: 2 }), (result) => result.points[0].payload.version),
    () => {
      const now = { must: [...filter.must, of("version", version)] };
      return seen(call("POST", "points/count", { filter: now, exact: true }), (result) => result.count * version);
    },
    () => {
      const query = vectorOf(id, SIZE);
      return seen(call("POST", "points/query", { query, filter, limit: 1, with_payload: true }), (result) => result.points[0].payload.version);
    },
  ];
  const found = ways[Math.floor(Math.random() * ways.length)]();
  stale.add(found === version ? 0 : 1);
  check(found, { "what was written last": () => found === version });
}

function seen(answer, of) {
  const cache = answer.headers["X-Outrigger-Cache"] || "";
  hits.add(cache.startsWith("hit"));
  return answer.status === 200 ? of(answer.json("result")) : null;
}

function call(method, path, body) {
  const url = `${PROXY_URL}/collections/mixed/${path}`;
  return http.request(method, url, JSON.stringify(body), { headers: HEADERS });
}
