//! What must hold between settings that are each right by themselves.
//!
//! A check that needs a value which was already found wrong is left out: it would only complain
//! about what stands in its place.

use std::path::PathBuf;

use super::cutover;
use super::mistake::Mistake;
use super::raw::Key;
use super::secret::Secret;
use super::settings::{Adopt, Settings, Store};
use crate::model::{Mode, Role, StoreKind};

pub(super) struct Checks<'s> {
    settings: &'s Settings,
    /// Keys that have a mistake already.
    wrong: Vec<String>,
    found: Vec<Mistake>,
}

pub(super) fn check(settings: &Settings, so_far: &[Mistake]) -> Vec<Mistake> {
    let wrong = so_far.iter().map(|mistake| mistake.key.clone()).collect();
    let mut checks = Checks {
        settings,
        wrong,
        found: Vec::new(),
    };
    checks.listeners_are_apart();
    checks.strangers_need_a_key();
    checks.keys_differ();
    checks.modes_have_their_stores();
    checks.stores_differ();
    checks.tables_are_adopted_as_a_whole();
    let impossible = cutover::check(settings, |keys| checks.is_right(keys));
    checks.found.extend(impossible);
    checks.found
}

impl Checks<'_> {
    fn add(&mut self, key: &str, problem: String, hint: String) {
        let origin = self.settings.given.get(key).cloned();
        self.found
            .push(Mistake::new(key, problem).origin(origin).hint(hint));
    }

    fn is_right(&self, keys: &[&str]) -> bool {
        keys.iter()
            .all(|key| !self.wrong.iter().any(|wrong| wrong == key))
    }

    fn listeners_are_apart(&mut self) {
        let settings = self.settings;
        let all = [
            ("listen", &settings.listen),
            ("admin_listen", &settings.admin_listen),
            ("grpc_listen", &settings.grpc_listen),
        ];
        for (index, (key, listen)) in all.iter().enumerate() {
            for (other_key, other) in &all[..index] {
                // Nothing listens for gRPC yet, so its default must not be in anyone's way.
                let is_idle = *key == "grpc_listen" && !settings.given.contains_key(*key);
                if is_idle || !self.is_right(&[key, other_key]) || !listen.clashes_with(other) {
                    continue;
                }
                let problem = format!("{listen} is taken by {other_key} ({other})");
                self.add(key, problem, "give each its own port".to_owned());
            }
        }
    }

    fn strangers_need_a_key(&mut self) {
        let settings = self.settings;
        if settings.insecure || !self.is_right(&["insecure"]) {
            return;
        }
        let auth = &settings.auth;
        let api = (
            "auth.api_key",
            "OUTRIGGER_AUTH__API_KEY",
            auth.api_key.is_some(),
        );
        let admin = (
            "auth.admin_token",
            "OUTRIGGER_AUTH__ADMIN_TOKEN",
            auth.admin_token.is_some(),
        );
        let all = [
            ("listen", &settings.listen, api),
            ("grpc_listen", &settings.grpc_listen, api),
            ("admin_listen", &settings.admin_listen, admin),
        ];
        for (key, listen, (secret, variable, has_secret)) in all {
            if has_secret || listen.is_loopback() || !self.is_right(&[key, secret]) {
                continue;
            }
            let problem = format!("{listen} can be reached from other machines, without {secret}");
            let cure = format!(
                "set {secret} ({variable}), or listen on 127.0.0.1, or set insecure = true \
                 (OUTRIGGER_INSECURE=true) if something in front keeps strangers out"
            );
            self.add(key, problem, cure);
        }
    }

    fn keys_differ(&mut self) {
        let auth = &self.settings.auth;
        let is_same = |one: &Option<Secret>, other: &Option<Secret>| one.is_some() && one == other;
        if is_same(&auth.read_only_api_key, &auth.api_key) {
            let problem = "is the same as auth.api_key, so it would allow writing".to_owned();
            let cure = "choose another, or remove it".to_owned();
            self.add("auth.read_only_api_key", problem, cure);
        }
    }

    fn modes_have_their_stores(&mut self) {
        if self.settings.secondary.is_some() || !self.is_right(&["secondary.kind"]) {
            return;
        }
        let of_all = self.settings.mode.map(|mode| ("mode".to_owned(), mode));
        let of_some = self
            .settings
            .collections
            .iter()
            .filter_map(|(name, collection)| {
                Some((
                    Key::of("collections").child(name).child("mode"),
                    collection.mode?,
                ))
            });
        let of_some = of_some.map(|(key, mode)| (key.to_string(), mode));
        let lacking: Vec<(String, Mode)> = of_all
            .into_iter()
            .chain(of_some)
            .filter(|(_, mode)| mode.needs_secondary())
            .collect();
        for (key, mode) in lacking {
            let problem = format!("{mode} needs a secondary store, and there is none");
            let cure = "set secondary.kind and secondary.url, or use primary_only";
            self.add(&key, problem, cure.to_owned());
        }
    }

    fn tables_are_adopted_as_a_whole(&mut self) {
        let settings = self.settings;
        for (name, own) in &settings.collections {
            let prefix = Key::of("collections").child(name);
            let given = [
                ("source", own.source.is_some()),
                ("discriminator", own.discriminator.is_some()),
                ("id", own.id.is_some()),
                ("vector", own.vector.is_some()),
                ("size", own.size.is_some()),
                ("payload", own.payload.is_some()),
                ("distance", own.distance.is_some()),
                ("writable", own.writable.is_some()),
                ("trigger", own.trigger.is_some()),
                ("vectors", !own.vectors.is_empty()),
            ];
            let adopt = prefix.child("adopt").to_string();
            if own.is_adopted() {
                let key = match own.adopt {
                    Some(_) => adopt,
                    None => prefix.child("table").to_string(),
                };
                let has_tables = |store: &Store| store.kind == StoreKind::Pgvector;
                let secondary = settings.secondary.as_ref();
                if !has_tables(&settings.primary) && !secondary.is_some_and(has_tables) {
                    let problem = "adopts a table, and no store is of kind pgvector".to_owned();
                    let cure = "set primary.kind = \"pgvector\" and primary.url, or remove it";
                    self.add(&key, problem, cure.to_owned());
                }
                let is_by_hand = matches!(own.adopt, None | Some(Adopt::Table));
                if is_by_hand && own.source.is_some() != own.discriminator.is_some() {
                    let (there, lacking) = match own.source {
                        Some(_) => ("source", "discriminator"),
                        None => ("discriminator", "source"),
                    };
                    let problem = format!("is given, and {lacking} is not");
                    let cure = "discriminator names a column, source the value that it has in the \
                                rows of this collection; give both or neither";
                    self.add(&prefix.child(there).to_string(), problem, cure.to_owned());
                }
            } else if let Some((there, _)) = given.iter().find(|(_, is_given)| *is_given)
                && self.is_right(&[&adopt])
            {
                let problem = "is given, and neither adopt nor table is".to_owned();
                let cure = "adopt names the framework that made the table, table the table; or \
                            remove it";
                self.add(&prefix.child(there).to_string(), problem, cure.to_owned());
            }
        }
    }

    fn stores_differ(&mut self) {
        let settings = self.settings;
        let primary = &settings.primary;
        let Some(secondary) = &settings.secondary else {
            return;
        };
        if primary.kind != secondary.kind || !self.is_right(&["primary.url", "secondary.url"]) {
            return;
        }
        match (&primary.url, &secondary.url) {
            (Some(one), Some(other)) if one.is_same_place(other) => {
                let problem = "is the same store as the primary".to_owned();
                self.add(
                    "secondary.url",
                    problem,
                    "name another, or remove one".to_owned(),
                );
            }
            (None, None) if primary.kind == StoreKind::Embedded => {
                let [one, other] = [Role::Primary, Role::Secondary].map(|role| {
                    let folder = settings.folder(role);
                    folder.components().collect::<PathBuf>()
                });
                if one == other {
                    let problem = format!(
                        "{} is the folder of the primary, which is embedded too",
                        other.display()
                    );
                    let cure = "give each a folder of its own".to_owned();
                    self.add("secondary.path", problem, cure);
                }
            }
            (Some(_) | None, Some(_) | None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Env, Sources, load};

    /// The mistakes of a file, each with its key, its origin left out.
    fn mistakes(file: &str) -> Vec<String> {
        let variables: Vec<(String, String)> = file
            .lines()
            .map(|line| line.split_once('=').unwrap())
            .map(|(key, value)| (key.replace('.', "__").to_uppercase(), value.to_owned()))
            .map(|(key, value)| (format!("OUTRIGGER_{key}"), value))
            .collect();
        let env: Env = variables.into_iter().collect();
        match load(Sources {
            env,
            ..Sources::default()
        }) {
            Ok(_) => vec![],
            Err(mistakes) => mistakes
                .list
                .iter()
                .map(|mistake| format!("{}: {}", mistake.key, mistake.problem))
                .collect(),
        }
    }

    fn check(settings: &[&str], expected: &[&str]) {
        assert_eq!(mistakes(&settings.join("\n")), expected, "{settings:?}");
    }

    #[test]
    fn two_listeners_on_one_address_are_refused() {
        check(
            &["LISTEN=127.0.0.1:6330"],
            &["admin_listen: 127.0.0.1:6330 is taken by listen (127.0.0.1:6330)"],
        );
        check(&["LISTEN=127.0.0.1:0", "ADMIN_LISTEN=127.0.0.1:0"], &[]);
        check(&["LISTEN=127.0.0.1:6334"], &[]);
        check(
            &["GRPC_LISTEN=localhost:6333"],
            &["grpc_listen: localhost:6333 is taken by listen (127.0.0.1:6333)"],
        );
    }

    #[test]
    fn listening_beyond_loopback_without_a_key_is_refused() {
        let open = "listen: 0.0.0.0:1 can be reached from other machines, without auth.api_key";
        check(&["LISTEN=0.0.0.0:1"], &[open]);
        check(&["LISTEN=0.0.0.0:1", "AUTH.READ_ONLY_API_KEY=r"], &[open]);
        check(&["LISTEN=0.0.0.0:1", "AUTH.API_KEY=k"], &[]);
        check(&["LISTEN=0.0.0.0:1", "INSECURE=true"], &[]);
        let admin = "can be reached from other machines, without auth.admin_token";
        check(
            &["ADMIN_LISTEN=[::]:2", "AUTH.API_KEY=k"],
            &[&format!("admin_listen: [::]:2 {admin}")],
        );
        check(&["ADMIN_LISTEN=[::]:2", "AUTH.ADMIN_TOKEN=t"], &[]);
        // One mistake, not two: the key was meant to be there.
        check(
            &["LISTEN=0.0.0.0:1", "AUTH.API_KEY.ENV=NO_SUCH"],
            &["auth.api_key: names the environment variable NO_SUCH, which is not set or empty"],
        );
    }

    #[test]
    fn a_read_only_key_that_is_the_key_is_refused() {
        check(
            &["AUTH.API_KEY=k", "AUTH.READ_ONLY_API_KEY=k"],
            &["auth.read_only_api_key: is the same as auth.api_key, so it would allow writing"],
        );
        check(&["AUTH.API_KEY=k", "AUTH.READ_ONLY_API_KEY=r"], &[]);
    }

    #[test]
    fn a_mode_with_two_stores_needs_two() {
        let lacking = "dual_write needs a secondary store, and there is none";
        check(&["MODE=dual_write"], &[&format!("mode: {lacking}")]);
        check(
            &["COLLECTIONS.MEMORIES.MODE=dual_write"],
            &[&format!("collections.memories.mode: {lacking}")],
        );
        check(&["MODE=dual_write", "SECONDARY.URL=http://q"], &[]);
        check(&["MODE=primary_only"], &[]);
    }

    #[test]
    fn one_store_cannot_be_both() {
        let same = "secondary.url: is the same store as the primary";
        check(
            &["PRIMARY.URL=http://q", "SECONDARY.URL=http://q:6333/"],
            &[same],
        );
        check(
            &["PRIMARY.URL=http://q", "SECONDARY.URL=http://q:6343/"],
            &[],
        );
        check(&["PRIMARY.URL=http://q/a", "SECONDARY.URL=http://q/b"], &[]);
        check(
            &[
                "PRIMARY.URL=postgres://a:1@d/x",
                "SECONDARY.URL=postgresql://a:2@d:5432/x",
            ],
            &[same],
        );
        let embedded = ["PRIMARY.KIND=embedded", "SECONDARY.KIND=embedded"];
        check(&embedded, &[]);
        let same = "is the folder of the primary, which is embedded too";
        let [one, other] = embedded;
        check(
            &[one, other, "PRIMARY.PATH=a/./b", "SECONDARY.PATH=a/b/"],
            &[&format!("secondary.path: a/b {same}")],
        );
        check(
            &[one, other, "DATA_DIR=d", "PRIMARY.PATH=d/secondary"],
            &[&format!("secondary.path: d/secondary {same}")],
        );
    }
}
