//! Recognition, by example and by the hundred thousand.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::wire::Params;

/// Every shape of call seen in recorded traffic of Qdrant and its clients.
#[rustfmt::skip]
const RECORDED: &[(&str, &str, Operation)] = &[
    ("GET", "/", Operation::Root),
    ("GET", "/cluster", Operation::GetCluster),
    ("GET", "/collections", Operation::ListCollections),
    ("GET", "/collections/docs", Operation::GetCollection),
    ("PUT", "/collections/docs", Operation::CreateCollection),
    ("PATCH", "/collections/docs", Operation::UpdateCollection),
    ("DELETE", "/collections/docs", Operation::DeleteCollection),
    ("GET", "/collections/docs/exists", Operation::CollectionExists),
    ("GET", "/aliases", Operation::ListAliases),
    ("GET", "/collections/docs/aliases", Operation::ListCollectionAliases),
    ("POST", "/collections/aliases", Operation::UpdateAliases),
    ("PUT", "/collections/docs/index", Operation::CreateIndex),
    ("DELETE", "/collections/docs/index/a.b", Operation::DeleteIndex),
    ("PUT", "/collections/docs/vectors/side", Operation::CreateVectorName),
    ("DELETE", "/collections/docs/vectors/side", Operation::DeleteVectorName),
    ("GET", "/collections/docs/snapshots", Operation::ListSnapshots),
    ("GET", "/collections/docs/points/7", Operation::GetPoint),
    ("POST", "/collections/docs/points", Operation::GetPoints),
    ("PUT", "/collections/docs/points", Operation::UpsertPoints),
    ("POST", "/collections/docs/points/delete", Operation::DeletePoints),
    ("POST", "/collections/docs/points/batch", Operation::BatchUpdate),
    ("POST", "/collections/docs/points/scroll", Operation::ScrollPoints),
    ("POST", "/collections/docs/points/count", Operation::CountPoints),
    ("POST", "/collections/docs/facet", Operation::Facet),
    ("POST", "/collections/docs/points/payload", Operation::SetPayload),
    ("PUT", "/collections/docs/points/payload", Operation::OverwritePayload),
    ("POST", "/collections/docs/points/payload/clear", Operation::ClearPayload),
    ("POST", "/collections/docs/points/payload/delete", Operation::DeletePayload),
    ("PUT", "/collections/docs/points/vectors", Operation::UpdateVectors),
    ("POST", "/collections/docs/points/vectors/delete", Operation::DeleteVectors),
    ("POST", "/collections/docs/points/query", Operation::QueryPoints),
    ("POST", "/collections/docs/points/query/batch", Operation::QueryBatch),
    ("POST", "/collections/docs/points/query/groups", Operation::QueryGroups),
    ("POST", "/collections/docs/points/search", Operation::SearchPoints),
    ("POST", "/collections/docs/points/search/batch", Operation::SearchBatch),
    ("POST", "/collections/docs/points/search/groups", Operation::SearchGroups),
    ("POST", "/collections/docs/points/search/matrix/pairs", Operation::SearchMatrixPairs),
    ("POST", "/collections/docs/points/search/matrix/offsets", Operation::SearchMatrixOffsets),
    ("POST", "/collections/docs/points/recommend", Operation::RecommendPoints),
    ("POST", "/collections/docs/points/recommend/batch", Operation::RecommendBatch),
    ("POST", "/collections/docs/points/recommend/groups", Operation::RecommendGroups),
    ("POST", "/collections/docs/points/discover", Operation::DiscoverPoints),
    ("POST", "/collections/docs/points/discover/batch", Operation::DiscoverBatch),
    ("POST", "/v1/embeddings", Operation::Embeddings),
    // The same with odd spelling, also from the record.
    ("PATCH", "/%63ollections/docs", Operation::UpdateCollection),
    ("GET", "/%63ollections/docs/aliases", Operation::ListCollectionAliases),
    ("DELETE", "/%63ollections/docs/vectors/side", Operation::DeleteVectorName),
    ("GET", "/collections/docs/%70oints/101", Operation::GetPoint),
    ("POST", "/collections/docs/%70oints/vectors/delete", Operation::DeleteVectors),
    ("PUT", "/%63ollections/docs/index", Operation::CreateIndex),
    ("POST", "/collections/docs/points/scroll/", Operation::ScrollPoints),
    ("POST", "/collections//docs///facet", Operation::Facet),
    ("DELETE", "/collections/docs/index/f;x=1", Operation::DeleteIndex),
];

fn operation(method: &str, path: &str) -> Operation {
    recognise(&method.parse().unwrap(), path).operation
}

#[test]
fn recorded_calls_are_recognised() {
    for (method, path, expected) in RECORDED {
        assert_eq!(operation(method, path), *expected, "{method} {path}");
    }
    assert_eq!(
        operation("POST", "/v1/chat/completions"),
        Operation::Unknown
    );
}

#[test]
fn every_route_recognises_itself_and_gives_back_its_parameters() {
    for route in ROUTES {
        let path = route
            .template
            .replace("**", "a/b.js")
            .replace('{', "x-")
            .replace('}', "");
        let call = recognise(&route.method, &path);
        assert_eq!(call.operation, route.operation, "{path}");
        let given = [
            ("{collection}", call.collection()),
            ("{point}", call.point_id()),
            ("{snapshot}", call.snapshot()),
            ("{field}", call.field()),
            ("{vector}", call.vector_name()),
            ("{shard}", call.shard()),
            ("{peer}", call.peer()),
            ("{key}", call.metadata_key()),
        ];
        for (placeholder, value) in given {
            let expected = format!("x-{}", placeholder.trim_matches(['{', '}']));
            let has_one = route.template.contains(placeholder);
            assert_eq!(
                value.as_deref(),
                has_one.then_some(&*expected),
                "{path} {placeholder}"
            );
        }
    }
}

#[test]
fn the_wrong_method_is_a_path_nobody_knows() {
    let cases = [
        ("HEAD", "/"),
        ("HEAD", "/collections/docs"),
        ("OPTIONS", "/collections"),
        ("OPTIONS", "*"),
        ("CONNECT", ""),
        ("TRACE", "/"),
        ("BREW", "/collections"),
        ("get", "/collections"),
        ("POST", "/"),
        ("POST", "/collections"),
        ("POST", "/collections/docs"),
        ("DELETE", "/collections/docs/points"),
        ("PATCH", "/collections/docs/points"),
        ("GET", "/collections/docs/points"),
        ("POST", "/collections/docs/points/7"),
        ("PUT", "/aliases"),
        ("POST", "/dashboard"),
        ("GET", "/v1/embeddings"),
    ];
    for (method, path) in cases {
        assert_eq!(
            operation(method, path),
            Operation::Unknown,
            "{method} {path}"
        );
    }
}

#[test]
fn slashes_are_merged_and_trimmed() {
    for path in ["", "collections", "*", "docs/collections"] {
        assert_eq!(operation("GET", path), Operation::Unknown, "{path}");
    }
    for path in ["/", "//", "////"] {
        assert_eq!(operation("GET", path), Operation::Root, "{path}");
    }
    for path in ["/collections", "/collections/", "//collections///"] {
        assert_eq!(operation("GET", path), Operation::ListCollections, "{path}");
    }
    assert_eq!(operation("GET", "/dashboard/"), Operation::Dashboard);
    assert_eq!(
        operation("HEAD", "//dashboard//assets/a.js"),
        Operation::Dashboard
    );
    assert_eq!(operation("GET", "/dashboards"), Operation::Unknown);
    assert_eq!(
        operation("GET", &"/dashboard".repeat(40)),
        Operation::Dashboard
    );
    assert_eq!(
        operation("GET", &"/collections".repeat(40)),
        Operation::Unknown
    );
}

#[test]
fn names_come_out_as_qdrant_reads_them() {
    let cases = [
        ("/collections/aliases", "aliases"),
        ("/collections/.", "."),
        ("/collections/..", ".."),
        ("/collections/%2E%2e", ".."),
        ("/collections/a%2Fb", "a/b"),
        ("/collections/%2F", "/"),
        ("/collections/a%2fexists", "a/exists"),
        ("/collections/%FF", "\u{fffd}"),
        ("/collections/a+b", "a+b"),
        ("/collections/a%2Bb", "a+b"),
        ("/collections/a%20b", "a b"),
        ("/collections/%2541", "%41"),
        ("/collections/%%3241", "$1"),
        ("/collections/%E2%82%AC", "€"),
        ("/collections/%", "%"),
        ("/collections/%00", "\0"),
        ("/collections/a%0Ab", "a\nb"),
        ("/collections/%3F%23", "?#"),
        ("/c%6Fllection%73/docs", "docs"),
    ];
    for (path, name) in cases {
        let call = recognise(&Method::PUT, path);
        assert_eq!(call.operation, Operation::CreateCollection, "{path}");
        assert_eq!(call.collection().as_deref(), Some(name), "{path}");
    }
}

#[test]
fn an_escaped_slash_does_not_separate() {
    assert_eq!(operation("GET", "/collections%2Fdocs"), Operation::Unknown);
    assert_eq!(
        operation("GET", "/collections/docs%2Fexists"),
        Operation::GetCollection
    );
    assert_eq!(operation("GET", "/%2F"), Operation::Unknown);
    let upload = recognise(&Method::GET, "/collections/c/shards/0/snapshots/..%2Fx");
    assert_eq!(upload.operation, Operation::DownloadShardSnapshot);
    assert_eq!(upload.shard().as_deref(), Some("0"));
    assert_eq!(upload.snapshot().as_deref(), Some("../x"));
}

#[test]
fn words_are_not_decoded_twice() {
    assert_eq!(operation("GET", "/%63luster"), Operation::GetCluster);
    assert_eq!(operation("GET", "/%2563luster"), Operation::Unknown);
    assert_eq!(operation("GET", "/%%363luster"), Operation::Unknown);
    assert_eq!(operation("GET", "/Cluster"), Operation::Unknown);
}

const METHODS: [Method; 9] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::HEAD,
    Method::OPTIONS,
    Method::TRACE,
    Method::CONNECT,
];

const SCRAPS: [&str; 24] = [
    "/",
    "//",
    "%",
    "%2F",
    "%2f",
    "%25",
    "%2B",
    "+",
    "%FF",
    "%C3",
    "%00",
    "%70",
    "..",
    ".",
    "*",
    "collections",
    "points",
    "{collection}",
    "aliases",
    "dashboard",
    "ä",
    "\u{fffd}",
    "?",
    "7",
];

/// A path of the table with its slots filled, then cut about; or something else altogether.
fn random_path(random: &mut SmallRng) -> String {
    let mut path = match random.random_range(0..4) {
        0 => (0..random.random_range(0..12))
            .map(|_| *SCRAPS.choose(random).unwrap())
            .collect::<String>(),
        1 => (0..random.random_range(0..30))
            .map(|_| random.random::<char>())
            .collect(),
        _ => {
            let cut = ROUTES
                .choose(random)
                .unwrap()
                .template
                .split('/')
                .map(|word| {
                    let filled = word.starts_with('{') || word == "**";
                    if filled {
                        (*SCRAPS.choose(random).unwrap()).to_owned()
                    } else {
                        word.to_owned()
                    }
                });
            cut.collect::<Vec<_>>().join("/")
        }
    };
    for _ in 0..random.random_range(0..3) {
        let places: Vec<usize> = path.char_indices().map(|(at, _)| at).collect();
        let Some(at) = places.choose(random).copied() else {
            continue;
        };
        match random.random_range(0..3) {
            0 => drop(path.remove(at)),
            1 => path.insert_str(at, SCRAPS.choose(random).unwrap()),
            _ => {
                let letter = path.remove(at);
                path.insert_str(at, &escaped(letter.encode_utf8(&mut [0; 4])));
            }
        }
    }
    path
}

fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// What must hold for any method, path and query.
fn check(method: &Method, path: &str, query: &str) {
    let call = recognise(method, path);
    let parameters = [
        call.collection(),
        call.point_id(),
        call.snapshot(),
        call.field(),
        call.vector_name(),
        call.shard(),
        call.peer(),
        call.metadata_key(),
    ];
    for parameter in parameters.iter().flatten() {
        assert!(!parameter.is_empty(), "{method} {path:?}");
    }
    let _ = Params::read(call.operation, Some(query));
    let row = ROUTES
        .iter()
        .find(|route| route.operation == call.operation);
    let Some(template) = row.map(|route| route.template) else {
        assert_eq!(parameters.iter().flatten().count(), 0, "{method} {path:?}");
        return;
    };
    // The same call, spelled anew from what was understood, is the same call.
    let names = [
        "collection",
        "point",
        "snapshot",
        "field",
        "vector",
        "shard",
        "peer",
        "key",
    ];
    let mut spelled = template.replace("/**", "");
    for (name, parameter) in names.iter().zip(&parameters) {
        let value = parameter.as_deref().map(escaped).unwrap_or_default();
        spelled = spelled.replace(&format!("{{{name}}}"), &value);
    }
    let again = recognise(method, &spelled);
    assert_eq!(
        again.operation, call.operation,
        "{method} {path:?} {spelled}"
    );
    assert_eq!(
        again.collection(),
        call.collection(),
        "{method} {path:?} {spelled}"
    );
    assert_eq!(
        again.snapshot(),
        call.snapshot(),
        "{method} {path:?} {spelled}"
    );
    assert_eq!(again.field(), call.field(), "{method} {path:?} {spelled}");
}

#[test]
fn any_request_at_all_is_survived_and_understood_one_way() {
    let fresh: u64 = rand::random();
    for (seed, cases) in [
        (4711, 100_000),
        (1, 100_000),
        (fresh, 20_000),
        (fresh ^ 1, 20_000),
    ] {
        println!("seed {seed}");
        let mut random = SmallRng::seed_from_u64(seed);
        for _ in 0..cases {
            let method = METHODS.choose(&mut random).unwrap();
            let path = random_path(&mut random);
            let query = random_query(&mut random);
            check(method, &path, &query);
        }
    }
}

fn random_query(random: &mut SmallRng) -> String {
    const WORDS: [&str; 20] = [
        "wait",
        "ordering",
        "timeout",
        "consistency",
        "=",
        "&",
        "&&",
        "true",
        "false",
        "weak",
        "all",
        "0",
        "-1",
        "60",
        "18446744073709551616",
        "%2B5",
        "%",
        "%FF",
        "+",
        ";",
    ];
    (0..random.random_range(0..8))
        .map(|_| *WORDS.choose(random).unwrap())
        .collect()
}
