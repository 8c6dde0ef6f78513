//! Splitting, against a reader that knows nothing of how it is done.

mod random;

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use serde_json::value::RawValue;

use super::*;

fn split(body: &str, part_bytes_max: usize) -> std::result::Result<Vec<String>, String> {
    let parts = split_upsert(Bytes::copy_from_slice(body.as_bytes()), part_bytes_max);
    let parts = parts.map_err(|error| {
        assert_eq!(error.kind(), ErrorKind::BadInput);
        error.to_string()
    })?;
    Ok(parts
        .iter()
        .map(|part| String::from_utf8(part.to_vec()).unwrap())
        .collect())
}

#[test]
fn a_body_that_fits_is_not_looked_at() {
    let body = Bytes::from_static(b"anything");
    let parts = split_upsert(body.clone(), 8).unwrap();
    assert_eq!(parts.len(), 1);
    assert_eq!(parts.first().unwrap().as_ptr(), body.as_ptr());
}

#[test]
fn points_are_dealt_in_order_and_the_rest_is_repeated() {
    let point = |id: u8| {
        let long = "x".repeat(100);
        format!(r#"{{"id":{id},"vector":[1.50e0,-0.0],"payload":{{"a":"],[\"{long}"}}}}"#)
    };
    let body = |points: &str| format!(r#"{{"points":[{points}] , "shard_key":"ä","new":1.0}}"#);
    let [one, two, three] = [1, 2, 3].map(point);
    let whole = body(&format!(" {one} ,\n{two},{three}\n"));
    let expected = [body(&format!("{one} ,\n{two}")), body(&three)];
    let longest = expected.iter().map(String::len).max().unwrap();
    assert_eq!(split(&whole, longest).unwrap(), expected);
    let alone = [body(&one), body(&format!("{two},{three}"))];
    assert_eq!(split(&whole, longest - 1).unwrap(), alone);
}

#[test]
fn columns_are_cut_in_step() {
    let body = |ids: &str, dense: &str, sparse: &str, payloads: &str| {
        format!(
            r#"{{"u":0,"batch":{{"payloads":[{payloads}],"ids":[{ids}],"vectors":{{"d":[{dense}],"s":[{sparse}]}}}}}}"#
        )
    };
    let payload = format!(r#"{{"a":"{}"}}"#, "x".repeat(300));
    let sparse = r#"{"indices":[1],"values":[2]}"#;
    let whole = body(
        r#"1, "550e8400-e29b-41d4-a716-446655440000" ,3"#,
        "[1,2],[3,4] , [5,6]",
        &format!("{sparse},{sparse},{sparse}"),
        &format!("null,{payload},{payload}"),
    );
    let expected = [
        body(
            r#"1, "550e8400-e29b-41d4-a716-446655440000""#,
            "[1,2],[3,4]",
            &format!("{sparse},{sparse}"),
            &format!("null,{payload}"),
        ),
        body("3", "[5,6]", sparse, &payload),
    ];
    let longest = expected.iter().map(String::len).max().unwrap();
    assert_eq!(split(&whole, longest).unwrap(), expected);
}

#[test]
fn a_point_that_is_too_large_stays_alone() {
    let large = format!(r#"{{"id":2,"payload":{{"a":"{}"}}}}"#, "x".repeat(500));
    let whole = format!(r#"{{"points":[{{"id":1}},{large},{{"id":3}},{{"id":4}}]}}"#);
    let expected = [
        r#"{"points":[{"id":1}]}"#.to_owned(),
        format!(r#"{{"points":[{large}]}}"#),
        r#"{"points":[{"id":3},{"id":4}]}"#.to_owned(),
    ];
    assert_eq!(split(&whole, 100).unwrap(), expected);
}

#[test]
fn what_repeats_may_not_outgrow_the_parts() {
    let body = format!(
        r#"{{"points":[{}1],"x":"{}"}}"#,
        "1,".repeat(500),
        "x".repeat(300)
    );
    let expected = "Payload error: JSON payload (1321 bytes) is larger than allowed \
                    (limit: 1000 bytes).";
    assert_eq!(split(&body, 1_000), Err(expected.to_owned()));
    let nothing = format!(r#"{{"points":[{}]}}"#, " ".repeat(100));
    assert_eq!(split(&nothing, 60).unwrap(), [r#"{"points":[]}"#]);
}

#[test]
fn what_cannot_be_cut_is_refused_in_qdrants_words() {
    let point = r#"{"id":1,"vector":[1,2]}"#;
    let cases = [
        ("", "EOF while parsing a value at line 1 column 0"),
        ("{}", "Invalid PointInsertOperations format"),
        ("null", "Invalid PointInsertOperations format"),
        ("[]", "Invalid PointInsertOperations format"),
        ("[", "EOF while parsing a list at line 1 column 1"),
        ("'{}'", "expected value at line 1 column 1"),
        ("{\0}", "key must be a string at line 1 column 2"),
        ("{\n\"points\"=[]}", "expected `:` at line 2 column 9"),
        (
            "{\"points\":[POINT]",
            "EOF while parsing an object at line 1 column 35",
        ),
        (
            "{\"points\":[POINT],}",
            "trailing comma at line 1 column 37",
        ),
        (
            "{\"points\":[POINT] \"z\":1}",
            "expected `,` or `}` at line 1 column 37",
        ),
        (
            "{\"points\":[POINT]}{}",
            "trailing characters at line 1 column 37",
        ),
        (
            "{\"points\":[POINT POINT]}",
            "expected `,` or `]` at line 1 column 36",
        ),
        (
            "{\"points\":[POINT],\"z\":01}",
            "invalid number at line 1 column 42",
        ),
        (
            "{\"points\":[POINT],\"z\":\"\\x\"}",
            "invalid escape at line 1 column 43",
        ),
        (
            "{\"points\":\"1\"}",
            "invalid type: string \"1\", expected a sequence",
        ),
        (
            "{\"points\":-1}",
            "invalid type: integer `-1`, expected a sequence",
        ),
        (
            "{\"points\":null}",
            "invalid type: null, expected a sequence",
        ),
        (
            "{\"points\":{\"a\":1}}",
            "invalid type: map, expected a sequence",
        ),
        (
            "{\"points\":[],\"points\":[]}",
            "duplicate field `points` at line 1 column 21",
        ),
        (
            "{\"points\":[],\"batch\":{}}",
            "Invalid PointInsertOperations format",
        ),
        ("{\"batch\":{}}", "missing field `ids`"),
        ("{\"batch\":{\"ids\":[1]}}", "missing field `vectors`"),
        (
            "{\"batch\":1}",
            "invalid type: integer `1`, expected struct Batch",
        ),
        (
            "{\"batch\":{\"ids\":1e20,\"vectors\":[]}}",
            "invalid type: floating point `1e+20`, expected a sequence",
        ),
        (
            "{\"batch\":{\"ids\":[],\"vectors\":{\"a\":1}}}",
            "data did not match any variant of untagged enum BatchVectorStruct",
        ),
        (
            "{\"batch\":{\"ids\":[],\"vectors\":7}}",
            "data did not match any variant of untagged enum BatchVectorStruct",
        ),
        (
            "{\"batch\":{\"ids\":[],\"vectors\":[],\"payloads\":\"x\"}}",
            "invalid type: string \"x\", expected a sequence",
        ),
        (
            "{\"batch\":{\"ids\":[],\"ids\":[]}}",
            "duplicate field `ids`",
        ),
        (
            "{\"batch\":{\"ids\":[],\"vectors\":{\"a\":[],\"\\u0061\":[]}}}",
            "duplicate field `a`",
        ),
    ];
    for (body, expected) in cases {
        let body = body.replace("POINT", point);
        // One byte less than there is, or nothing would have to be cut.
        let parts = split_upsert(Bytes::from(body.clone()), body.len().wrapping_sub(1));
        if body.is_empty() {
            continue;
        }
        let text = parts.unwrap_err().to_string();
        assert_eq!(
            text,
            format!("Format error in JSON body: {expected}"),
            "{body}"
        );
    }
}

#[test]
fn columns_that_disagree_are_refused_in_qdrants_words() {
    let cases = [
        (
            r#"{"ids":[1,2],"vectors":[[1]]}"#,
            "vectors must be equal (2 != 1)",
        ),
        (
            r#"{"ids":[1],"vectors":[[1],[2]]}"#,
            "vectors must be equal (1 != 2)",
        ),
        (
            r#"{"ids":[1],"vectors":{"a":[[1]],"b":[]}}"#,
            "vectors must be equal (1 != 0)",
        ),
        (
            r#"{"ids":[1],"vectors":[[1]],"payloads":[]}"#,
            "payloads must be equal (1 != 0)",
        ),
        (
            r#"{"payloads":[{},{}],"vectors":[[1]],"ids":[1]}"#,
            "payloads must be equal (1 != 2)",
        ),
    ];
    for (batch, expected) in cases {
        let batch = batch.replace('[', &format!("[{}", " ".repeat(100)));
        let body = format!(r#"{{"batch":{batch}}}"#);
        let text = split(&body, body.len() - 1);
        let expected =
            format!("Validation error in JSON body: [batch.batch: number of ids and {expected}]");
        assert_eq!(text, Err(expected), "{batch}");
    }
}

#[test]
fn invalid_unicode_is_refused() {
    let body = Bytes::from_static(b"{\"points\":[{\"id\":1,\"payload\":{\"a\":\"\xff\"}}]}");
    let error = split_upsert(body, 10).unwrap_err().to_string();
    assert_eq!(
        error,
        "Format error in JSON body: invalid unicode code point at line 1 column 36"
    );
}

#[test]
fn nesting_is_refused_where_qdrant_refuses_it_and_never_overflows() {
    for depth in [126, 127, 200, 100_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            for body in [
                format!("{{\"points\":\n[{{\"id\":1,\"payload\":{deep}}}]}}"),
                format!("{{\"points\":[{{\"id\":1}}],\n\"z\":{deep}}}"),
                format!("{{\"batch\":{{\"ids\":{deep}}}}}"),
                format!("{{\"points\":{deep}"),
                deep,
            ] {
                let ours = split(&body, body.len() - 1).err();
                // Qdrant reads the body into a tree of this kind.
                let theirs = serde_json::from_str::<Value>(&body).err();
                let theirs = theirs.filter(|error| error.to_string().starts_with("recursion"));
                if let Some(theirs) = theirs
                    && serde_json::from_str::<&RawValue>(&body).is_ok()
                    && body.starts_with('{')
                {
                    let expected = format!("Format error in JSON body: {theirs}");
                    assert_eq!(ours, Some(expected), "{depth}");
                }
            }
        }
    }
    let fine = format!(
        r#"{{"points":[{{"id":1,"payload":{}{}}},{{"id":2}}]}}"#,
        r#"{"a":"#.repeat(123),
        "1".to_owned() + &"}".repeat(123)
    );
    assert_eq!(split(&fine, fine.len() - 1).map(|parts| parts.len()), Ok(2));
    let error = split(&"[".repeat(1 << 20), 10).unwrap_err();
    assert_eq!(
        error,
        "Format error in JSON body: EOF while parsing a list at line 1 column 1048576"
    );
}
