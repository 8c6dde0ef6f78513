// A hundred questions, asked again and again by several clients. Nearly every answer has to come
// from the cache, and to be the very bytes that the store gave the first time.
//
// PROXY_URL names a sidecar with the cache on; the collection `hot` is made and dropped here.

import http from "k6/http";
import { check } from "k6";
import { Rate } from "k6/metrics";
import { HEADERS, PROXY_URL, ok, vectorOf } from "./qdrant.js";

const QUESTIONS = 100;
const POINTS = 2000;
const SIZE = 64;

const hits = new Rate("cache_hits");

export const options = {
  scenarios: {
    hot: {
      executor: "constant-vus",
      vus: Number(__ENV.VUS || 16),
      duration: __ENV.DURATION || "15s",
      gracefulStop: "5s",
    },
  },
  thresholds: {
    iterations: ["count>1000"],
    checks: ["rate==1"],
    http_req_failed: ["rate==0"],
    cache_hits: ["rate>0.99"],
  },
};

export function setup() {
  http.del(`${PROXY_URL}/collections/hot`);
  ok("PUT", "/collections/hot", { vectors: { size: SIZE, distance: "Cosine" } });
  const points = Array.from({ length: POINTS }, (_, id) => ({ id, vector: vectorOf(id, SIZE) }));
  ok("PUT", "/collections/hot/points?wait=true", { points });
  return Array.from({ length: QUESTIONS }, (_, number) => {
    const answer = ask(number);
    return answer.body;
  });
}

export default function (answers) {
  const number = Math.floor(Math.random() * QUESTIONS);
  const answer = ask(number);
  hits.add(answer.headers["X-Outrigger-Cache"] === "hit-l1");
  check(answer, {
    "status 200": () => answer.status === 200,
    "the very bytes of the first answer": () => answer.body === answers[number],
  });
}

export function teardown() {
  http.del(`${PROXY_URL}/collections/hot`);
}

function ask(number) {
  const question = { query: vectorOf(POINTS + number, SIZE), limit: 10, with_payload: true };
  return http.post(`${PROXY_URL}/collections/hot/points/query`, JSON.stringify(question), {
    headers: HEADERS,
  });
}
