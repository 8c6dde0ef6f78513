// What the scenarios that speak Qdrant's REST API share.

import http from "k6/http";
import exec from "k6/execution";

export const PROXY_URL = __ENV.PROXY_URL || "http://127.0.0.1:6333";
export const HEADERS = { "Content-Type": "application/json" };

// A call without which the rest makes no sense.
export function ok(method, path, body) {
  const answer = http.request(method, PROXY_URL + path, JSON.stringify(body), { headers: HEADERS });
  if (answer.status !== 200) {
    exec.test.abort(`${method} ${path}: ${answer.status} ${answer.body}`);
  }
  return answer.json("result");
}

// The same vector for the same number, everywhere.
export function vectorOf(number, size) {
  return Array.from({ length: size }, (_, place) => Number(Math.sin(number * 7 + place * 3).toFixed(4)));
}

// Small numbers often, large ones seldom: as often as 1 / (number + 1).
export function zipf(count) {
  return Math.min(count - 1, Math.floor(Math.exp(Math.random() * Math.log(count + 1)) - 1));
}
