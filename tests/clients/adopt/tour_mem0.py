"""mem0: `provider: pgvector` before, `provider: qdrant` after. Nothing is embedded again."""

from __future__ import annotations

import json
import os
import pathlib
import tempfile
import time
import unittest
import unittest.mock
import warnings
from collections.abc import Callable
from urllib.parse import urlsplit

# Its client cannot be told not to compare versions, nor to do so in time.
warnings.filterwarnings("ignore", "Qdrant client version|Failed to obtain server version")
# Read when mem0 is imported: nothing is sent anywhere, nothing is written outside our folder.
FOLDER = tempfile.TemporaryDirectory(prefix="outrigger-mem0-")
os.environ["MEM0_TELEMETRY"] = "False"
os.environ["MEM0_DIR"] = FOLDER.name

import harness  # noqa: E402
from mem0 import Memory  # noqa: E402
from mem0.embeddings.base import EmbeddingBase  # noqa: E402
from mem0.utils.factory import EmbedderFactory, LlmFactory  # noqa: E402
from qdrant_client.http.exceptions import UnexpectedResponse  # noqa: E402

from adopt import memories, scene  # noqa: E402
from adopt.scene import Found  # noqa: E402

TTL_SECONDS = 1


class Embedder(EmbeddingBase):
    def embed(self, text: str, memory_action: str | None = None) -> list[float]:
        return memories.embed(text)


def memory(provider: str, **options: object) -> Memory:
    history = pathlib.Path(FOLDER.name) / f"{provider}_{time.monotonic_ns()}.db"
    config = {
        "vector_store": {
            "provider": provider,
            "config": {"embedding_model_dims": memories.SIZE, **options},
        },
        "history_db_path": str(history),
    }
    with (
        unittest.mock.patch.object(EmbedderFactory, "create", lambda *_, **__: Embedder()),
        unittest.mock.patch.object(LlmFactory, "create", lambda *_, **__: None),
    ):
        return Memory.from_config(config)


class Mem0(scene.Adapter):
    shows_the_far = False

    def __init__(self, address: str, database: str, writable: bool = False) -> None:
        super().__init__(address, database)
        self.writable = writable
        self.through: Memory | None = None
        parts = urlsplit(address)
        self.own = memory(
            "pgvector",
            collection_name=self.name,
            dbname=database,
            user=parts.username,
            password="unasked",
            host=parts.hostname,
            port=parts.port,
            hnsw=True,
            diskann=False,
        )
        self.memories = memories.memories()
        self.inserted: list[tuple[list[float], dict, str]] = []

    def write(self) -> None:
        store = self.own.vector_store
        insert = store.insert

        def kept(vectors: list, payloads: list, ids: list) -> None:
            # To be given to the other provider too: the id and the times are made here.
            self.inserted += list(zip(vectors, json.loads(json.dumps(payloads)), ids, strict=True))
            insert(vectors=vectors, payloads=payloads, ids=ids)

        with unittest.mock.patch.object(store, "insert", kept):
            for one in self.memories:
                self.own.add(one.text, user_id="alice", metadata=one.metadata, infer=False)
        for one, (_, payload, id) in zip(self.memories, self.inserted, strict=True):
            assert payload["data"] == one.text
            one.id = id

    def settings(self) -> str:
        more = f'writable = true\nttl = "{TTL_SECONDS}s"\n' if self.writable else ""
        return f'[collections.{self.name}]\nadopt = "mem0"\n{more}'

    def connect(self, url: str) -> None:
        self.through = memory("qdrant", collection_name=self.name, url=url)

    def write_twin(self, url: str) -> None:
        store = memory("qdrant", collection_name=self.twin, url=url).vector_store
        vectors, payloads, ids = (list(column) for column in zip(*self.inserted, strict=True))
        store.insert(vectors=vectors, payloads=payloads, ids=ids)

    def found(self, one: object) -> Found:
        # The one provider cuts scores below zero off.
        score = None if getattr(one, "score", None) is None else max(0.0, one.score)
        return Found(str(one.id), one.payload["data"], one.payload, score)

    def search(self, store: object, text: str, limit: int, kind: str | None) -> list[Found]:
        filters = {"kind": kind} if kind else None
        vector = memories.embed(text)
        found = store.search(query=text, vectors=vector, top_k=limit, filters=filters)
        found = [self.found(one) for one in found]
        # Past the cut, all score the same, and there is no order among them.
        return [one for one in found if one.score > 0.0]

    def table_search(self, text: str, limit: int, kind: str | None = None) -> list[Found]:
        return self.search(self.own.vector_store, text, limit, kind)

    def qdrant_search(self, text: str, limit: int, kind: str | None = None) -> list[Found]:
        return self.search(self.through.vector_store, text, limit, kind)

    def table_get(self, ids: list[str]) -> list[Found]:
        return [self.found(one) for id in ids if (one := self.own.vector_store.get(id))]

    def qdrant_get(self, ids: list[str]) -> list[Found]:
        return [self.found(one) for id in ids if (one := self.through.vector_store.get(id))]

    def table_list(self, kind: str | None = None) -> list[Found]:
        filters = {"kind": kind} if kind else None
        return [self.found(one) for one in self.own.vector_store.list(filters, top_k=1000)[0]]

    def qdrant_list(self, kind: str | None = None) -> list[Found]:
        filters = {"kind": kind} if kind else None
        return [self.found(one) for one in self.through.vector_store.list(filters, top_k=1000)[0]]

    def qdrant_write(self) -> None:
        self.through.add("one more", user_id="alice", infer=False)

    def close(self) -> None:
        self.own.vector_store.connection_pool.close()


class Mem0Adopted(scene.Adopted):
    def test_the_application_sees_the_same(self) -> None:
        own, through = self.adapter.own, self.adapter.through
        for filters in ({"user_id": "alice"}, {"user_id": "alice", "kind": "b"}):
            all_of = [
                sorted(one.get_all(filters=filters, top_k=100)["results"], key=lambda x: x["id"])
                for one in (own, through)
            ]
            self.assertEqual(len(all_of[0]), 17 if "kind" in filters else 50)
            self.assert_same_json(*all_of)
        one = self.adapter.memories[9]
        self.assert_same_json(own.get(one.id), through.get(one.id))
        # The words of a search count only where there is an index of words, so: the nearest.
        [first] = through.search(one.text, filters={"user_id": "alice"}, top_k=1)["results"]
        self.assertEqual((first["id"], first["memory"]), (one.id, one.text))


class Mem0Writable(harness.Patient):
    """With `writable = true` it is one memory, whichever provider writes."""

    scene: scene.Scene

    def setUp(self) -> None:
        self.own = self.scene.adapter.own
        self.through = self.scene.adapter.through

    def seen(self, what: Callable[[], object], wanted: object) -> None:
        """Others may write to the table: an answer may be as old as the setting allows."""
        deadline = time.monotonic() + TTL_SECONDS + 5
        while (last := what()) != wanted and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertEqual(last, wanted)

    def test_a_memory_added_updated_and_deleted_is_so_in_the_table(self) -> None:
        metadata = {"kind": "new", "nested": {"a": [1, None]}, "whole": 1.0, "nothing": None}
        [added] = self.through.add("wächst nach", user_id="bob", metadata=metadata, infer=False)[
            "results"
        ]
        one = self.own.get(added["id"])
        self.assertEqual((one["memory"], one["user_id"]), ("wächst nach", "bob"))
        self.assertEqual(
            json.dumps(one["metadata"], sort_keys=True), json.dumps(metadata, sort_keys=True)
        )
        self.assertEqual(one, self.through.get(added["id"]))
        [found] = self.own.vector_store.search("", memories.embed("wächst nach"), top_k=1)
        self.assertEqual(found.id, added["id"])
        self.assertAlmostEqual(found.score, 1.0, places=5)

        self.through.update(added["id"], "ist gewachsen")
        one = self.own.get(added["id"])
        self.assertEqual(one["memory"], "ist gewachsen")
        self.assertEqual(one, self.through.get(added["id"]))
        [found] = self.own.vector_store.search("", memories.embed("ist gewachsen"), top_k=1)
        self.assertEqual(found.id, added["id"])

        self.through.delete(added["id"])
        self.assertIsNone(self.own.get(added["id"]))
        self.assertIsNone(self.through.get(added["id"]))

    def test_vectors_are_written_as_they_are_given(self) -> None:
        """The table keeps them as pgvector does, not brought to length one as Qdrant does."""
        [added] = self.through.add("of some length", user_id="bob", infer=False)["results"]
        self.addCleanup(self.through.delete, added["id"])
        table = f"select vector::text from {self.scene.adapter.name} where id = '{added['id']}'"
        written = json.loads(self.scene.server.sql(table, self.scene.database))
        for one, other in zip(written, memories.embed("of some length"), strict=True):
            self.assertAlmostEqual(one, other, places=5)

    def test_a_payload_alone_is_written(self) -> None:
        [added] = self.through.add("with a payload", user_id="bob", infer=False)["results"]
        self.addCleanup(self.through.delete, added["id"])
        self.through.vector_store.update(added["id"], payload={"topic": "x"})
        payload = self.own.vector_store.get(added["id"]).payload
        self.assertEqual((payload["topic"], payload["data"]), ("x", "with a payload"))

    def test_what_the_table_is_given_is_seen_within_the_time_set(self) -> None:
        [added] = self.own.add("straight in", user_id="carol", infer=False)["results"]
        id = added["id"]
        self.assertEqual(self.through.get(id)["memory"], "straight in")
        self.own.update(id, "changed behind")
        self.seen(lambda: self.through.get(id)["memory"], "changed behind")
        self.own.delete(id)
        self.seen(lambda: self.through.get(id), None)

    def test_all_of_a_user_are_deleted(self) -> None:
        for text in ("one", "two", "three"):
            self.through.add(text, user_id="dave", infer=False)
        self.assertEqual(len(self.own.get_all(filters={"user_id": "dave"})["results"]), 3)
        self.through.delete_all(user_id="dave")
        self.assertEqual(self.own.get_all(filters={"user_id": "dave"})["results"], [])

    def test_even_so_the_table_is_not_dropped(self) -> None:
        with self.assertRaises(UnexpectedResponse) as refused:
            self.through.reset()
        self.assertEqual(refused.exception.status_code, 403)
        self.assertEqual(
            len(self.own.get_all(filters={"user_id": "alice"}, top_k=100)["results"]), 50
        )

    def test_zz_nothing_of_the_users_schema_has_changed(self) -> None:
        self.assertEqual(self.scene.definition(), self.scene.before)
        self.assertEqual(self.scene.rows(), self.scene.rows_before)


def tests(rig: scene.Rig) -> list[unittest.TestCase]:
    return [
        *scene.tests(rig, Mem0Adopted, Mem0),
        *scene.tests(rig, Mem0Writable, Mem0, writable=True),
    ]
