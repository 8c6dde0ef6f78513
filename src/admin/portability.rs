//! What another store would do with the requests that are seen, for `GET /api/report/portability`.

use serde_json::{Map, Value, json};

use crate::mode::Router;
use crate::model::StoreKind;
use crate::portability::{Feature, Seen, Shape, Traffic, Verdict, verdict};

/// Of the store that does not answer reads; of all kinds where there is none.
pub(super) fn report(traffic: &Traffic, router: &Router) -> Value {
    let role = router.snapshot().plan(None).authority_role;
    let kinds = match router.stores().get(role.other()) {
        Some(other) => vec![other.kind()],
        None => StoreKind::ALL.to_vec(),
    };
    let seen = traffic.seen();
    let whole = seen.looked_at.max(1) as f64;
    let shapes = seen.shapes.iter().map(|(shape, count)| {
        let serves = kinds.iter().map(|kind| {
            let (verdict, why) = verdict(shape, *kind);
            let told = json!({ "verdict": verdict.as_str(), "why": why });
            (kind.as_str().to_owned(), told)
        });
        json!({
            "share": *count as f64 / whole,
            "count": count,
            "operation": shape.operation.as_str(),
            "features": shape.features().map(Feature::as_str).collect::<Vec<_>>(),
            "serves": serves.collect::<Map<_, _>>(),
        })
    });
    let summary = kinds.iter().map(|kind| {
        let shares = shares(&seen, *kind)
            .map(|(verdict, count)| (verdict.as_str().to_owned(), json!(count as f64 / whole)));
        (
            kind.as_str().to_owned(),
            Value::Object(shares.into_iter().collect()),
        )
    });
    json!({
        "kinds": kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>(),
        "looked_at": seen.looked_at,
        "passed_over": traffic.passed_over(),
        "shapes": shapes.collect::<Vec<_>>(),
        "others": seen.others,
        "summary": summary.collect::<Map<_, _>>(),
    })
}

/// How many requests get each verdict; those whose shapes are not kept apart are not known.
fn shares(seen: &Seen, kind: StoreKind) -> [(Verdict, u64); 4] {
    Verdict::ALL.map(|wanted| {
        let is_wanted = |shape: &Shape| verdict(shape, kind).0 == wanted;
        let with = seen.shapes.iter().filter(|(shape, _)| is_wanted(shape));
        let count: u64 = with.map(|(_, count)| count).sum();
        let others = if wanted == Verdict::Unknown {
            seen.others
        } else {
            0
        };
        (wanted, count + others)
    })
}
