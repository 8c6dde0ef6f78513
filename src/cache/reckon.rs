//! What the ghost is told: every read and write, whether the cache is on or off.

use std::sync::Arc;
use std::time::Duration;

use super::ghost::{Depends, Estimate};
use super::key::Key;
use super::names::Names;
use super::narrow;
use super::pin;
use super::reach;
use super::scope::{Scope, Slot};
use super::tenant::{Field, Tenancy};
use super::{Cache, Kept};
use crate::model::{Class, Operation};

/// Where nobody has said what tells tenants apart: fields that commonly do.
const GUESSED: [&str; 6] = [
    "user_id",
    "tenant_id",
    "group_id",
    "agent_id",
    "metadata.user_id",
    "metadata.tenant_id",
];

/// A question, as far as the ghost looks at it.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub operation: Operation,
    pub collection: Option<&'a str>,
    pub body: &'a [u8],
}

impl Kept {
    pub fn bytes(&self) -> usize {
        self.entry.body.len()
    }
}

impl Cache {
    /// A read was answered with so many bytes; `took` when the store was asked.
    pub fn reckon(&self, key: Key, asked: Asked<'_>, bytes: usize, took: Option<Duration>) {
        self.ghost.read(key, bytes, took, || self.depends(asked));
    }

    fn depends(&self, asked: Asked<'_>) -> Option<Depends> {
        let Asked {
            operation,
            collection,
            body,
        } = asked;
        let names = Names::default();
        let slots = reach::of_read(operation, collection, Some(&names), body).ok()?;
        let pinned = collection.and_then(|name| {
            let fields = self.fields_of(name);
            let pins = pin::pins(operation, body, &fields, &Tenancy::default())?;
            Some(reach::of_pinned_read(name, &pins))
        });
        Some(Depends {
            tenants: pinned.unwrap_or_else(|| slots.clone()).into(),
            collection: slots.into(),
        })
    }

    /// A call that may change answers has been made. `body`: what it said, if that is known.
    pub fn reckon_write(&self, operation: Operation, name: Option<&str>, body: Option<&[u8]>) {
        let names = Names::default();
        let mut slots = reach::of_write(operation, name, Some(&names));
        if let (Class::PointWrite, Some(name)) = (operation.class(), name)
            && let Some(tenants) = self.tenants_given(operation, name, body)
        {
            let shared = Scope::Shared(name).slot();
            slots.retain(|slot| *slot != shared);
            slots.extend(tenants);
        }
        self.ghost.renew(slots);
    }

    /// Whom a write touches, if its body alone tells.
    fn tenants_given(
        &self,
        operation: Operation,
        name: &str,
        body: Option<&[u8]>,
    ) -> Option<Vec<Slot>> {
        let upserts = operation == Operation::UpsertPoints;
        let named = narrow::named(operation, body.filter(|_| upserts)?).ok()?;
        let tenants = named.given_to(&self.fields_of(name)).ok()?;
        Some(reach::of_tenants(&[name], &tenants))
    }

    fn fields_of(&self, name: &str) -> Vec<Arc<Field>> {
        let own = self.policy.collections.get(name);
        let configured = own.and_then(|own| own.tenant_key.as_deref());
        let mut fields = self.tenants.fields(std::iter::once(name));
        fields.extend(configured.and_then(Field::parse).map(Arc::new));
        if fields.is_empty() {
            fields.extend(
                GUESSED
                    .iter()
                    .filter_map(|text| Field::parse(text))
                    .map(Arc::new),
            );
        }
        fields
    }

    /// What caches of other sizes, lifetimes and reaches would have done.
    pub fn estimate(&self) -> Estimate {
        self.ghost.estimate()
    }
}
