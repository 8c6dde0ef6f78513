"""LlamaIndex: `PGVectorStore` before, `QdrantVectorStore` after."""

from __future__ import annotations

import json
import unittest
from typing import Any
from urllib.parse import urlsplit

import harness
from llama_index.core.schema import (
    BaseNode,
    Document,
    IndexNode,
    MediaResource,
    MetadataMode,
    Node,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters, VectorStoreQuery
from llama_index.vector_stores.postgres import PGVectorStore
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import AsyncQdrantClient, QdrantClient

from adopt import memories, scene
from adopt.scene import Found


def node(memory: memories.Memory, number: int) -> BaseNode:
    """Mostly text nodes; one of each other kind that has a text."""
    source = RelatedNodeInfo(node_id=f"doc-{number // 10}", metadata={"ü": number})
    shared: dict[str, Any] = {
        "id_": memory.id,
        "metadata": dict(memory.metadata),
        "embedding": memory.vector,
        # Some have no source.
        "relationships": {NodeRelationship.SOURCE: source} if number % 4 else {},
    }
    if number == 11:
        return Document(text=memory.text, **shared)
    if number == 12:
        return Node(text_resource=MediaResource(text=memory.text), **shared)
    if number == 14:
        return IndexNode(text=memory.text, index_id="elsewhere", **shared)
    return TextNode(text=memory.text, **shared)


def found(one: BaseNode, score: float | None = None) -> Found:
    text = one.get_content(metadata_mode=MetadataMode.NONE)
    return Found(memories.shown_id(one.node_id), text, one.metadata, score)


class LlamaIndex(scene.Adapter):
    name = "Paul Graham"

    def __init__(self, address: str, database: str, **options: Any) -> None:
        super().__init__(address, database)
        self.memories = memories.memories(odd_ids=True)
        self.writable = options.pop("writable", False)
        self.name = options.pop("name", self.name)
        parts = urlsplit(address)
        self.own = PGVectorStore.from_params(
            host=parts.hostname,
            port=str(parts.port),
            user=parts.username,
            password="unasked",
            database=database,
            table_name=self.name,
            embed_dim=memories.SIZE,
            **options,
        )

    def nodes(self) -> list[BaseNode]:
        return [node(one, number) for number, one in enumerate(self.memories)]

    def write(self) -> None:
        self.own.add(self.nodes())

    def settings(self) -> str:
        more = "writable = true\n" if self.writable else ""
        return f'[collections."{self.name}"]\nadopt = "llamaindex"\n{more}'

    def qdrant(self, url: str, name: str) -> QdrantVectorStore:
        options = {"url": url, "timeout": 60, "check_compatibility": False}
        self.client, self.aclient = QdrantClient(**options), AsyncQdrantClient(**options)
        return QdrantVectorStore(name, client=self.client, aclient=self.aclient)

    def connect(self, url: str) -> None:
        self.through = self.qdrant(url, self.name)

    def write_twin(self, url: str) -> None:
        self.qdrant(url, self.twin).add([one for one in self.nodes() if len(one.node_id) == 36])

    def search(self, store: Any, text: str, limit: int, kind: str | None) -> list[Found]:
        wanted = MetadataFilters(filters=[MetadataFilter(key="kind", value=kind)]) if kind else None
        asked = VectorStoreQuery(
            query_embedding=memories.embed(text), similarity_top_k=limit, filters=wanted
        )
        hits = store.query(asked)
        shown = [memories.shown_id(id) for id in hits.ids]
        made = [found(*pair) for pair in zip(hits.nodes, hits.similarities, strict=True)]
        assert shown == [one.id for one in made]
        return made

    def table_search(self, text: str, limit: int, kind: str | None = None) -> list[Found]:
        return self.search(self.own, text, limit, kind)

    def qdrant_search(self, text: str, limit: int, kind: str | None = None) -> list[Found]:
        return self.search(self.through, text, limit, kind)

    def table_get(self, ids: list[str]) -> list[Found]:
        return [found(one) for one in self.own.get_nodes(node_ids=ids)]

    def qdrant_get(self, ids: list[str]) -> list[Found]:
        return [found(one) for one in self.through.get_nodes(node_ids=ids)]

    def table_list(self, kind: str | None = None) -> list[Found]:
        all_of = self.table_get([one.id for one in self.memories])
        return [one for one in all_of if kind in (None, one.metadata["kind"])]

    def qdrant_list(self, kind: str | None = None) -> list[Found]:
        wanted = MetadataFilters(filters=[MetadataFilter(key="kind", value=kind)]) if kind else None
        return [found(one) for one in self.through.get_nodes(filters=wanted)]

    def qdrant_write(self) -> None:
        self.through.add([TextNode(text="one more", embedding=memories.embed("one more"))])


class LlamaIndexAdopted(scene.Adopted):
    """`metadata_` is json, as it is unless asked for otherwise."""

    in_workers = True

    def assert_same_json(self, one: Any, other: Any, about: str = "") -> None:
        super().assert_same_json(parsed(one), parsed(other), about)

    def test_nodes_are_the_same_nodes(self) -> None:
        """Not their texts and metadata alone: relationships, kinds and templates too."""
        ids = [one.id for one in self.adapter.memories]
        nodes = {one.node_id: one for one in self.adapter.own.get_nodes(node_ids=ids)}
        shown = [memories.shown_id(id) for id in ids]
        through = {one.node_id: one for one in self.adapter.through.get_nodes(node_ids=shown)}
        self.assertEqual(set(nodes), set(through))
        kinds = set()
        for id, one in nodes.items():
            kinds.add(type(one).__name__)
            self.assertEqual(type(through[id]), type(one))
            # One provider's is not of length one, and neither list is part of what was written.
            aside = {"embedding"}
            self.assert_same_json(
                through[id].model_dump(mode="json", exclude=aside),
                one.model_dump(mode="json", exclude=aside),
            )
        self.assertEqual(kinds, {"TextNode", "Node", "IndexNode"})

    def test_the_nodes_of_a_document(self) -> None:
        def of_document(store: Any) -> set[str]:
            wanted = MetadataFilters(filters=[MetadataFilter(key="doc_id", value="doc-2")])
            return {one.node_id for one in store.get_nodes(filters=wanted)}

        self.assertEqual(len(of_document(self.adapter.own)), 7)
        self.assertEqual(of_document(self.adapter.through), of_document(self.adapter.own))


class LlamaIndexBinaryHybrid(LlamaIndexAdopted):
    """`metadata_` is jsonb, beside it a column of words, over the vectors an HNSW index."""

    in_workers = False

    def test_it_has_the_index(self) -> None:
        self.assertIn("USING hnsw (embedding vector_cosine_ops)", self.scene.before)


class LlamaIndexWritable(harness.Patient):
    """With `writable = true`: what its Qdrant provider adds and deletes, its own sees."""

    scene: scene.Scene

    def test_nodes_added_and_deleted_are_so_in_the_table(self) -> None:
        own, through = self.scene.adapter.own, self.scene.adapter.through
        source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc-new")}
        made = {"metadata": {"kind": "new", "n": 1.0}, "relationships": source}
        written = [
            TextNode(text='wächst "nach"', embedding=memories.embed("1"), **made),
            Node(text_resource=MediaResource(text="a node"), embedding=memories.embed("2"), **made),
            IndexNode(text="x", index_id="y", embedding=memories.embed("3"), **made),
        ]
        through.add(written)
        ids = [one.node_id for one in written]
        nodes = {one.node_id: one for one in own.get_nodes(node_ids=ids)}
        aside = {"embedding"}
        for one in written:
            self.assertEqual(type(nodes[one.node_id]), type(one))
            self.assertEqual(
                nodes[one.node_id].model_dump(mode="json", exclude=aside),
                one.model_dump(mode="json", exclude=aside),
            )
        asked = VectorStoreQuery(query_embedding=memories.embed("2"), similarity_top_k=1)
        self.assertEqual(own.query(asked).ids, [ids[1]])
        through.delete_nodes(ids[:1])
        self.assertEqual({one.node_id for one in own.get_nodes(node_ids=ids)}, set(ids[1:]))
        # All that came from one document.
        through.delete("doc-new")
        self.assertEqual(own.get_nodes(node_ids=ids), [])

    def test_zz_nothing_else_has_changed(self) -> None:
        self.assertEqual(self.scene.definition(), self.scene.before)
        self.assertEqual(self.scene.rows(), self.scene.rows_before)


def parsed(value: Any) -> Any:
    """A node within its payload is JSON in a text: the order of its keys says nothing. What its
    framework reads again from the text itself may be there or not: see `Document`."""
    if isinstance(value, dict) and isinstance(value.get("_node_content"), str):
        content = json.loads(value["_node_content"])
        if content.get("class_name") == "Document":
            content.pop("text_resource", None)
        resource = content.get("text_resource")
        if isinstance(resource, dict):
            content["text_resource"] = {k: v for k, v in resource.items() if v is not None}
        return {**value, "_node_content": content}
    return value


HYBRID = {
    # With a blank in the name, the framework fails to make the index, and goes on without.
    "name": "Essays",
    "use_jsonb": True,
    "hybrid_search": True,
    "hnsw_kwargs": {"hnsw_m": 16, "hnsw_ef_construction": 64, "hnsw_ef_search": 200},
}


def tests(rig: scene.Rig) -> list[unittest.TestCase]:
    return [
        *scene.tests(rig, LlamaIndexWritable, LlamaIndex, writable=True),
        *scene.tests(rig, LlamaIndexAdopted, LlamaIndex),
        *scene.tests(rig, LlamaIndexBinaryHybrid, LlamaIndex, **HYBRID),
    ]
