//! The query string, against what Qdrant was seen to answer.

use super::*;

fn read(operation: Operation, query: &str) -> std::result::Result<Params, String> {
    Params::read(operation, Some(query)).map_err(|error| {
        assert_eq!(error.kind(), ErrorKind::BadInput);
        assert_eq!(error.retry(), Retry::Never);
        error.to_string()
    })
}

fn refusal(operation: Operation, query: &str, expected: &str) {
    let expected = format!("Deserialize error in query parameters: {expected}");
    assert_eq!(
        read(operation, query),
        Err(expected),
        "{operation} ?{query}"
    );
}

#[test]
fn no_query_gives_the_defaults() {
    let none = Params::read(Operation::UpsertPoints, None).unwrap();
    assert_eq!(none, Params::default());
    assert!(Params::read(Operation::CreateSnapshot, None).unwrap().wait);
    assert!(!Params::read(Operation::CleanupShard, None).unwrap().wait);
}

#[test]
fn good_values_are_read() {
    let write = read(
        Operation::UpsertPoints,
        "wait=true&ordering=strong&timeout=0",
    )
    .unwrap();
    let expected = Params {
        wait: true,
        ordering: WriteOrdering::Strong,
        timeout: Some(Duration::ZERO),
        consistency: None,
    };
    assert_eq!(write, expected);
    let factor = read(Operation::QueryPoints, "consistency=3&timeout=60").unwrap();
    assert_eq!(factor.consistency, Some(ReadConsistency::Factor(3)));
    assert_eq!(factor.timeout, Some(Duration::from_secs(60)));
    for (value, expected) in [
        ("majority", Some(ReadConsistency::Majority)),
        ("quorum", Some(ReadConsistency::Quorum)),
        ("%61ll", Some(ReadConsistency::All)),
        ("", None),
    ] {
        let params = read(Operation::GetPoint, &format!("consistency={value}")).unwrap();
        assert_eq!(params.consistency, expected, "{value}");
    }
}

#[test]
fn odd_queries_that_qdrant_takes_are_taken() {
    for query in [
        "&&",
        "=",
        "x",
        "%zz=1",
        "a[b]=1",
        "Timeout=0",
        "wait=true&",
        "&wait=true",
    ] {
        assert!(read(Operation::UpsertPoints, query).is_ok(), "{query}");
    }
    assert!(read(Operation::UpsertPoints, "wait=%74rue").unwrap().wait);
    let plus = read(Operation::CreateCollection, "timeout=%2B5").unwrap();
    assert_eq!(plus.timeout, Some(Duration::from_secs(5)));
    let long = read(Operation::GetPoints, "timeout=18446744073709551615").unwrap();
    assert_eq!(long.timeout, Some(Duration::from_secs(TIMEOUT_SECONDS_MAX)));
}

#[test]
fn a_parameter_that_an_operation_does_not_have_is_ignored() {
    let cases = [
        (Operation::ListCollections, "timeout=abc&wait=1"),
        (Operation::QueryPoints, "wait=maybe&ordering=zzz"),
        (Operation::UpsertPoints, "consistency=zzz"),
        (Operation::CreateCollection, "wait=maybe&consistency=0"),
        (Operation::CreateSnapshot, "timeout=-1"),
        (
            Operation::Unknown,
            "wait=maybe&timeout=abc&consistency=0&ordering=x",
        ),
    ];
    for (operation, query) in cases {
        assert!(read(operation, query).is_ok(), "{operation} ?{query}");
    }
}

#[test]
fn bad_values_are_refused_in_qdrants_words() {
    use Operation as Op;
    let bool = "provided string was not `true` or `false`";
    let variants = "expected one of `weak`, `medium`, `strong`";
    let consistency = "failed to deserialize read consistency query parameter value";
    for value in [
        "maybe",
        "1",
        "TRUE",
        "",
        "true%20",
        "null",
        "true;ordering=weak",
    ] {
        refusal(Op::UpsertPoints, &format!("wait={value}"), bool);
        refusal(Op::CreateFullSnapshot, &format!("wait={value}"), bool);
    }
    refusal(Op::DeletePoints, "wait", bool);
    for value in ["STRONG", "bar", "1", ""] {
        let expected = format!("unknown variant `{value}`, {variants}");
        refusal(Op::DeleteIndex, &format!("ordering={value}"), &expected);
    }
    for value in ["0", "-1", "1.5", "Quorum", "foo", "18446744073709551616"] {
        let expected = format!("{consistency} '{value}'");
        refusal(Op::Facet, &format!("consistency={value}"), &expected);
    }
    refusal(
        Op::Facet,
        "consistency=a%20b",
        "data did not match any variant of untagged enum Helper",
    );
}

#[test]
fn the_three_timeouts_are_refused_each_in_its_own_words() {
    use Operation as Op;
    let digit = "invalid digit found in string";
    let large = "number too large to fit in target type";
    let empty = "cannot parse integer from empty string";
    for operation in [Op::GetPoint, Op::UpsertPoints, Op::CreateCollection] {
        for value in ["abc", "1.5", "1e2", "%205"] {
            refusal(operation, &format!("timeout={value}"), digit);
        }
        refusal(operation, "timeout=18446744073709551616", large);
        refusal(operation, "timeout=", empty);
    }
    refusal(Op::GetPoint, "timeout=-1", digit);
    refusal(Op::UpdateCollection, "timeout=-1", digit);
    refusal(
        Op::CreateVectorName,
        "timeout=-1",
        "std::time::Duration cannot be negative",
    );
    let nonzero = "invalid value: integer `0`, expected a nonzero u64";
    refusal(Op::SearchPoints, "timeout=0", nonzero);
    let rule = "Validation error in query parameters: \
                [timeout: value 0 invalid, must be 1 or larger]";
    for operation in [Op::CreateCollection, Op::UpdateAliases, Op::RemovePeer] {
        assert_eq!(read(operation, "timeout=0"), Err(rule.to_owned()));
    }
}

#[test]
fn the_first_fault_is_the_one_reported() {
    refusal(
        Operation::UpsertPoints,
        "wait=true&wait=zz",
        "duplicate field `wait`",
    );
    refusal(
        Operation::UpsertPoints,
        "wait=true&wait=true",
        "duplicate field `wait`",
    );
    refusal(
        Operation::Facet,
        "timeout=60&timeout=61",
        "duplicate field `timeout`",
    );
    refusal(
        Operation::Facet,
        "consistency=&consistency=",
        "duplicate field `consistency`",
    );
    refusal(
        Operation::UpsertPoints,
        "ordering=weak&%6Frdering=weak",
        "duplicate field `ordering`",
    );
    refusal(
        Operation::UpsertPoints,
        "timeout=x&wait=zz",
        "invalid digit found in string",
    );
    refusal(
        Operation::CreateCollection,
        "timeout=0&timeout=x",
        "duplicate field `timeout`",
    );
}
