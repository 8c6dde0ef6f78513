//! Which two stores it is that the control store speaks of.
//!
//! What is noted there of a follower is true of one store: which of its collections sync has made,
//! and may delete; which were compared whole. Another store at another address knows nothing of it,
//! though it has the same role. So the addresses are noted too, and where they are not those of the
//! settings, all that is noted of what was there before goes, and everything is compared again.

use std::sync::Arc;

use tracing::warn;

use super::deeds;
use crate::config::{Settings, Store};
use crate::error::Result;
use crate::mode::control::Control;
use crate::mode::validations;
use crate::model::{Role, StoreKind};
use crate::store::Embedded;

/// As they are noted. Not readable: an address may hold what is a secret.
pub(super) struct Places([String; 2]);

impl Places {
    /// `None` where there is only one store, of which nothing is noted.
    pub(super) fn of(settings: &Settings, embedded: &[(Role, Arc<Embedded>)]) -> Option<Self> {
        let secondary = settings.secondary.as_ref()?;
        let stores = [
            (Role::Primary, &settings.primary),
            (Role::Secondary, secondary),
        ];
        Some(Self(stores.map(|(role, store)| {
            let own = embedded.iter().find(|(of, _)| *of == role);
            // A folder that was emptied is another store, though at the same place.
            let id = own.map_or("", |(_, engine)| engine.id());
            let folder = format!("{} {id}", settings.folder(role).display());
            let place = place(store, &folder);
            blake3::hash(place.as_bytes()).to_hex().to_string()
        })))
    }

    /// The roles in which there is another store than was noted.
    pub(super) async fn moved(&self, control: &dyn Control) -> Result<Vec<Role>> {
        let mut moved = Vec::new();
        for (role, place) in Role::BOTH.into_iter().zip(&self.0) {
            let noted = control.fact(&fact(role)).await?;
            if noted.is_some_and(|noted| noted != *place) {
                moved.push(role);
            }
        }
        Ok(moved)
    }

    /// As they are written down where one sidecar alone keeps something.
    pub(super) fn text(&self) -> String {
        self.0.join("\n")
    }

    /// The roles in which that text has another store.
    pub(super) fn apart(&self, text: &str) -> Vec<Role> {
        let own = Role::BOTH.into_iter().zip(&self.0);
        let apart = own
            .zip(text.lines())
            .filter(|((_, place), noted)| place != noted);
        apart.map(|((role, _), _)| role).collect()
    }

    /// Notes these, and forgets what was noted of those that were there before. Whoever stops
    /// half-way begins anew.
    pub(super) async fn settle(
        &self,
        control: &dyn Control,
        moved: &[Role],
        now_ms: u64,
    ) -> Result<()> {
        for role in moved {
            warn!(
                %role,
                "it is another store than the one that was followed, or has another address: what \
                 was known of it is forgotten, and everything is compared"
            );
        }
        if !moved.is_empty() {
            // What was made at one of them was made from the other.
            for role in Role::BOTH {
                deeds::forget(control, role).await?;
            }
            validations::void_all(control, now_ms).await?;
        }
        for (role, place) in Role::BOTH.into_iter().zip(&self.0) {
            if control.fact(&fact(role)).await?.as_ref() != Some(place) {
                control.put_fact(&fact(role), place).await?;
            }
        }
        Ok(())
    }
}

fn fact(role: Role) -> String {
    format!("place/{role}")
}

/// Who asks, with which password and by which settings of the connection, is not part of it.
fn place(store: &Store, folder: &str) -> String {
    let at = match (&store.url, store.kind) {
        (Some(url), StoreKind::Qdrant) => {
            format!(
                "{}{}",
                url.authority().to_ascii_lowercase(),
                url.path_prefix()
            )
        }
        (Some(url), StoreKind::Pgvector) => database(url.expose()),
        (_, _) => folder.to_owned(),
    };
    format!("{} {at}", store.kind)
}

/// Hosts, ports and database, wherever in the address they stand.
fn database(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = before.split_at(before.find('/').unwrap_or(before.len()));
    let hosts = authority
        .rsplit_once('@')
        .map_or(authority, |(_, hosts)| hosts);
    let leads = |part: &&str| {
        let key = part.split('=').next().unwrap_or_default();
        ["host", "hostaddr", "port", "dbname"].contains(&key)
    };
    let named: Vec<_> = query.split('&').filter(leads).collect();
    format!("{}{path} {}", hosts.to_ascii_lowercase(), named.join(" "))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{self, Env, Sources};
    use crate::mode::control::MemoryControl;
    use crate::mode::validations::Validated;

    fn places(secondary: &str) -> Places {
        Places(["here", secondary].map(str::to_owned))
    }

    #[test]
    fn a_place_is_where_a_store_is_and_not_who_asks_it() {
        let of = |url: &str| {
            let env = [("DATABASE_URL".to_owned(), url.to_owned())];
            let sources = Sources {
                file: None,
                default_file: None,
                env: Env::from_iter(env),
                flags: Vec::new(),
            };
            let loaded = config::load(sources).unwrap_or_else(|mistakes| panic!("{mistakes}"));
            place(&loaded.settings.primary, "/data")
        };
        let plain = of("postgres://a@db/one");
        assert_eq!(plain, "pgvector db/one ");
        assert_eq!(of("postgresql://b:secret@DB/one?sslmode=require"), plain);
        for other in [
            "postgres://a@db/two",
            "postgres://a@db:5433/one",
            "postgres://a@db,other/one",
            "postgres://a@db/one?dbname=two",
        ] {
            assert_ne!(of(other), plain, "{other}");
        }
        let [a, b] = ["a", "b"].map(|at| of(&format!("postgres:///one?host=/run/{at}")));
        assert_ne!(a, b);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_noted_of_another_store_is_forgotten() {
        let control = MemoryControl::new(Duration::from_secs(10));
        let validated = Validated {
            at_ms: 5,
            compared: 3,
            differed: 0,
            passed: true,
        };
        let ours = ["ours/primary/docs", "ours/secondary/docs"];
        let first = places("there");
        assert_eq!(first.moved(&control).await.unwrap(), []);
        first.settle(&control, &[], 1).await.unwrap();
        for fact in ours {
            control.put_fact(fact, deeds::YES).await.unwrap();
        }
        validations::note(&control, "docs", validated)
            .await
            .unwrap();
        assert_eq!(first.moved(&control).await.unwrap(), []);

        let other = places("elsewhere");
        let moved = other.moved(&control).await.unwrap();
        assert_eq!(moved, [Role::Secondary]);
        other.settle(&control, &moved, 7).await.unwrap();
        assert_eq!(other.moved(&control).await.unwrap(), []);
        let mut left = Vec::new();
        for fact in ours {
            left.push(control.fact(fact).await.unwrap().unwrap());
        }
        assert_eq!(left, ["forgotten", "forgotten"]);
        let known = validations::known(&control, "docs").await.unwrap();
        assert_eq!((known.last, known.voided_at_ms), (None, Some(7)));
    }
}
