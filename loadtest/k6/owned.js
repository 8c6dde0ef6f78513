// Traffic of clients that own their points, every answer checked by content: what `mode-walk` and
// `dual-write` have in common. A client is the only one to write its points, so it knows which of
// them there are, and in which version. One write to two reads.

import http from "k6/http";
import { check } from "k6";
import exec from "k6/execution";
import { Counter } from "k6/metrics";
import { HEADERS, PROXY_URL, ok, vectorOf } from "./qdrant.js";

export const ADMIN_URL = __ENV.ADMIN_URL || "http://127.0.0.1:6330";
const POINTS = 20;
const GROUPS = 4;
const SIZE = 16;
const WRITES = 0.34;

// A read that gave an older version, no point where there is one, or one that was deleted.
const stale = new Counter("stale_reads");

export const thresholds = {
  checks: ["rate==1"],
  http_req_failed: ["rate==0"],
  stale_reads: ["count==0"],
};

// The name of the collection is the scenario's own.
export function prepare(collection) {
  http.del(`${PROXY_URL}/collections/${collection}`);
  ok("PUT", `/collections/${collection}`, { vectors: { size: SIZE, distance: "Cosine" } });
  for (const field_name of ["owner", "group"]) {
    const index = { field_name, field_schema: "integer" };
    ok("PUT", `/collections/${collection}/index?wait=true`, index);
  }
}

export function drop(collection) {
  http.del(`${PROXY_URL}/collections/${collection}`);
}

// What this client wrote last, by the number of its point; deleted points are not there.
const written = new Map();
let version = 0;

export function step(collection) {
  if (written.size < POINTS / 4 || Math.random() < WRITES) {
    one([upsert, upsert, setPayload, setByFilter, remove, removeByFilter], collection);
  } else {
    one([retrieve, scroll, count, search], collection);
  }
}

function one(ways, collection) {
  ways[Math.floor(Math.random() * ways.length)](collection);
}

const idOf = (number) => exec.vu.idInTest * 1000 + number;
const groupOf = (number) => number % GROUPS;
const pick = (values) => values[Math.floor(Math.random() * values.length)];
const inGroup = (group) => [...written.keys()].filter((number) => groupOf(number) === group);

function mine(group) {
  const must = [{ key: "owner", match: { value: exec.vu.idInTest } }];
  return { must: group === undefined ? must : [...must, { key: "group", match: { value: group } }] };
}

// --- Writes

function upsert(collection) {
  version += 1;
  const numbers = [0, 1].map(() => Math.floor(Math.random() * POINTS));
  const points = numbers.map((number) => ({
    id: idOf(number),
    vector: vectorOf(idOf(number), SIZE),
    payload: { owner: exec.vu.idInTest, number, group: groupOf(number), version },
  }));
  done(call(collection, "PUT", "points?wait=true", { points }));
  numbers.forEach((number) => written.set(number, version));
}

function setPayload(collection) {
  version += 1;
  const number = pick([...written.keys()]);
  if (number === undefined) {
    return;
  }
  const body = { payload: { version }, points: [idOf(number)] };
  done(call(collection, "POST", "points/payload?wait=true", body));
  written.set(number, version);
}

function setByFilter(collection) {
  version += 1;
  const group = Math.floor(Math.random() * GROUPS);
  const body = { payload: { version }, filter: mine(group) };
  done(call(collection, "POST", "points/payload?wait=true", body));
  inGroup(group).forEach((number) => written.set(number, version));
}

function remove(collection) {
  const number = pick([...written.keys()]);
  if (number === undefined) {
    return;
  }
  done(call(collection, "POST", "points/delete?wait=true", { points: [idOf(number)] }));
  written.delete(number);
}

function removeByFilter(collection) {
  const group = Math.floor(Math.random() * GROUPS);
  done(call(collection, "POST", "points/delete?wait=true", { filter: mine(group) }));
  inGroup(group).forEach((number) => written.delete(number));
}

function done(answer) {
  check(answer, { "written": () => answer.status === 200 });
}

// --- Reads

function retrieve(collection) {
  const numbers = Array.from({ length: POINTS }, (_, number) => number);
  const body = { ids: numbers.map(idOf), with_payload: true };
  judge(call(collection, "POST", "points", body), (result) => result, [...written.keys()]);
}

function scroll(collection) {
  const group = Math.floor(Math.random() * GROUPS);
  const body = { filter: mine(group), limit: POINTS, with_payload: true };
  judge(call(collection, "POST", "points/scroll", body), (result) => result.points, inGroup(group));
}

function count(collection) {
  const answer = call(collection, "POST", "points/count", { filter: mine(), exact: true });
  told(answer.status === 200 && answer.json("result").count === written.size);
}

function search(collection) {
  const number = pick([...written.keys()]);
  if (number === undefined) {
    return;
  }
  const query = vectorOf(idOf(number), SIZE);
  const body = { query, filter: mine(groupOf(number)), limit: 1, with_payload: true };
  judge(call(collection, "POST", "points/query", body), (result) => result.points, [number]);
}

// These points and no others, each in the version that was written last.
function judge(answer, of, numbers) {
  const points = answer.status === 200 ? of(answer.json("result")) : [];
  const isRight = (point) => written.get(point.payload.number) === point.payload.version;
  told(points.length === numbers.length && points.every(isRight));
}

function told(isRight) {
  stale.add(isRight ? 0 : 1);
  check(isRight, { "what was written last": () => isRight });
}

function call(collection, method, path, body) {
  const url = `${PROXY_URL}/collections/${collection}/${path}`;
  const kind = path.includes("wait=") ? "write" : "read";
  return http.request(method, url, JSON.stringify(body), { headers: HEADERS, tags: { kind } });
}

// --- The admin side

export function admin(method, path, body) {
  const asked = { headers: HEADERS, tags: { kind: "admin" }, timeout: "60s" };
  // 409 is an answer as well: not now, and why.
  asked.responseCallback = http.expectedStatuses(200, 409);
  return http.request(method, `${ADMIN_URL}${path}`, body && JSON.stringify(body), asked);
}

// Whether nothing is left to compare, and at most so many marks wait.
export function inSync(waitingMax) {
  const directions = admin("GET", "/api/sync").json("directions").filter((of) => of.followed);
  return directions.every(
    (of) =>
      of.waiting <= waitingMax && of.dead_letters === 0 && of.sweeping === null &&
      of.sweeps.length === 0 && of.blocked.length === 0,
  );
}
