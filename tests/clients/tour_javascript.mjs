// The JavaScript client's tour: node tour_javascript.mjs URL [API_KEY [ONLY]]
//
// Says one line a test, `ok NAME` or `not NAME TROUBLE`, and `versions …` at the end; run.py reads
// them. The client is looked for in the folder OUTRIGGER_TEST_NODE_MODULES.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { createRequire } from "node:module";
import path from "node:path";

const modules = process.env.OUTRIGGER_TEST_NODE_MODULES ?? "node_modules";
const require = createRequire(path.resolve(modules, "here.js"));
const { QdrantClient } = require("@qdrant/js-client-rest");
const version = require(path.resolve(modules, "@qdrant/js-client-rest/package.json")).version;

const [url, apiKey, only] = process.argv.slice(2);
const options = { url, ...(apiKey ? { apiKey } : {}) };
const called = new Set();

// Asks for the version when it is made, and warns on the console: that would be a failure.
const warnings = [];
console.warn = (...words) => warnings.push(words.join(" "));

function connect() {
    return new Proxy(new QdrantClient({ ...options, checkCompatibility: false }), {
        get(client, name) {
            const member = client[name];
            if (typeof member !== "function") return member;
            called.add(name);
            return member.bind(client);
        },
    });
}

const client = connect();
const VECTORS = { 1: [1, 0], 2: [0.8, 0.2], 3: [0.6, 0.6], 4: [0.2, 0.8], 5: [0, 1], 6: [-1, 0] };
const kind = (value) => ({ must: [{ key: "kind", match: { value } }] });
const ids = (points) => points.map((point) => point.id);

function near(found, wanted) {
    assert.equal(found.length, wanted.length);
    found.forEach((one, at) => assert.ok(Math.abs(one - wanted[at]) < 1e-4, `${found} != ${wanted}`));
}

async function refused(status, text, call) {
    await assert.rejects(call, (error) => {
        assert.equal(error.status, status);
        assert.ok(error.data.status.error.includes(text), error.data.status.error);
        return true;
    });
}

async function withPoints(name) {
    await client.createCollection(name, { vectors: { size: 2, distance: "Dot" } });
    const points = Object.entries(VECTORS).map(([id, vector]) => ({
        id: Number(id),
        vector,
        payload: { n: Number(id), kind: [1, 2, 6].includes(Number(id)) ? "a" : "b" },
    }));
    const update = await client.upsert(name, { wait: true, points });
    assert.equal(update.status, "completed");
}

const TESTS = {
    async versions_are_compared_without_a_warning() {
        const server = (await client.versionInfo()).version;
        const minor = (text) => Number(text.split(".")[1]);
        await new QdrantClient(options).getCollections();
        // It asks on the side; the answer to a later question comes after it on loopback.
        await new Promise((resolve) => setTimeout(resolve, 500));
        // Not what it says of a key without TLS.
        const said = warnings.filter((warning) => warning.includes("version"));
        const wanted = Math.abs(minor(server) - minor(version)) > 1 ? 1 : 0;
        assert.equal(said.length, wanted, said[0]);
    },

    async collections(name) {
        assert.equal((await client.collectionExists(name)).exists, false);
        const vectors = { size: 4, distance: "Cosine", on_disk: true };
        const metadata = { owner: "tour" };
        assert.equal(await client.createCollection(name, { vectors, metadata }), true);
        assert.equal((await client.collectionExists(name)).exists, true);
        await refused(409, "already exists", client.createCollection(name, { vectors }));
        const listed = await client.getCollections();
        assert.ok(listed.collections.some((one) => one.name === name));
        assert.equal((await client.getCollection(name)).status, "green");
        await client.updateCollection(name, { optimizers_config: { indexing_threshold: 777 } });
        const info = await client.getCollection(name);
        assert.deepEqual(info.config.params.vectors, vectors);
        assert.deepEqual(info.config.metadata, metadata);
        assert.equal(info.config.optimizer_config.indexing_threshold, 777);
        await client.recreateCollection(name, { vectors: { size: 2, distance: "Dot" } });
        assert.equal((await client.getCollection(name)).config.params.vectors.size, 2);
        assert.equal((await client.getOptimizations(name)).summary.queued_optimizations, 0);
        assert.equal(await client.deleteCollection(name), true);
        await refused(404, `Collection \`${name}\` doesn't exist`, client.getCollection(name));
    },

    async aliases(name) {
        await withPoints(name);
        const alias = `${name}_alias`;
        const create_alias = { collection_name: name, alias_name: alias };
        await client.updateCollectionAliases({ actions: [{ create_alias }] });
        assert.equal((await client.count(alias)).count, 6);
        assert.deepEqual((await client.getCollectionAliases(name)).aliases, [
            { alias_name: alias, collection_name: name },
        ]);
        assert.ok((await client.getAliases()).aliases.some((one) => one.alias_name === alias));
        const delete_alias = { alias_name: alias };
        await client.updateCollectionAliases({ actions: [{ delete_alias }] });
        assert.deepEqual((await client.getCollectionAliases(name)).aliases, []);
    },

    async points_and_payloads(name) {
        await withPoints(name);
        const batch = { ids: [7, 8], vectors: [[7, 7], [8, 8]], payloads: [{ n: 7 }, {}] };
        await client.upsert(name, { wait: true, batch });
        const [point] = await client.retrieve(name, { ids: [7], with_vector: true });
        assert.deepEqual([point.payload, point.vector], [{ n: 7 }, [7, 7]]);
        await client.setPayload(name, { wait: true, payload: { x: 1 }, points: [1] });
        await client.overwritePayload(name, { wait: true, payload: { y: 2 }, points: [2] });
        await client.deletePayload(name, { wait: true, keys: ["n"], points: [3] });
        await client.clearPayload(name, { wait: true, points: [4] });
        const payloads = (await client.retrieve(name, { ids: [1, 2, 3, 4] }))
            .sort((a, b) => a.id - b.id)
            .map((one) => one.payload);
        const wanted = [{ n: 1, kind: "a", x: 1 }, { y: 2 }, { kind: "b" }, {}];
        assert.deepEqual(payloads, wanted);
        await client.delete(name, { wait: true, points: [7] });
        await client.delete(name, { wait: true, filter: kind("b") });
        const updates = await client.batchUpdate(name, {
            wait: true,
            operations: [
                { upsert: { points: [{ id: 9, vector: [9, 9] }] } },
                { delete: { points: [8] } },
            ],
        });
        assert.deepEqual(updates.map((update) => update.status), ["completed", "completed"]);
        assert.deepEqual(ids((await client.scroll(name, {})).points), [1, 2, 4, 6, 9]);
        await refused(
            400,
            "Vector dimension error: expected dim: 2, got 3",
            client.upsert(name, { wait: true, points: [{ id: 1, vector: [1, 2, 3] }] }),
        );
    },

    async named_and_sparse_vectors(name) {
        await client.createCollection(name, {
            vectors: { a: { size: 2, distance: "Dot" } },
            sparse_vectors: { words: {} },
        });
        const vector = { a: [1, 0], words: { indices: [3, 5], values: [1, 2] } };
        await client.upsert(name, { wait: true, points: [{ id: 1, vector }] });
        await client.createVectorName(name, "b", { dense: { size: 2, distance: "Dot" } });
        const points = [{ id: 1, vector: { b: [0, 1] } }];
        await client.updateVectors(name, { wait: true, points });
        const query = { indices: [5], values: [10] };
        const found = await client.query(name, { query, using: "words" });
        near(found.points.map((point) => point.score), [20]);
        await client.deleteVectors(name, { wait: true, points: [1], vector: ["a"] });
        const [point] = await client.retrieve(name, { ids: [1], with_vector: true });
        assert.deepEqual(Object.keys(point.vector).sort(), ["b", "words"]);
        await client.deleteVectorName(name, "b");
        const params = (await client.getCollection(name)).config.params;
        assert.deepEqual(Object.keys(params.vectors), ["a"]);
    },

    async indexes_order_and_facets(name) {
        await withPoints(name);
        await client.createPayloadIndex(name, { field_name: "n", field_schema: "integer", wait: true });
        await client.createPayloadIndex(name, {
            field_name: "kind",
            field_schema: { type: "keyword", is_tenant: true },
            wait: true,
        });
        const schema = (await client.getCollection(name)).payload_schema;
        assert.deepEqual([schema.n.data_type, schema.n.points], ["integer", 6]);
        assert.equal(schema.kind.params.is_tenant, true);
        const order_by = { key: "n", direction: "desc" };
        const page = await client.scroll(name, { order_by, limit: 3 });
        assert.deepEqual(ids(page.points), [6, 5, 4]);
        const { hits } = await client.facet(name, { key: "kind", exact: true });
        assert.deepEqual(hits, [{ value: "a", count: 3 }, { value: "b", count: 3 }]);
        assert.equal((await client.count(name, { filter: kind("a"), exact: true })).count, 3);
        const first = await client.scroll(name, { limit: 4 });
        assert.deepEqual([ids(first.points), first.next_page_offset], [[1, 2, 3, 4], 5]);
        await client.deletePayloadIndex(name, "n", { wait: true });
        assert.deepEqual(Object.keys((await client.getCollection(name)).payload_schema), ["kind"]);
    },

    async queries(name) {
        await withPoints(name);
        async function check(request, wanted, scores) {
            const { points } = await client.query(name, request);
            assert.deepEqual(ids(points), wanted, JSON.stringify(request));
            if (scores) near(points.map((point) => point.score), scores);
        }
        await check({ query: [1, 0] }, [1, 2, 3, 4, 5, 6], [1, 0.8, 0.6, 0.2, 0, -1]);
        await check({ query: { nearest: [1, 0] }, filter: kind("b"), limit: 2 }, [3, 4]);
        await check({ query: 1, limit: 2, offset: 1 }, [3, 4]);
        await check({ query: [1, 0], score_threshold: 0.5, params: { exact: true } }, [1, 2, 3]);
        const strategy = "sum_scores";
        const recommend = { positive: [1], negative: [5], strategy };
        await check({ query: { recommend } }, [2, 3, 4, 6], [0.6, 0, -0.6, -1]);
        const context = [{ positive: 5, negative: 1 }];
        await check({ query: { discover: { target: [1, 0], context } } }, [4, 6, 3, 2]);
        const mmr = { diversity: 0.5, candidates_limit: 6 };
        await check({ query: { nearest: [1, 0.1], mmr }, limit: 3 }, [1, 5, 3]);
        const prefetch = [
            { query: [1, 0], limit: 3 },
            { query: [0, 1], limit: 2 },
        ];
        const { points } = await client.query(name, { prefetch, query: { fusion: "rrf" } });
        assert.deepEqual(ids(points).sort(), [1, 2, 3, 4, 5]);
        const formula = { sum: ["$score", { mult: [10, { key: "kind", match: { value: "b" } }] }] };
        const all = { query: [1, 0], limit: 6 };
        await check({ prefetch: all, query: { formula }, limit: 2 }, [3, 4], [10.6, 10.2]);
        const sample = await client.query(name, { query: { sample: "random" }, limit: 3 });
        assert.equal(new Set(ids(sample.points)).size, 3);
        await refused(404, "No point with id 99 found", client.query(name, { query: 99 }));

        const searches = [{ query: [1, 0], limit: 1 }, { query: [0, 1], limit: 1 }];
        const answers = await client.queryBatch(name, { searches });
        assert.deepEqual(answers.map((answer) => ids(answer.points)), [[1], [5]]);
        const { groups } = await client.queryGroups(name, {
            query: [1, 0],
            group_by: "kind",
            limit: 2,
            group_size: 2,
        });
        assert.deepEqual(groups.map((group) => [group.id, ids(group.hits)]), [
            ["a", [1, 2]],
            ["b", [3, 4]],
        ]);
        const { pairs } = await client.searchMatrixPairs(name, { sample: 10, limit: 1 });
        assert.equal(pairs.length, 6);
        const matrix = await client.searchMatrixOffsets(name, { sample: 10, limit: 1 });
        assert.deepEqual(matrix.ids, [1, 2, 3, 4, 5, 6]);
    },

    async snapshots(name) {
        await withPoints(name);
        const made = await client.createSnapshot(name);
        assert.deepEqual(ids_of(await client.listSnapshots(name)), [made.name]);
        await client.delete(name, { wait: true, points: [1, 2] });
        const location = `${url}/collections/${name}/snapshots/${made.name}`;
        const from = { location, priority: "snapshot", ...(apiKey ? { api_key: apiKey } : {}) };
        assert.equal(await client.recoverSnapshot(name, from), true);
        assert.equal((await client.count(name)).count, 6);
        assert.equal(await client.deleteSnapshot(name, made.name), true);
        assert.deepEqual(await client.listSnapshots(name), []);

        const shard = await client.createShardSnapshot(name, 0, { wait: true });
        assert.deepEqual(ids_of(await client.listShardSnapshots(name, 0)), [shard.name]);
        assert.equal(await client.deleteShardSnapshot(name, 0, shard.name, { wait: true }), true);

        const full = await client.createFullSnapshot();
        assert.ok(ids_of(await client.listFullSnapshots()).includes(full.name));
        assert.equal(await client.deleteFullSnapshot(full.name), true);
    },

    async one_node_is_no_cluster(name) {
        await withPoints(name);
        assert.equal((await client.collectionClusterInfo(name)).shard_count, 1);
        const alone = "Distributed mode disabled";
        await refused(400, alone, client.createShardKey(name, { shard_key: "a" }));
        await refused(400, alone, client.deleteShardKey(name, { shard_key: "a" }));
        const drop_replica = { shard_id: 0, peer_id: 1 };
        await refused(400, alone, client.updateCollectionCluster(name, { drop_replica }));
        await refused(500, "telemetry from cluster", client.clusterTelemetry());
        assert.ok(!(await client.listShardKeys(name)).shard_keys?.length);
    },

    every_method_was_called() {
        // Quotas came with a later Qdrant than ours; a shard is recovered in the Python tour.
        const left_out = ["constructor", "api", "getQuotas", "updateQuotas", "recoverShardFromSnapshot"];
        const methods = Object.getOwnPropertyNames(QdrantClient.prototype);
        const missing = methods.filter((one) => !called.has(one) && !left_out.includes(one));
        assert.deepEqual(missing, []);
    },
};

function ids_of(snapshots) {
    return snapshots.map((snapshot) => snapshot.name);
}

for (const [test, run] of Object.entries(TESTS)) {
    if (only && !test.includes(only)) continue;
    const name = `javascript_${test}_${randomUUID().slice(0, 6)}`;
    try {
        await run(name);
        console.log(`ok ${test}`);
    } catch (error) {
        console.log(`not ${test} ${(error.stack ?? String(error)).replaceAll("\n", "\\n")}`);
    }
    await client.deleteCollection(name);
}
console.log(`versions @qdrant/js-client-rest ${version}, node ${process.versions.node}`);
