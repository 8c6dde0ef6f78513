// Does every door answer as it should? A few seconds, one client, no load.
//
// PROXY_URL and ADMIN_URL name the sidecar. COLLECTION names a collection that is there, when the
// upstream is a real Qdrant; the floor server answers for any.

import http from "k6/http";
import { check } from "k6";

const PROXY_URL = __ENV.PROXY_URL || "http://127.0.0.1:6333";
const ADMIN_URL = __ENV.ADMIN_URL || "http://127.0.0.1:6330";
const COLLECTION = __ENV.COLLECTION || "bench";
const ROUNDS = 10;

const JSON_TYPE = /^application\/json\b/;
// Prometheus takes either of its two text formats.
const METRICS_TYPE = /^(text\/plain|application\/openmetrics-text)\b/;
const HEALTH_TYPE = /^(text\/plain|application\/json)\b/;

export const options = {
  scenarios: {
    smoke: { executor: "shared-iterations", vus: 1, iterations: ROUNDS, maxDuration: "30s" },
  },
  thresholds: {
    // Without the count, a run cut short by maxDuration would pass on the rounds it managed.
    iterations: [`count==${ROUNDS}`],
    checks: ["rate==1"],
    http_req_failed: ["rate==0"],
  },
};

// What counts as failed in http_req_failed, unless a request says otherwise.
http.setResponseCallback(http.expectedStatuses(200));

export default function () {
  adminSide();
  proxy();
}

function adminSide() {
  expect("GET /healthz", http.get(`${ADMIN_URL}/healthz`), { type: HEALTH_TYPE });
  expect("GET /readyz", http.get(`${ADMIN_URL}/readyz`), { type: HEALTH_TYPE });

  const metrics = http.get(`${ADMIN_URL}/metrics`);
  expect("GET /metrics", metrics, { type: METRICS_TYPE });
  check(metrics, {
    "GET /metrics: has metrics of the sidecar": (answer) => /^outrigger_\w+/m.test(answer.body),
  });

  const status = http.get(`${ADMIN_URL}/api/status`);
  expect("GET /api/status", status, { type: JSON_TYPE });
  check(status, { "GET /api/status: is a JSON object": (answer) => isObject(answer) });
}

function proxy() {
  expectFromPrimary("GET /collections", http.get(`${PROXY_URL}/collections`));

  // A query without a vector suits a collection of any dimension.
  const query = JSON.stringify({ limit: 1, with_payload: true });
  const headers = { "Content-Type": "application/json" };
  const path = `/collections/${COLLECTION}/points/query`;
  expectFromPrimary("POST query", http.post(`${PROXY_URL}${path}`, query, { headers }));

  // A path nobody knows passes through. Qdrant answers 404, the floor server 200; both are the
  // upstream's word, and neither is a failure of the sidecar.
  const unknown = http.get(`${PROXY_URL}/no/such/path?of=qdrant`, {
    responseCallback: http.expectedStatuses(200, 404),
  });
  check(unknown, {
    "unknown path: status is the upstream's": (answer) => [200, 404].includes(answer.status),
    "unknown path: from the primary": (answer) => isFromPrimary(answer),
  });
}

function expectFromPrimary(name, answer) {
  expect(name, answer, { type: JSON_TYPE });
  check(answer, {
    [`${name}: Qdrant's envelope`]: () => isObject(answer) && answer.json("status") === "ok",
    [`${name}: from the primary`]: () => isFromPrimary(answer),
  });
}

function expect(name, answer, { type }) {
  check(answer, {
    [`${name}: status 200`]: () => answer.status === 200,
    [`${name}: content type`]: () => type.test(answer.headers["Content-Type"]),
  });
}

// k6 writes header names with capitals, whatever came over the wire.
function isFromPrimary(answer) {
  return answer.headers["X-Outrigger-Store"] === "primary";
}

function isObject(answer) {
  try {
    const value = answer.json();
    return value !== null && typeof value === "object" && !Array.isArray(value);
  } catch (_notJson) {
    return false;
  }
}
