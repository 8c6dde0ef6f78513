"""mem0 with its Qdrant provider, as an agent's memory uses it. Nothing is inferred: no model."""

from __future__ import annotations

import os
import pathlib
import tempfile
import unittest
import unittest.mock
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

# Its client cannot be told not to compare versions, nor to do so in time.
warnings.filterwarnings("ignore", "Qdrant client version|Failed to obtain server version")
# Read when mem0 is imported: nothing is sent anywhere, nothing is written outside our folder.
FOLDER = tempfile.TemporaryDirectory(prefix="outrigger-mem0-")
os.environ["MEM0_TELEMETRY"] = "False"
os.environ["MEM0_DIR"] = FOLDER.name

import embeddings  # noqa: E402
import harness  # noqa: E402
import numpy  # noqa: E402
from mem0 import AsyncMemory, Memory  # noqa: E402
from mem0.embeddings.base import EmbeddingBase  # noqa: E402
from mem0.utils.factory import EmbedderFactory, LlmFactory  # noqa: E402
from mem0.vector_stores.qdrant import Qdrant  # noqa: E402
from qdrant_client import QdrantClient  # noqa: E402


def tests(target: harness.Target) -> list[unittest.TestCase]:
    Mem0.target = target
    return list(unittest.defaultTestLoader.loadTestsFromTestCase(Mem0))


class Words(EmbeddingBase):
    def embed(self, text: str, memory_action: str | None = None) -> list[float]:
        return embeddings.embed(text)


@dataclass
class SparseParts:
    indices: numpy.ndarray
    values: numpy.ndarray


class SparseWords:
    """In the place of fastembed's encoder."""

    def embed(self, texts: list[str]) -> Iterator[SparseParts]:
        for text in texts:
            vector = numpy.array(embeddings.embed(text))
            indices = numpy.flatnonzero(vector >= 1.0)
            yield SparseParts(indices, vector[indices])


class Mem0(harness.Patient):
    target: harness.Target

    def setUp(self) -> None:
        encoder = unittest.mock.patch.object(Qdrant, "_get_bm25_encoder", lambda _: SparseWords())
        encoder.start()
        self.addCleanup(encoder.stop)
        for factory, made in ((EmbedderFactory, Words()), (LlmFactory, None)):
            patch = unittest.mock.patch.object(factory, "create", lambda *_, made=made, **__: made)
            patch.start()
            self.addCleanup(patch.stop)
        self.name = f"mem0_{uuid.uuid4().hex[:6]}"
        self.client = QdrantClient(
            url=self.target.url, api_key=self.target.api_key, check_compatibility=False
        )
        self.addCleanup(self.client.close)
        for name in (self.name, f"{self.name}_entities"):
            self.addCleanup(self.client.delete_collection, name)

    def config(self) -> dict:
        options = {
            "collection_name": self.name,
            "embedding_model_dims": embeddings.SIZE,
            "url": self.target.url,
        }
        if self.target.api_key:
            options["api_key"] = self.target.api_key
        history = pathlib.Path(FOLDER.name) / f"{self.name}.db"
        return {
            "vector_store": {"provider": "qdrant", "config": options},
            "history_db_path": str(history),
        }

    def memory(self) -> Memory:
        return Memory.from_config(self.config())

    def add(self, memory: Memory, text: str, user: str = "alice", **metadata: object) -> str:
        [added] = memory.add(text, user_id=user, metadata=metadata, infer=False)["results"]
        self.assertEqual((added["event"], added["memory"]), ("ADD", text))
        return added["id"]

    def test_keywords_are_searched_beside_the_meaning(self) -> None:
        memory = self.memory()
        tea = self.add(memory, "likes green tea")
        self.add(memory, "has a lazy dog")
        [record] = self.client.retrieve(self.name, ids=[tea], with_vectors=True)
        self.assertEqual(set(record.vector), {"", "bm25"})
        filters = {"user_id": "alice"}
        found = memory.vector_store.keyword_search("tea", top_k=5, filters=filters)
        self.assertEqual([one.id for one in found], [tea])
        self.assertGreater(found[0].score, 0.0)

    def test_the_collection_is_made_as_mem0_wants_it(self) -> None:
        self.memory()
        info = self.client.get_collection(self.name)
        self.assertEqual(info.config.params.vectors.size, embeddings.SIZE)
        self.assertEqual(set(info.config.params.sparse_vectors), {"bm25"})
        fields = {"user_id", "agent_id", "run_id", "actor_id"}
        self.assertEqual(set(info.payload_schema), fields)
        # Every start asks for the indexes again.
        self.memory()
        self.assertEqual(set(self.client.get_collection(self.name).payload_schema), fields)

    def test_memories_are_added_searched_and_kept_apart_by_user(self) -> None:
        memory = self.memory()
        tea = self.add(memory, "likes green tea")
        self.add(memory, "has a lazy dog")
        self.add(memory, "likes green tea", user="bob")
        found = memory.search("green tea", filters={"user_id": "alice"}, threshold=0.1)["results"]
        self.assertEqual(found[0]["id"], tea)
        self.assertEqual(found[0]["memory"], "likes green tea")
        self.assertEqual({one["user_id"] for one in found}, {"alice"})
        all_of = memory.get_all(filters={"user_id": "alice"})["results"]
        self.assertEqual(
            sorted(one["memory"] for one in all_of), ["has a lazy dog", "likes green tea"]
        )

    def test_messages_become_memories_with_roles(self) -> None:
        memory = self.memory()
        messages = [
            {"role": "user", "content": "I moved to Paris"},
            {"role": "assistant", "content": "How nice"},
        ]
        added = memory.add(messages, user_id="alice", agent_id="helper", infer=False)["results"]
        self.assertEqual([one["role"] for one in added], ["user", "assistant"])
        found = memory.get_all(filters={"user_id": "alice", "agent_id": "helper"})["results"]
        self.assertEqual(len(found), 2)

    def test_a_memory_is_read_updated_and_deleted(self) -> None:
        memory = self.memory()
        added = self.add(memory, "likes tea", topic="drinks")
        one = memory.get(added)
        self.assertEqual((one["memory"], one["metadata"]["topic"]), ("likes tea", "drinks"))
        memory.update(added, "likes coffee")
        one = memory.get(added)
        self.assertEqual((one["memory"], one["user_id"]), ("likes coffee", "alice"))
        found = memory.search("coffee", filters={"user_id": "alice"}, threshold=0.1)["results"]
        self.assertEqual([one["id"] for one in found], [added])
        events = [event["event"] for event in memory.history(added)]
        self.assertEqual(sorted(events), ["ADD", "UPDATE"])
        memory.delete(added)
        self.assertIsNone(memory.get(added))

    def test_metadata_filters(self) -> None:
        memory = self.memory()
        for number, kind in enumerate(("a", "b", "c"), 1):
            self.add(memory, f"note {number}", kind=kind, number=number)

        def notes(filters: dict) -> list[str]:
            filters = {"user_id": "alice", **filters}
            found = memory.search("note", filters=filters, threshold=0.0)["results"]
            return sorted(one["memory"] for one in found)

        self.assertEqual(notes({"kind": "a"}), ["note 1"])
        self.assertEqual(notes({"kind": {"in": ["a", "b"]}}), ["note 1", "note 2"])
        self.assertEqual(notes({"kind": {"ne": "a"}}), ["note 2", "note 3"])
        self.assertEqual(notes({"number": {"gte": 2}}), ["note 2", "note 3"])
        either = {"OR": [{"kind": {"in": ["a"]}}, {"number": {"gte": 3}}]}
        self.assertEqual(notes(either), ["note 1", "note 3"])

    def test_all_of_a_user_and_then_everything_is_deleted(self) -> None:
        memory = self.memory()
        self.add(memory, "one")
        self.add(memory, "two")
        self.add(memory, "three", user="bob")
        memory.delete_all(user_id="alice")
        self.assertEqual(memory.get_all(filters={"user_id": "alice"})["results"], [])
        self.assertEqual(len(memory.get_all(filters={"user_id": "bob"})["results"]), 1)
        memory.reset()
        self.assertEqual(self.client.count(self.name).count, 0)

    async def test_the_asynchronous_memory_does_the_same(self) -> None:
        memory = AsyncMemory.from_config(self.config())
        added = await memory.add("likes tea", user_id="alice", infer=False)
        [one] = added["results"]
        found = await memory.search("tea", filters={"user_id": "alice"}, threshold=0.1)
        self.assertEqual([hit["id"] for hit in found["results"]], [one["id"]])
        await memory.update(one["id"], "likes milk")
        self.assertEqual((await memory.get(one["id"]))["memory"], "likes milk")
        await memory.delete(one["id"])
        self.assertEqual((await memory.get_all(filters={"user_id": "alice"}))["results"], [])
