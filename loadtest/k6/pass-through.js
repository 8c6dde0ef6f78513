// Requests of 7 KB through the proxy, from several clients at once, for a while. What is under
// test is that nothing is lost, cut or mixed up between clients; for speed, see `compare`.
//
// PROXY_URL names the sidecar. UPSTREAM_URL names what is behind it, which must answer every
// request with the same bytes, as the floor server does; every answer through the proxy is
// compared with what the upstream itself says. VUS and DURATION change the load.

import http from "k6/http";
import { check } from "k6";

const PROXY_URL = __ENV.PROXY_URL || "http://127.0.0.1:6333";
const UPSTREAM_URL = __ENV.UPSTREAM_URL || PROXY_URL;
const PATH = "/collections/bench/points/query";
const HEADERS = { "Content-Type": "application/json" };
const BODY_BYTES = 7 * 1024;

export const options = {
  scenarios: {
    "pass-through": {
      executor: "constant-vus",
      vus: Number(__ENV.VUS || 16),
      duration: __ENV.DURATION || "15s",
      gracefulStop: "5s",
    },
  },
  thresholds: {
    iterations: ["count>100"],
    checks: ["rate==1"],
    http_req_failed: ["rate==0"],
    // Generous: k6 itself takes most of two processors. This finds stalls, not slowness.
    http_req_duration: ["p(99)<500"],
  },
};

http.setResponseCallback(http.expectedStatuses(200));

const VECTOR = Array.from({ length: 700 }, (_, place) => Math.sin(place).toFixed(6)).join(",");

export function setup() {
  const answer = http.post(UPSTREAM_URL + PATH, body("setup"), { headers: HEADERS });
  if (answer.status !== 200) {
    throw new Error(`the upstream answers ${answer.status} instead of 200`);
  }
  return { expected: answer.body };
}

export default function ({ expected }) {
  // No two bodies are alike, so that no cache can answer for the upstream.
  const answer = http.post(PROXY_URL + PATH, body(`${__VU}-${__ITER}`), { headers: HEADERS });
  check(answer, {
    "status 200": () => answer.status === 200,
    "length is the upstream's": () => answer.body !== null && answer.body.length === expected.length,
    "bytes are the upstream's": () => answer.body === expected,
    "from the primary": () => answer.headers["X-Outrigger-Store"] === "primary",
  });
}

// A Qdrant query of exactly BODY_BYTES bytes; JSON allows the spaces at its end.
function body(tag) {
  const text = `{"query":[${VECTOR}],"limit":10,"params":{"tag":"${tag}"}}`;
  return text.padEnd(BODY_BYTES);
}
