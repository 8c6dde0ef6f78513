"""Collections, aliases, indexes, named vectors, snapshots, and the service itself."""

from __future__ import annotations

import asyncio
import importlib.metadata
import threading
import unittest
import warnings

import harness
from both import Tour, for_both, ids
from qdrant_client import models

FOUR = models.VectorParams(size=4, distance=models.Distance.DOT)


def tests(target: harness.Target) -> list[unittest.TestCase]:
    return for_both(target, Service, Collections, Aliases, Indexes, Snapshots, Cluster)


def minor(version: str) -> tuple[int, int]:
    major, minor, *_ = version.split(".")
    return int(major), int(minor)


class Service(Tour):
    async def test_info_names_qdrants_version(self) -> None:
        info = await self.client.info()
        self.assertEqual(info.title, "qdrant - vector search engine")
        self.assertRegex(info.version, r"^1\.\d+\.\d+$")

    async def test_version_check_warns_only_of_a_distance_of_two_minors(self) -> None:
        """The client's own rule: the server's answer has to be one that it can read."""
        server = (await self.client.info()).version
        mine = importlib.metadata.version("qdrant-client")
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            before = set(threading.enumerate())
            client = self.connect(check_compatibility=True)
            # It asks in a thread of its own.
            for thread in set(threading.enumerate()) - before:
                await asyncio.to_thread(thread.join)
            await client.get_collections()
            await client.close()
        # Not what it says of a key without TLS.
        said = [str(one.message) for one in warned if "version" in str(one.message)]
        apart = abs(minor(server)[1] - minor(mine)[1])
        self.assertEqual(minor(server)[0], minor(mine)[0])
        if apart <= 1:
            self.assertEqual(said, [])
        else:
            self.assertEqual(len(said), 1, said)
            self.assertIn(f"version {mine} is incompatible with server version {server}", said[0])


class Collections(Tour):
    async def test_create_list_exists_delete(self) -> None:
        client, name = self.client, self.name
        self.assertFalse(await client.collection_exists(name))
        self.assertTrue(await client.create_collection(name, vectors_config=FOUR))
        self.assertTrue(await client.collection_exists(name))
        listed = await client.get_collections()
        self.assertIn(name, [collection.name for collection in listed.collections])
        self.assertTrue(await client.delete_collection(name))
        self.assertFalse(await client.delete_collection(name))
        self.assertFalse(await client.collection_exists(name))
        listed = await client.get_collections()
        self.assertNotIn(name, [collection.name for collection in listed.collections])

    async def test_a_missing_collection_is_a_404(self) -> None:
        client, name = self.client, self.name
        missing = f"Not found: Collection `{name}` doesn't exist!"
        await self.refused(404, missing, client.get_collection(name))
        await self.refused(404, missing, client.query_points(name, query=[1.0, 0.0, 0.0, 0.0]))
        await self.refused(404, missing, client.count(name))
        await self.refused(404, missing, client.scroll(name))
        await self.refused(404, missing, client.retrieve(name, ids=[1]))
        point = models.PointStruct(id=1, vector=[1.0, 0.0, 0.0, 0.0])
        await self.refused(404, missing, client.upsert(name, points=[point]))

    async def test_creating_twice_is_a_409(self) -> None:
        client, name = self.client, self.name
        await client.create_collection(name, vectors_config=FOUR)
        taken = f"Wrong input: Collection `{name}` already exists!"
        await self.refused(409, taken, client.create_collection(name, vectors_config=FOUR))

    async def test_recreate_empties_and_resizes(self) -> None:
        client, name = self.client, self.name
        await client.create_collection(name, vectors_config=FOUR)
        point = models.PointStruct(id=1, vector=[1.0, 0.0, 0.0, 0.0])
        await client.upsert(name, points=[point])
        two = models.VectorParams(size=2, distance=models.Distance.EUCLID)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self.assertTrue(await client.recreate_collection(name, vectors_config=two))
        info = await client.get_collection(name)
        self.assertEqual(info.points_count, 0)
        self.assertEqual(info.config.params.vectors.size, 2)
        self.assertEqual(info.config.params.vectors.distance, models.Distance.EUCLID)

    async def test_info_returns_what_was_configured(self) -> None:
        client, name = self.client, self.name
        await client.create_collection(
            name,
            vectors_config={
                "small": models.VectorParams(
                    size=4,
                    distance=models.Distance.COSINE,
                    on_disk=True,
                    hnsw_config=models.HnswConfigDiff(m=8),
                ),
                "bytes": models.VectorParams(
                    size=8, distance=models.Distance.MANHATTAN, datatype=models.Datatype.UINT8
                ),
                "many": models.VectorParams(
                    size=2,
                    distance=models.Distance.DOT,
                    multivector_config=models.MultiVectorConfig(
                        comparator=models.MultiVectorComparator.MAX_SIM
                    ),
                ),
            },
            sparse_vectors_config={
                "words": models.SparseVectorParams(modifier=models.Modifier.IDF)
            },
            on_disk_payload=False,
            hnsw_config=models.HnswConfigDiff(m=24, ef_construct=64),
            optimizers_config=models.OptimizersConfigDiff(indexing_threshold=5000),
            wal_config=models.WalConfigDiff(wal_capacity_mb=16),
            quantization_config=models.ScalarQuantization(
                scalar=models.ScalarQuantizationConfig(
                    type=models.ScalarType.INT8, quantile=0.99, always_ram=True
                )
            ),
            strict_mode_config=models.StrictModeConfig(enabled=True, max_query_limit=50),
            metadata={"owner": "tour", "nested": {"n": 1}},
        )
        info = await client.get_collection(name)
        self.assertEqual(info.status, models.CollectionStatus.GREEN)
        self.assertEqual(info.optimizer_status, models.OptimizersStatusOneOf.OK)
        self.assertEqual((info.points_count, info.indexed_vectors_count), (0, 0))
        self.assertGreaterEqual(info.segments_count, 1)
        self.assertEqual(info.payload_schema, {})
        params = info.config.params
        self.assertEqual(set(params.vectors), {"small", "bytes", "many"})
        self.assertEqual(params.vectors["small"].hnsw_config.m, 8)
        self.assertTrue(params.vectors["small"].on_disk)
        self.assertEqual(params.vectors["bytes"].datatype, models.Datatype.UINT8)
        comparator = params.vectors["many"].multivector_config.comparator
        self.assertEqual(comparator, models.MultiVectorComparator.MAX_SIM)
        self.assertEqual(params.sparse_vectors["words"].modifier, models.Modifier.IDF)
        self.assertFalse(params.on_disk_payload)
        self.assertEqual((params.shard_number, params.replication_factor), (1, 1))
        self.assertEqual(info.config.hnsw_config.m, 24)
        self.assertEqual(info.config.hnsw_config.ef_construct, 64)
        self.assertEqual(info.config.optimizer_config.indexing_threshold, 5000)
        self.assertEqual(info.config.wal_config.wal_capacity_mb, 16)
        self.assertEqual(info.config.quantization_config.scalar.quantile, 0.99)
        self.assertEqual(info.config.strict_mode_config.max_query_limit, 50)
        self.assertEqual(info.config.metadata, {"owner": "tour", "nested": {"n": 1}})
        limited = client.query_points(name, query=[1.0, 0.0, 0.0, 0.0], using="small", limit=51)
        await self.refused(400, "limit", limited)

    async def test_update_changes_what_it_names_and_no_more(self) -> None:
        client, name = self.client, self.name
        await client.create_collection(name, vectors_config=FOUR, metadata={"a": 1, "b": 2})
        before = (await client.get_collection(name)).config
        changed = await client.update_collection(
            name,
            optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1234),
            collection_params=models.CollectionParamsDiff(on_disk_payload=False),
            hnsw_config=models.HnswConfigDiff(ef_construct=77),
            vectors_config={"": models.VectorParamsDiff(on_disk=True)},
            quantization_config=models.BinaryQuantization(
                binary=models.BinaryQuantizationConfig(always_ram=True)
            ),
            strict_mode_config=models.StrictModeConfig(enabled=True, max_timeout=30),
            metadata={"b": 3, "c": 4},
        )
        self.assertTrue(changed)
        after = (await client.get_collection(name)).config
        self.assertEqual(after.optimizer_config.indexing_threshold, 1234)
        self.assertEqual(
            after.optimizer_config.deleted_threshold, before.optimizer_config.deleted_threshold
        )
        self.assertFalse(after.params.on_disk_payload)
        self.assertEqual(after.hnsw_config.ef_construct, 77)
        self.assertEqual(after.hnsw_config.m, before.hnsw_config.m)
        self.assertTrue(after.params.vectors.on_disk)
        self.assertTrue(after.quantization_config.binary.always_ram)
        self.assertEqual(after.strict_mode_config.max_timeout, 30)
        self.assertEqual(after.metadata, {"a": 1, "b": 3, "c": 4})

    async def test_named_vectors_are_added_and_removed(self) -> None:
        client, name = self.client, self.name
        await client.create_collection(name, vectors_config={"first": FOUR})
        point = models.PointStruct(id=1, vector={"first": [1.0, 0.0, 0.0, 0.0]})
        await client.upsert(name, points=[point])
        second = models.DenseVectorNameConfig(
            dense=models.DenseVectorConfig(size=2, distance=models.Distance.DOT)
        )
        words = models.SparseVectorNameConfig(sparse=models.SparseVectorConfig())
        self.completed(await client.create_vector_name(name, "second", second))
        self.completed(await client.create_vector_name(name, "words", words))
        params = (await client.get_collection(name)).config.params
        self.assertEqual(set(params.vectors), {"first", "second"})
        self.assertEqual(params.vectors["second"].size, 2)
        self.assertEqual(set(params.sparse_vectors), {"words"})
        sparse = models.SparseVector(indices=[3], values=[2.0])
        vector = {"second": [0.5, 0.5], "words": sparse}
        await client.update_vectors(name, points=[models.PointVectors(id=1, vector=vector)])
        found = await client.query_points(name, query=[1.0, 1.0], using="second")
        self.assertEqual(ids(found.points), [1])
        self.near(found.points[0].score, 1.0)
        self.completed(await client.delete_vector_name(name, "second"))
        self.completed(await client.delete_vector_name(name, "words"))
        params = (await client.get_collection(name)).config.params
        self.assertEqual(set(params.vectors), {"first"})
        self.assertFalse(params.sparse_vectors)
        [record] = await client.retrieve(name, ids=[1], with_vectors=True)
        self.assertEqual(record.vector, {"first": [1.0, 0.0, 0.0, 0.0]})

    async def test_optimizations_are_reported(self) -> None:
        await self.client.create_collection(self.name, vectors_config=FOUR)
        report = await self.client.get_optimizations(self.name)
        self.assertEqual(report.running, [])
        self.assertEqual(report.summary.queued_optimizations, 0)


class Aliases(Tour):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        self.other = f"{self.name}_other"
        for number, name in enumerate((self.name, self.other), 1):
            await self.client.create_collection(name, vectors_config=FOUR)
            point = models.PointStruct(id=number, vector=[1.0, 0.0, 0.0, 0.0])
            await self.client.upsert(name, points=[point])

    async def asyncTearDown(self) -> None:
        await self.client.delete_collection(self.other)
        await super().asyncTearDown()

    def create(self, collection: str, alias: str) -> models.CreateAliasOperation:
        return models.CreateAliasOperation(
            create_alias=models.CreateAlias(collection_name=collection, alias_name=alias)
        )

    def delete(self, alias: str) -> models.DeleteAliasOperation:
        return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))

    async def aliases(self) -> dict[str, str]:
        """Ours: other tests may have theirs."""
        listed = await self.client.get_aliases()
        mine = (self.name, self.other)
        return {
            one.alias_name: one.collection_name
            for one in listed.aliases
            if one.collection_name in mine
        }

    async def test_an_alias_is_made_moved_renamed_and_removed(self) -> None:
        client, alias = self.client, f"{self.name}_alias"
        self.assertTrue(await client.update_collection_aliases([self.create(self.name, alias)]))
        self.assertEqual(await self.aliases(), {alias: self.name})
        self.assertTrue(await client.collection_exists(alias))
        records, _ = await client.scroll(alias)
        self.assertEqual(ids(records), [1])

        # In one call, so that no reader finds it missing.
        moved = [self.delete(alias), self.create(self.other, alias)]
        self.assertTrue(await client.update_collection_aliases(moved))
        self.assertEqual(await self.aliases(), {alias: self.other})
        records, _ = await client.scroll(alias)
        self.assertEqual(ids(records), [2])
        mine = await client.get_collection_aliases(self.other)
        self.assertEqual([one.alias_name for one in mine.aliases], [alias])
        self.assertEqual((await client.get_collection_aliases(self.name)).aliases, [])

        renamed = models.RenameAliasOperation(
            rename_alias=models.RenameAlias(
                old_alias_name=alias, new_alias_name=f"{alias}_renamed"
            )
        )
        self.assertTrue(await client.update_collection_aliases([renamed]))
        self.assertEqual(await self.aliases(), {f"{alias}_renamed": self.other})
        await client.update_collection_aliases([self.delete(f"{alias}_renamed")])
        self.assertEqual(await self.aliases(), {})

    async def test_an_alias_may_not_be_named_as_a_collection(self) -> None:
        operations = [self.create(self.name, self.other)]
        taken = self.client.update_collection_aliases(operations)
        await self.refused(409, "already exists", taken)


class Indexes(Tour):
    PAYLOAD = {
        "city": "Berlin",
        "stars": 4,
        "price": 12.5,
        "open": True,
        "where": {"lon": 13.4, "lat": 52.5},
        "since": "2024-02-03T04:05:06Z",
        "key": "550e8400-e29b-41d4-a716-446655440000",
        "about": "quiet rooms near the river",
    }
    SCHEMAS = {
        "city": (models.PayloadSchemaType.KEYWORD, "keyword"),
        "stars": (
            models.IntegerIndexParams(
                type=models.IntegerIndexType.INTEGER, lookup=True, range=False
            ),
            "integer",
        ),
        "price": (models.PayloadSchemaType.FLOAT, "float"),
        "open": (models.PayloadSchemaType.BOOL, "bool"),
        "where": (models.PayloadSchemaType.GEO, "geo"),
        "since": (models.PayloadSchemaType.DATETIME, "datetime"),
        "key": (
            models.UuidIndexParams(type=models.UuidIndexType.UUID, is_tenant=True),
            "uuid",
        ),
        "about": (
            models.TextIndexParams(
                type=models.TextIndexType.TEXT,
                tokenizer=models.TokenizerType.WORD,
                min_token_len=2,
                lowercase=True,
            ),
            "text",
        ),
    }

    async def test_every_type_of_index_is_made_reported_and_removed(self) -> None:
        client, name = self.client, self.name
        await client.create_collection(name, vectors_config=FOUR)
        points = [
            models.PointStruct(id=1, vector=[1.0, 0.0, 0.0, 0.0], payload=self.PAYLOAD),
            models.PointStruct(id=2, vector=[0.0, 1.0, 0.0, 0.0], payload={}),
        ]
        await client.upsert(name, points=points)
        for field, (schema, _) in self.SCHEMAS.items():
            self.completed(await client.create_payload_index(name, field, schema))
        found = (await client.get_collection(name)).payload_schema
        self.assertEqual(
            {field: index.data_type.value for field, index in found.items()},
            {field: data_type for field, (_, data_type) in self.SCHEMAS.items()},
        )
        self.assertEqual({index.points for index in found.values()}, {1})
        self.assertEqual((found["stars"].params.lookup, found["stars"].params.range), (True, False))
        self.assertTrue(found["key"].params.is_tenant)
        self.assertEqual(found["about"].params.tokenizer, models.TokenizerType.WORD)
        self.assertEqual(found["about"].params.min_token_len, 2)
        for field in self.SCHEMAS:
            self.completed(await client.delete_payload_index(name, field))
        self.assertEqual((await client.get_collection(name)).payload_schema, {})

    async def test_a_full_text_index_matches_words(self) -> None:
        client, name = self.client, self.name
        await client.create_collection(name, vectors_config=FOUR)
        texts = ["Quiet rooms near the river", "Loud rooms", "riverside camping"]
        points = [
            models.PointStruct(id=number, vector=[1.0, 0.0, 0.0, 0.0], payload={"about": text})
            for number, text in enumerate(texts, 1)
        ]
        await client.upsert(name, points=points)
        await client.create_payload_index(name, "about", self.SCHEMAS["about"][0])
        for condition, wanted in (
            (models.MatchText(text="rooms river"), [1]),
            (models.MatchText(text="ROOMS"), [1, 2]),
            (models.MatchTextAny(text_any="loud camping"), [2, 3]),
        ):
            condition = models.FieldCondition(key="about", match=condition)
            records, _ = await client.scroll(name, scroll_filter=models.Filter(must=[condition]))
            self.assertEqual(ids(records), wanted, condition)


class Snapshots(Tour):
    async def test_a_snapshot_brings_back_what_was_there(self) -> None:
        client, name = self.client, self.name
        await client.create_collection(name, vectors_config=FOUR)
        points = [
            models.PointStruct(id=number, vector=[float(number), 0.0, 0.0, 0.0], payload={"n": number})
            for number in range(1, 6)
        ]
        await client.upsert(name, points=points)
        self.assertEqual(await client.list_snapshots(name), [])
        made = await client.create_snapshot(name)
        self.assertTrue(made.name.startswith(name), made.name)
        self.assertGreater(made.size, 0)
        listed = await client.list_snapshots(name)
        self.assertEqual([one.name for one in listed], [made.name])
        await client.delete(name, points_selector=[1, 2, 3])
        location = f"{self.target.url}/collections/{name}/snapshots/{made.name}"
        priority = models.SnapshotPriority.SNAPSHOT
        recovered = await client.recover_snapshot(
            name, location, api_key=self.target.api_key, priority=priority
        )
        self.assertTrue(recovered)
        records, _ = await client.scroll(name, with_vectors=True)
        self.assertEqual(ids(records), [1, 2, 3, 4, 5])
        self.assertEqual(records[2].payload, {"n": 3})
        self.assertEqual(records[2].vector, [3.0, 0.0, 0.0, 0.0])

        copy = f"{name}_copy"
        await client.recover_snapshot(
            copy, location, api_key=self.target.api_key, priority=priority
        )
        self.assertEqual((await client.count(copy)).count, 5)
        await client.delete_collection(copy)

        self.assertTrue(await client.delete_snapshot(name, made.name))
        self.assertEqual(await client.list_snapshots(name), [])
        await self.refused(404, "", client.delete_snapshot(name, made.name))

    async def test_a_snapshot_of_the_shard_does_the_same(self) -> None:
        client, name = self.client, self.name
        await client.create_collection(name, vectors_config=FOUR)
        point = models.PointStruct(id=1, vector=[1.0, 0.0, 0.0, 0.0])
        await client.upsert(name, points=[point])
        made = await client.create_shard_snapshot(name, 0)
        listed = await client.list_shard_snapshots(name, 0)
        self.assertEqual([one.name for one in listed], [made.name])
        await client.delete(name, points_selector=[1])
        location = f"{self.target.url}/collections/{name}/shards/0/snapshots/{made.name}"
        recovered = await client.recover_shard_snapshot(
            name,
            0,
            location,
            api_key=self.target.api_key,
            priority=models.SnapshotPriority.SNAPSHOT,
        )
        self.assertTrue(recovered)
        self.assertEqual((await client.count(name)).count, 1)
        self.assertTrue(await client.delete_shard_snapshot(name, 0, made.name))
        self.assertEqual(await client.list_shard_snapshots(name, 0), [])

    async def test_a_snapshot_of_everything_is_made_listed_and_deleted(self) -> None:
        client = self.client
        made = await client.create_full_snapshot()
        self.assertGreater(made.size, 0)
        listed = await client.list_full_snapshots()
        self.assertIn(made.name, [one.name for one in listed])
        self.assertTrue(await client.delete_full_snapshot(made.name))
        listed = await client.list_full_snapshots()
        self.assertNotIn(made.name, [one.name for one in listed])



class Cluster(Tour):
    """One node: what a cluster alone can do is refused, not failed."""

    async def test_one_node_says_so(self) -> None:
        client, name = self.client, self.name
        self.assertEqual((await client.cluster_status()).status, "disabled")
        await client.create_collection(name, vectors_config=FOUR)
        info = await client.collection_cluster_info(name)
        self.assertEqual(info.shard_count, 1)
        self.assertEqual([shard.shard_id for shard in info.local_shards], [0])
        self.assertEqual((info.remote_shards, info.shard_transfers), ([], []))

    async def test_what_a_cluster_alone_can_do_is_refused(self) -> None:
        client, name = self.client, self.name
        await client.create_collection(name, vectors_config=FOUR)
        move = models.MoveShardOperation(
            move_shard=models.MoveShard(shard_id=0, to_peer_id=1, from_peer_id=2)
        )
        alone = "Distributed mode disabled"
        await self.refused(400, alone, client.create_shard_key(name, "a"))
        await self.refused(400, alone, client.delete_shard_key(name, "a"))
        await self.refused(400, alone, client.cluster_collection_update(name, move))
        await self.refused(400, alone, client.remove_peer(12345))
        await self.refused(500, "standalone mode", client.recover_current_peer())
        await self.refused(500, "telemetry from cluster", client.cluster_telemetry())
        self.assertFalse((await client.list_shard_keys(name)).shard_keys)
