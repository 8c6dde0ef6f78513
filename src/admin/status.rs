//! How the stores are, for `GET /api/status`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::mode::Stores;
use crate::model::Role;
use crate::store::Store;

/// Both stores, asked at the same time.
pub(super) async fn stores(stores: &Stores, within: Duration) -> Value {
    let of = async |role: Role| match stores.get(role) {
        None => Value::Null,
        Some(store) => one(store.as_ref(), within).await,
    };
    let (primary, secondary) = tokio::join!(of(Role::Primary), of(Role::Secondary));
    json!({ "primary": primary, "secondary": secondary })
}

async fn one(store: &dyn Store, within: Duration) -> Value {
    let kind = store.kind().as_str();
    match store.probe(within).await {
        Ok(()) => json!({ "kind": kind, "up": true }),
        Err(error) => json!({ "kind": kind, "up": false, "error": error.chain() }),
    }
}
