//! Writes that leave the answers of other tenants alone.
//!
//! A write is narrow when it is known whose its points are before it, and whose they become. Whose
//! they are is looked up at the store just before the write is sent, so nothing may change it in
//! between. What tells is the tokens themselves: a write that goes by ids renews a scope for every
//! id before the look-up, one that goes by a filter renews one that stands for any id, and when the
//! write ends it was narrow only if
//!
//! - nobody else had begun, ended, or left unsettled a write of one of these ids, one by filter,
//!   a broad one, or one to what the collection is, since before the look-up (`Watch`), and
//! - no read has come to go by a field that the look-up did not ask for.
//!
//! Else it is broad then: all that was kept of the collection is out of force before the answer
//! leaves, which is in time, for only who reads after that answer was promised anything.
//!
//! Several sidecars share the tokens, so they meet in the same way, within the time of one publish.
//! What remains: a write by A that is under way at another sidecar when a write by B of the same
//! ids begins here, and that is applied between B's look-up and B's own effect, is seen by B only
//! if one of its renewals arrives in between. If none does, an answer that was kept elsewhere
//! during this time stays in force until A has ended, which renews it. Fields that were learned
//! from an index are used by reads only after every other sidecar has asked again.

use std::sync::Arc;

use super::generation::{Generations, Seen};
use super::key::Asker;
use super::names::Names;
use super::narrow::{self, Broad, Named};
use super::scope::{Scope, Slot};
use super::tenant::{Field, Forgot, Tenancy, Tenants};
use super::{Cache, Writing, pin, reach};
use crate::metrics::CacheMetrics;
use crate::model::Operation;

/// What has to be left alone by everybody else for a write to be narrow.
pub(super) struct Watch {
    seen: Seen,
    broad: Vec<Slot>,
    names: Vec<String>,
    fields: Vec<Arc<Field>>,
    tenants: Arc<Tenants>,
    metrics: CacheMetrics,
}

/// A write that is narrow if the store tells whose its points are. Dropped, it is never sent.
#[must_use]
pub struct Narrowing {
    writing: Writing,
    named: Named,
    fields: Vec<Arc<Field>>,
    names: Vec<String>,
}

/// See [`Cache::before_tenancy`].
pub struct BeforeTenancy(Seen);

impl Cache {
    /// What this caller was told of a collection, if that still holds. Inside, `None`: it cannot
    /// be had.
    pub fn tenancy(&self, (asker, name): (Asker, &str)) -> Option<Option<Arc<Tenancy>>> {
        let in_force = |seen: &Seen| self.generations.in_force(seen);
        self.tenants.told(asker, name, in_force)
    }

    /// What has to be in force for a description to hold; to be taken before it is asked for.
    pub fn before_tenancy(&self, name: &str, names: &Names) -> BeforeTenancy {
        let shapes = [name, names.collection(name)].map(|name| Scope::Shape(name).slot());
        let [own, real] = shapes;
        BeforeTenancy(self.generations.see(&[Scope::World.slot(), own, real]))
    }

    /// `answer` is the store's own description, `None` if it gave none.
    pub fn remember_tenancy(
        &self,
        (asker, name): (Asker, &str),
        names: &Names,
        answer: Option<&[u8]>,
        before: BeforeTenancy,
    ) -> Option<Arc<Tenancy>> {
        let real = names.collection(name);
        let own = |name: &str| self.policy.collections.get(name)?.tenant_key.as_deref();
        let configured = own(real).or_else(|| own(name));
        let tenancy = answer.and_then(|answer| Tenancy::parse(answer, configured));
        let tenancy = tenancy.map(Arc::new);
        let who = (asker, name);
        let forgot = self.tenants.remember(who, real, tenancy.clone(), before.0);
        if forgot == Forgot::Fields {
            self.generations.renew_all();
        }
        tenancy
    }

    /// What a read depends on that is pinned to some tenants.
    pub(super) fn pinned(
        &self,
        operation: Operation,
        collection: &str,
        tenancy: &Tenancy,
        body: &[u8],
    ) -> Option<Vec<Slot>> {
        let fields = self.tenants.ripe(collection, tenancy);
        let pins = pin::pins(operation, body, &fields, tenancy)?;
        Some(reach::of_pinned_read(collection, &pins))
    }

    /// A write that is about to be sent, and that may turn out narrow. `None`: it is broad.
    pub fn narrowing(
        &self,
        operation: Operation,
        name: &str,
        names: &Names,
        body: Option<&[u8]>,
    ) -> Option<Narrowing> {
        if !self.policy.enabled {
            return None;
        }
        let all: Vec<String> = names
            .all_of(name)
            .chain([name])
            .map(str::to_owned)
            .collect();
        let fields = self.tenants.fields(all.iter().map(String::as_str));
        let named = match body {
            Some(body) => narrow::named(operation, body),
            None => Err(Broad::Body),
        };
        let named = named.map_err(|reason| self.metrics.broad(reason.as_str()));
        let named = named.ok().filter(|_| !fields.is_empty())?;
        let collection = names.collection(name);

        let mut own = vec![Scope::Anything.slot()];
        let mut watched = vec![Scope::World.slot(), Scope::Filtered(collection).slot()];
        for name in &all {
            own.push(Scope::Points(name).slot());
            watched.push(Scope::Shape(name).slot());
            watched.push(Scope::Shared(name).slot());
        }
        if named.filter.is_some() {
            own.push(Scope::Filtered(collection).slot());
            watched.push(Scope::Points(collection).slot());
        }
        for id in &named.ids {
            let point = Scope::Point { collection, id }.slot();
            own.push(point);
            watched.push(point);
        }
        for slots in [&mut own, &mut watched] {
            slots.sort_unstable();
            slots.dedup();
        }
        self.generations.begin(&own);
        // After our own renewal, and before the look-up.
        let seen = self.generations.see(&watched);
        let watch = Watch {
            seen,
            broad: reach::of_write(operation, Some(name), Some(names)),
            names: all.clone(),
            fields: fields.clone(),
            tenants: Arc::clone(&self.tenants),
            metrics: self.metrics.clone(),
        };
        Some(Narrowing {
            writing: Writing {
                generations: Arc::clone(&self.generations),
                slots: own,
                names_hold_while: names.hold_while.of(Scope::World.slot()),
                watch: Some(watch),
            },
            named,
            fields,
            names: all,
        })
    }
}

impl Narrowing {
    /// What to ask the store for.
    pub fn question(&self) -> (Operation, Vec<u8>) {
        self.named.question(&self.fields)
    }

    /// With the store's answer to the question; `None` if it gave none.
    pub fn narrow(self, answer: Option<&[u8]>) -> Writing {
        let Self {
            mut writing,
            named,
            fields,
            names,
        } = self;
        let told = answer.ok_or(Broad::LookUp);
        let belong = told.and_then(|answer| narrow::belong_to(answer, &fields));
        let tenants = belong.and_then(|mut tenants| {
            tenants.extend(named.given_to(&fields)?);
            Ok(tenants)
        });
        let more = match tenants {
            Ok(tenants) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                reach::of_tenants(&names, &tenants)
            }
            Err(reason) => match writing.watch.take() {
                Some(watch) => {
                    watch.metrics.broad(reason.as_str());
                    watch.broad
                }
                None => Vec::new(),
            },
        };
        writing.begin_too(more);
        writing
    }
}

impl Watch {
    /// The write is over: what it touches beside `own`, as has turned out. Already begun.
    pub(super) fn over(self, generations: &Generations, own: &[Slot]) -> Vec<Slot> {
        let names = self.names.iter().map(String::as_str);
        if generations.undisturbed(&self.seen, own) && self.tenants.fields(names) == self.fields {
            self.metrics.narrow_writes.inc();
            return Vec::new();
        }
        self.metrics.broad(Broad::Met.as_str());
        let more: Vec<Slot> = self
            .broad
            .into_iter()
            .filter(|slot| !own.contains(slot))
            .collect();
        generations.begin(&more);
        more
    }
}

impl Writing {
    /// Begins further slots; those that are begun already are left as they are.
    fn begin_too(&mut self, mut more: Vec<Slot>) {
        more.sort_unstable();
        more.dedup();
        more.retain(|slot| !self.slots.contains(slot));
        self.generations.begin(&more);
        self.slots.extend(more);
    }
}

#[cfg(test)]
mod tests;
