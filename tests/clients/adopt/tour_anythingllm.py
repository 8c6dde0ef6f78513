"""AnythingLLM. It is a server in JavaScript, so what its providers say is said here: the statements
of its pgvector provider to the table, the requests of its Qdrant provider to Outrigger.
"""

from __future__ import annotations

import json
import unittest
from typing import Any

import httpx
import psycopg2
import psycopg2.extras

from adopt import memories, scene
from adopt.scene import Found

TABLE = '"anythingllm_vectors"'


class AnythingLlm(scene.Adapter):
    # A workspace; all of them are in the one table.
    name = "my-workspace"

    def __init__(self, address: str, database: str) -> None:
        super().__init__(address, database)
        self.memories = memories.memories()
        self.own = psycopg2.connect(address)
        self.own.autocommit = True

    def ask(self, statement: str, *values: Any) -> list[tuple]:
        with self.own.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()

    def write(self) -> None:
        with self.own.cursor() as cursor:
            cursor.execute("create extension if not exists vector")
            cursor.execute(
                f"create table if not exists {TABLE} (id uuid primary key, namespace text, "
                f"embedding vector({memories.SIZE}), metadata jsonb, "
                "created_at timestamp default current_timestamp)"
            )
            other = memories.memories()[:5]
            rows = [(one.id, self.name, one) for one in self.memories]
            rows += [
                (f"{n:08}-0000-4000-8000-000000000000", "other", one) for n, one in enumerate(other)
            ]
            for id, namespace, one in rows:
                metadata = json.dumps({**one.metadata, "text": one.text})
                cursor.execute(
                    f"insert into {TABLE} (id, namespace, embedding, metadata) "
                    "values (%s, %s, %s, %s)",
                    (id, namespace, json.dumps(one.vector), metadata),
                )

    def settings(self) -> str:
        return f'[collections.{self.name}]\nadopt = "anythingllm"\n'

    def request(self, method: str, path: str, body: dict | None = None) -> Any:
        answer = self.http.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json()["result"]

    def connect(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=60)
        # Before everything it does.
        assert "status" in self.request("GET", "/cluster")
        assert self.request("GET", f"/collections/{self.name}")["points_count"] == 50

    def write_twin(self, url: str) -> None:
        path = f"/collections/{self.twin}"
        self.request("PUT", path, {"vectors": {"size": memories.SIZE, "distance": "Cosine"}})
        batch = {
            "ids": [one.id for one in self.memories],
            "vectors": [one.vector for one in self.memories],
            "payloads": [{**one.metadata, "text": one.text} for one in self.memories],
        }
        done = self.request("PUT", f"{path}/points?wait=true", {"batch": batch})
        assert done["status"] == "completed"

    def found(self, id: str, payload: dict, score: float | None = None) -> Found:
        return Found(str(id), payload["text"], payload, score)

    # Its searches know no filter. That of the other tests is asked for all the same.
    def table_search(self, text: str, limit: int, kind: str | None = None) -> list[Found]:
        rows = self.ask(
            f"select embedding <=> %s as _distance, metadata, id from {TABLE} where namespace = %s "
            "and (%s::text is null or metadata->>'kind' = %s) order by _distance asc limit %s",
            *(json.dumps(memories.embed(text)), self.name, kind, kind, limit),
        )
        return [self.found(id, payload, 1.0 - distance) for distance, payload, id in rows]

    def wanted(self, kind: str | None) -> dict:
        return {"filter": {"must": [{"key": "kind", "match": {"value": kind}}]}} if kind else {}

    def qdrant_search(self, text: str, limit: int, kind: str | None = None) -> list[Found]:
        body = {"vector": memories.embed(text), "limit": limit, "with_payload": True}
        body |= self.wanted(kind)
        hits = self.request("POST", f"/collections/{self.name}/points/search", body)
        return [self.found(one["id"], one["payload"], one["score"]) for one in hits]

    def table_get(self, ids: list[str]) -> list[Found]:
        rows = self.ask(f"select id, metadata from {TABLE} where id::text in %s", tuple(ids))
        return [self.found(*row) for row in rows]

    def qdrant_get(self, ids: list[str]) -> list[Found]:
        body = {"ids": ids, "with_payload": True}
        points = self.request("POST", f"/collections/{self.name}/points", body)
        return [self.found(one["id"], one["payload"]) for one in points]

    def table_list(self, kind: str | None = None) -> list[Found]:
        rows = self.ask(
            f"select id, metadata from {TABLE} where namespace = %s "
            "and (%s::text is null or metadata->>'kind' = %s)",
            *(self.name, kind, kind),
        )
        return [self.found(*row) for row in rows]

    def qdrant_list(self, kind: str | None = None) -> list[Found]:
        body = {"limit": 1000, "with_payload": True} | self.wanted(kind)
        page = self.request("POST", f"/collections/{self.name}/points/scroll", body)
        return [self.found(one["id"], one["payload"]) for one in page["points"]]

    def qdrant_write(self) -> None:
        answer = self.http.post(
            f"/collections/{self.name}/points/delete?wait=true",
            json={"points": [self.memories[0].id]},
        )
        raise scene.UnexpectedResponse(
            answer.status_code, answer.reason_phrase, answer.content, answer.headers
        )

    def close(self) -> None:
        self.own.close()


class AnythingLlmAdopted(scene.Adopted):
    def test_another_workspace_is_not_shown(self) -> None:
        self.assertEqual(self.adapter.ask(f"select count(*) from {TABLE}"), [(55,)])
        body = {"exact": True}
        count = self.adapter.request("POST", f"/collections/{self.adapter.name}/points/count", body)
        self.assertEqual(count, {"count": 50})
        answer = self.adapter.http.get("/collections/other")
        self.assertEqual(answer.status_code, 404)


def tests(rig: scene.Rig) -> list[unittest.TestCase]:
    return scene.tests(rig, AnythingLlmAdopted, AnythingLlm)
