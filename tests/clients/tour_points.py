"""Writing points, and reading them by id, by filter, in order, counted and faceted."""

from __future__ import annotations

import unittest
import uuid

import harness
import numpy
from both import Tour, for_both, ids, match
from qdrant_client import models

PEOPLE = {
    1: {"name": "Ada", "age": 36, "langs": ["en", "fr"], "home": {"city": "London", "zip": 1}},
    2: {"name": "Blaise", "age": 39, "langs": ["fr"], "home": {"city": "Paris", "zip": 2}},
    3: {"name": "Carl", "age": 77, "langs": ["de", "la"], "home": {"city": "Goettingen"}},
    4: {"name": "Emmy", "age": 53, "langs": ["de", "en"], "note": None},
    5: {"name": "Sofja", "langs": [], "home": {"city": "London"}},
}


def tests(target: harness.Target) -> list[unittest.TestCase]:
    return for_both(target, Writes, Payloads, Vectors, Reads, Filters, Refusals)


class People(Tour):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        await self.client.create_collection(
            self.name,
            vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT),
        )
        points = [
            models.PointStruct(id=number, vector=[float(number), 0.5], payload=payload)
            for number, payload in PEOPLE.items()
        ]
        self.completed(await self.client.upsert(self.name, points=points))

    async def payloads(self) -> dict[int, dict]:
        records, _ = await self.client.scroll(self.name, limit=100)
        return {record.id: record.payload for record in records}


class Writes(People):
    async def test_upsert_replaces_the_whole_point(self) -> None:
        point = models.PointStruct(id=1, vector=[9.0, 9.0], payload={"name": "Grace"})
        self.completed(await self.client.upsert(self.name, points=[point]))
        [record] = await self.client.retrieve(self.name, ids=[1], with_vectors=True)
        self.assertEqual((record.payload, record.vector), ({"name": "Grace"}, [9.0, 9.0]))
        self.assertEqual((await self.client.count(self.name)).count, 5)

    async def test_upsert_takes_columns_too(self) -> None:
        key = str(uuid.uuid4())
        batch = models.Batch(
            ids=[10, key], vectors=[[1.0, 2.0], [3.0, 4.0]], payloads=[{"n": 1}, {}]
        )
        self.completed(await self.client.upsert(self.name, points=batch))
        records = await self.client.retrieve(self.name, ids=[key, 10], with_vectors=True)
        found = {record.id: (record.payload, record.vector) for record in records}
        self.assertEqual(found, {10: ({"n": 1}, [1.0, 2.0]), key: ({}, [3.0, 4.0])})

    async def test_ids_are_normalised(self) -> None:
        key = uuid.uuid4()
        point = models.PointStruct(id=key.hex, vector=[1.0, 1.0])
        await self.client.upsert(self.name, points=[point])
        [record] = await self.client.retrieve(self.name, ids=[str(key)])
        self.assertEqual(record.id, str(key))
        largest = 2**64 - 1
        point = models.PointStruct(id=largest, vector=[1.0, 1.0])
        await self.client.upsert(self.name, points=[point])
        self.assertEqual(ids(await self.client.retrieve(self.name, ids=[largest])), [largest])

    async def test_upsert_without_waiting_is_acknowledged_and_then_there(self) -> None:
        point = models.PointStruct(id=6, vector=[6.0, 0.0])
        update = await self.client.upsert(self.name, points=[point], wait=False)
        self.assertEqual(update.status, models.UpdateStatus.ACKNOWLEDGED)
        # Writes are applied in order: what is there after the next one has come before it.
        point = models.PointStruct(id=7, vector=[7.0, 0.0])
        self.completed(await self.client.upsert(self.name, points=[point]))
        self.assertEqual(len(await self.client.retrieve(self.name, ids=[6, 7])), 2)

    async def test_upsert_under_a_condition_changes_only_what_matches(self) -> None:
        points = [
            models.PointStruct(id=number, vector=[0.0, 0.0], payload={"name": "new"})
            for number in (1, 2, 8)
        ]
        condition = match("name", "Ada")
        await self.client.upsert(self.name, points=points, update_filter=condition)
        names = {number: payload["name"] for number, payload in (await self.payloads()).items()}
        self.assertEqual((names[1], names[2], names[8]), ("new", "Blaise", "new"))

    async def test_upsert_modes_insert_only_or_update_only(self) -> None:
        def points(name: str) -> list[models.PointStruct]:
            payload = {"name": name}
            return [
                models.PointStruct(id=number, vector=[0.0, 0.0], payload=payload)
                for number in (1, 8)
            ]

        async def names() -> tuple[str, str | None]:
            found = await self.payloads()
            return found[1]["name"], found.get(8, {}).get("name")

        await self.client.upsert(
            self.name, points=points("updated"), update_mode=models.UpdateMode.UPDATE_ONLY
        )
        self.assertEqual(await names(), ("updated", None))
        await self.client.upsert(
            self.name, points=points("inserted"), update_mode=models.UpdateMode.INSERT_ONLY
        )
        self.assertEqual(await names(), ("updated", "inserted"))

    async def test_upload_points_in_batches(self) -> None:
        points = (
            models.PointStruct(id=number, vector=[float(number), 1.0], payload={"n": number})
            for number in range(100, 350)
        )
        await self.client.upload_points(self.name, points=points, batch_size=32, wait=True)
        self.assertEqual((await self.client.count(self.name)).count, 255)
        [record] = await self.client.retrieve(self.name, ids=[349], with_vectors=True)
        self.assertEqual((record.payload, record.vector), ({"n": 349}, [349.0, 1.0]))

    async def test_upload_a_collection_of_arrays(self) -> None:
        await self.client.upload_collection(
            self.name,
            vectors=numpy.arange(200, dtype=numpy.float32).reshape(100, 2),
            payload=({"n": number} for number in range(100)),
            ids=range(1000, 1100),
            batch_size=40,
            wait=True,
        )
        [record] = await self.client.retrieve(self.name, ids=[1042], with_vectors=True)
        self.assertEqual((record.payload, record.vector), ({"n": 42}, [84.0, 85.0]))
        self.assertEqual((await self.client.count(self.name)).count, 105)

    async def test_delete_by_ids_and_by_filter(self) -> None:
        self.completed(await self.client.delete(self.name, points_selector=[1, 99]))
        self.assertEqual(sorted(await self.payloads()), [2, 3, 4, 5])
        selector = models.FilterSelector(filter=match("langs", "de"))
        self.completed(await self.client.delete(self.name, points_selector=selector))
        self.assertEqual(sorted(await self.payloads()), [2, 5])
        selector = models.PointIdsList(points=[2])
        self.completed(await self.client.delete(self.name, points_selector=selector))
        self.assertEqual(sorted(await self.payloads()), [5])

    async def test_a_batch_of_operations_is_applied_in_order(self) -> None:
        point = models.PointStruct(id=6, vector=[6.0, 6.0], payload={"a": 1})
        updates = await self.client.batch_update_points(
            self.name,
            update_operations=[
                models.UpsertOperation(upsert=models.PointsList(points=[point])),
                models.SetPayloadOperation(
                    set_payload=models.SetPayload(payload={"b": 2}, points=[6])
                ),
                models.OverwritePayloadOperation(
                    overwrite_payload=models.SetPayload(payload={"c": 3}, points=[1])
                ),
                models.DeletePayloadOperation(
                    delete_payload=models.DeletePayload(keys=["a"], points=[6])
                ),
                models.ClearPayloadOperation(clear_payload=models.PointIdsList(points=[2])),
                models.UpdateVectorsOperation(
                    update_vectors=models.UpdateVectors(
                        points=[models.PointVectors(id=6, vector=[7.0, 7.0])]
                    )
                ),
                models.DeleteOperation(delete=models.PointIdsList(points=[3])),
            ],
        )
        self.assertEqual(len(updates), 7)
        for update in updates:
            self.completed(update)
        found = await self.payloads()
        self.assertEqual(sorted(found), [1, 2, 4, 5, 6])
        self.assertEqual((found[1], found[2], found[6]), ({"c": 3}, {}, {"b": 2}))
        [record] = await self.client.retrieve(self.name, ids=[6], with_vectors=True)
        self.assertEqual(record.vector, [7.0, 7.0])


class Payloads(People):
    async def test_set_adds_and_overwrite_replaces(self) -> None:
        client, name = self.client, self.name
        self.completed(await client.set_payload(name, {"age": 37, "new": 1}, points=[1]))
        self.completed(await client.overwrite_payload(name, {"only": True}, points=[2]))
        found = await self.payloads()
        self.assertEqual(found[1], {**PEOPLE[1], "age": 37, "new": 1})
        self.assertEqual(found[2], {"only": True})

    async def test_set_under_a_key_and_by_filter(self) -> None:
        client, name = self.client, self.name
        await client.set_payload(name, {"zip": 9}, points=match("home.city", "London"), key="home")
        found = await self.payloads()
        self.assertEqual(found[1]["home"], {"city": "London", "zip": 9})
        self.assertEqual(found[5]["home"], {"city": "London", "zip": 9})
        self.assertEqual(found[2]["home"], {"city": "Paris", "zip": 2})

    async def test_delete_keys_and_clear(self) -> None:
        client, name = self.client, self.name
        self.completed(await client.delete_payload(name, ["age", "home.zip"], points=[1]))
        found = await self.payloads()
        self.assertEqual(found[1]["home"], {"city": "London"})
        self.assertNotIn("age", found[1])
        self.completed(await client.clear_payload(name, points_selector=[2, 3]))
        selector = models.FilterSelector(filter=match("name", "Emmy"))
        self.completed(await client.clear_payload(name, points_selector=selector))
        found = await self.payloads()
        self.assertEqual([found[2], found[3], found[4]], [{}, {}, {}])


class Vectors(Tour):
    async def asyncSetUp(self) -> None:
        await super().asyncSetUp()
        dot = models.Distance.DOT
        await self.client.create_collection(
            self.name,
            vectors_config={
                "dense": models.VectorParams(size=2, distance=dot),
                "cosine": models.VectorParams(size=2, distance=models.Distance.COSINE),
                "many": models.VectorParams(
                    size=2,
                    distance=dot,
                    multivector_config=models.MultiVectorConfig(
                        comparator=models.MultiVectorComparator.MAX_SIM
                    ),
                ),
            },
            sparse_vectors_config={"words": models.SparseVectorParams()},
        )
        vectors = [
            {
                "dense": [1.0, 0.0],
                "cosine": [3.0, 4.0],
                "many": [[1.0, 0.0], [0.0, 1.0]],
                "words": models.SparseVector(indices=[7, 1], values=[0.5, 2.0]),
            },
            {"dense": [0.0, 2.0], "many": [[2.0, 2.0]]},
            {"words": models.SparseVector(indices=[1], values=[1.0])},
        ]
        points = [
            models.PointStruct(id=number, vector=vector)
            for number, vector in enumerate(vectors, 1)
        ]
        await self.client.upsert(self.name, points=points)

    async def vectors(self, number: int) -> dict:
        [record] = await self.client.retrieve(self.name, ids=[number], with_vectors=True)
        return record.vector

    async def test_every_kind_of_vector_comes_back(self) -> None:
        found = await self.vectors(1)
        self.assertEqual(set(found), {"dense", "cosine", "many", "words"})
        self.assertEqual(found["dense"], [1.0, 0.0])
        # As Qdrant keeps them under Cosine: of length one.
        self.near(found["cosine"], [0.6, 0.8])
        self.assertEqual(found["many"], [[1.0, 0.0], [0.0, 1.0]])
        words = dict(zip(found["words"].indices, found["words"].values))
        self.assertEqual(words, {1: 2.0, 7: 0.5})
        [record] = await self.client.retrieve(self.name, ids=[1], with_vectors=["dense"])
        self.assertEqual(record.vector, {"dense": [1.0, 0.0]})

    async def test_every_kind_of_vector_is_searched(self) -> None:
        async def scores(query: object, using: str) -> list[tuple[int, float]]:
            found = await self.client.query_points(self.name, query=query, using=using)
            return [(point.id, round(point.score, 4)) for point in found.points]

        self.assertEqual(await scores([1.0, 1.0], "dense"), [(2, 2.0), (1, 1.0)])
        self.assertEqual(await scores([6.0, 8.0], "cosine"), [(1, 1.0)])
        # The best partner for each part of the query, added up.
        self.assertEqual(await scores([[1.0, 0.0], [0.0, 1.0]], "many"), [(2, 4.0), (1, 2.0)])
        sparse = models.SparseVector(indices=[1, 7], values=[1.0, 2.0])
        self.assertEqual(await scores(sparse, "words"), [(1, 3.0), (3, 1.0)])

    async def test_update_keeps_the_vectors_it_does_not_name(self) -> None:
        points = [models.PointVectors(id=1, vector={"dense": [5.0, 5.0]})]
        self.completed(await self.client.update_vectors(self.name, points=points))
        found = await self.vectors(1)
        self.assertEqual(found["dense"], [5.0, 5.0])
        self.assertEqual(set(found), {"dense", "cosine", "many", "words"})

    async def test_delete_removes_only_the_named_ones(self) -> None:
        client, name = self.client, self.name
        self.completed(await client.delete_vectors(name, vectors=["cosine", "many"], points=[1]))
        self.assertEqual(set(await self.vectors(1)), {"dense", "words"})
        selector = models.Filter(must=[models.HasVectorCondition(has_vector="many")])
        self.completed(await client.delete_vectors(name, vectors=["many"], points=selector))
        self.assertEqual(set(await self.vectors(2)), {"dense"})

    async def test_points_are_found_by_the_vectors_they_have(self) -> None:
        condition = models.HasVectorCondition(has_vector="words")
        records, _ = await self.client.scroll(
            self.name, scroll_filter=models.Filter(must=[condition])
        )
        self.assertEqual(ids(records), [1, 3])


class Reads(People):
    async def test_retrieve_selects_payload_and_vectors(self) -> None:
        client, name = self.client, self.name
        records = await client.retrieve(name, ids=[3, 1, 77])
        self.assertEqual(sorted(ids(records)), [1, 3])
        self.assertEqual({record.vector for record in records}, {None})
        [record] = await client.retrieve(name, ids=[1], with_payload=False, with_vectors=True)
        self.assertEqual((record.payload, record.vector), (None, [1.0, 0.5]))
        [record] = await client.retrieve(name, ids=[1], with_payload=["home.city", "age"])
        self.assertEqual(record.payload, {"home": {"city": "London"}, "age": 36})
        selector = models.PayloadSelectorExclude(exclude=["home", "langs"])
        [record] = await client.retrieve(name, ids=[1], with_payload=selector)
        self.assertEqual(record.payload, {"name": "Ada", "age": 36})

    async def test_scroll_pages_to_the_end(self) -> None:
        pages, offset = [], None
        while True:
            records, offset = await self.client.scroll(self.name, limit=2, offset=offset)
            pages.append(ids(records))
            if offset is None:
                break
        self.assertEqual(pages, [[1, 2], [3, 4], [5]])

    async def test_scroll_orders_by_a_key(self) -> None:
        client, name = self.client, self.name
        unordered = client.scroll(name, order_by="age")
        await self.refused(400, "No range index for `order_by` key: `age`", unordered)
        await client.create_payload_index(name, "age", models.PayloadSchemaType.INTEGER)
        records, offset = await client.scroll(name, order_by="age")
        self.assertEqual((ids(records), offset), ([1, 2, 4, 3], None))
        order = models.OrderBy(key="age", direction=models.Direction.DESC, start_from=53)
        records, _ = await client.scroll(name, order_by=order)
        self.assertEqual(ids(records), [4, 2, 1])
        self.assertEqual([record.order_value for record in records], [53, 39, 36])

    async def test_count_all_or_what_matches(self) -> None:
        client, name = self.client, self.name
        self.assertEqual((await client.count(name)).count, 5)
        condition = match("home.city", "London")
        self.assertEqual((await client.count(name, count_filter=condition)).count, 2)
        guessed = await client.count(name, count_filter=condition, exact=False)
        self.assertIn(guessed.count, range(6))

    async def test_facet_counts_values(self) -> None:
        client, name = self.client, self.name
        await client.create_payload_index(name, "langs", models.PayloadSchemaType.KEYWORD)
        facet = await client.facet(name, key="langs", exact=True)
        found = {hit.value: hit.count for hit in facet.hits}
        self.assertEqual(found, {"de": 2, "en": 2, "fr": 2, "la": 1})
        counts = [hit.count for hit in facet.hits]
        self.assertEqual(counts, sorted(counts, reverse=True))
        condition = match("home.city", "London")
        facet = await client.facet(name, key="langs", facet_filter=condition, limit=1, exact=True)
        self.assertEqual([(hit.value, hit.count) for hit in facet.hits], [("en", 1)])


class Filters(People):
    async def check(self, filter: models.Filter, wanted: list[int]) -> None:
        records, _ = await self.client.scroll(self.name, scroll_filter=filter)
        self.assertEqual(ids(records), wanted, filter)

    async def holds(self, condition: models.Condition, wanted: list[int]) -> None:
        await self.check(models.Filter(must=[condition]), wanted)
        others = [number for number in PEOPLE if number not in wanted]
        await self.check(models.Filter(must_not=[condition]), others)

    async def test_conditions_on_one_key(self) -> None:
        field = models.FieldCondition
        for condition, wanted in (
            (field(key="name", match=models.MatchValue(value="Ada")), [1]),
            (field(key="langs", match=models.MatchAny(any=["fr", "la"])), [1, 2, 3]),
            (field(key="langs[]", match=models.MatchValue(value="en")), [1, 4]),
            (field(key="age", match=models.MatchExcept(**{"except": [36, 39]})), [3, 4]),
            (field(key="name", match=models.MatchText(text="la")), [2]),
            (field(key="age", range=models.Range(gte=39, lt=77)), [2, 4]),
            (field(key="langs", values_count=models.ValuesCount(gte=2)), [1, 3, 4]),
            (field(key="home.city", match=models.MatchValue(value="London")), [1, 5]),
            (models.IsEmptyCondition(is_empty=models.PayloadField(key="langs")), [5]),
            (models.IsEmptyCondition(is_empty=models.PayloadField(key="home")), [4]),
            (models.IsNullCondition(is_null=models.PayloadField(key="note")), [4]),
            (models.HasIdCondition(has_id=[2, 5, 9]), [2, 5]),
        ):
            with self.subTest(condition):
                await self.holds(condition, wanted)

    async def test_conditions_are_combined(self) -> None:
        def speaks(language: str) -> models.FieldCondition:
            return models.FieldCondition(key="langs", match=models.MatchValue(value=language))

        old = models.FieldCondition(key="age", range=models.Range(gt=38))
        fluent = [speaks("en"), speaks("fr"), speaks("de")]
        few = models.MinShould(conditions=[*fluent, old], min_count=2)
        await self.check(models.Filter(should=[speaks("la"), speaks("fr")]), [1, 2, 3])
        await self.check(models.Filter(must=[speaks("de"), old], must_not=[speaks("en")]), [3])
        await self.check(models.Filter(min_should=few), [1, 2, 3, 4])
        either = models.Filter(should=[models.Filter(must=[speaks("fr"), old]), speaks("la")])
        await self.check(either, [2, 3])

    async def test_conditions_on_places_times_and_parts(self) -> None:
        vector = [0.0, 0.0]
        points = [
            models.PointStruct(
                id=11,
                vector=vector,
                payload={
                    "where": {"lon": 13.4, "lat": 52.5},
                    "since": "2024-02-03T04:05:06Z",
                    "parts": [{"kind": "a", "n": 1}, {"kind": "b", "n": 2}],
                },
            ),
            models.PointStruct(
                id=12,
                vector=vector,
                payload={
                    "where": {"lon": 2.35, "lat": 48.86},
                    "since": "2025-01-01",
                    "parts": [{"kind": "a", "n": 2}],
                },
            ),
        ]
        await self.client.upsert(self.name, points=points)
        field, place = models.FieldCondition, models.GeoPoint
        berlin = models.GeoRadius(center=place(lon=13.3, lat=52.4), radius=50_000)
        france = models.GeoBoundingBox(
            top_left=place(lon=-5.0, lat=51.0), bottom_right=place(lon=8.0, lat=42.0)
        )
        corners = [(12.0, 51.0), (15.0, 51.0), (15.0, 54.0), (12.0, 54.0), (12.0, 51.0)]
        ring = models.GeoLineString(points=[place(lon=lon, lat=lat) for lon, lat in corners])
        same = models.Filter(
            must=[
                field(key="kind", match=models.MatchValue(value="a")),
                field(key="n", match=models.MatchValue(value=2)),
            ]
        )
        after = models.DatetimeRange(gt="2024-06-01T00:00:00Z")
        for condition, wanted in (
            (field(key="where", geo_radius=berlin), [11]),
            (field(key="where", geo_bounding_box=france), [12]),
            (field(key="where", geo_polygon=models.GeoPolygon(exterior=ring)), [11]),
            (field(key="since", range=after), [12]),
            # One element has to meet both.
            (models.NestedCondition(nested=models.Nested(key="parts", filter=same)), [12]),
        ):
            with self.subTest(condition):
                await self.check(models.Filter(must=[condition]), wanted)


class Refusals(People):
    async def test_a_wrong_dimension_is_a_400(self) -> None:
        client, name = self.client, self.name
        wrong = "Wrong input: Vector dimension error: expected dim: 2, got 3"
        point = models.PointStruct(id=9, vector=[1.0, 2.0, 3.0])
        await self.refused(400, wrong, client.upsert(name, points=[point]))
        await self.refused(400, wrong, client.query_points(name, query=[1.0, 2.0, 3.0]))
        self.assertEqual((await client.count(name)).count, 5)

    async def test_an_unknown_vector_name_is_a_400(self) -> None:
        client, name = self.client, self.name
        unknown = "Wrong input: Not existing vector name error: other"
        point = models.PointStruct(id=9, vector={"other": [1.0, 2.0]})
        await self.refused(400, unknown, client.upsert(name, points=[point]))
        search = client.query_points(name, query=[1.0, 2.0], using="other")
        await self.refused(400, unknown, search)

    async def test_what_is_not_an_id_is_a_400(self) -> None:
        point = models.PointStruct(id="no-uuid", vector=[1.0, 2.0])
        refusal = "value no-uuid is not a valid point ID"
        await self.refused(400, refusal, self.client.upsert(self.name, points=[point]))

    async def test_a_query_by_a_missing_id_is_a_404(self) -> None:
        missing = "Not found: No point with id 99 found"
        await self.refused(404, missing, self.client.query_points(self.name, query=99))
