//! Which store has which role, where addresses come in variables that name no role.
//!
//! `DATABASE_URL` and `QDRANT_URL` say what there is, not what it is for:
//!
//! - Nothing says `primary.kind`, `primary.url`, `secondary.kind` or `secondary.url`: with both
//!   variables the primary is pgvector and the secondary Qdrant; with one, that is the primary;
//!   with none, the primary is embedded.
//! - Otherwise the variables fill in what was left out: the url of the one store of their kind that
//!   has none, and the primary where only a secondary was given.
//!
//! Where a url is given as well, the key with the role in it is the more specific one. It wins over
//! the variables that applications use too (`QDRANT_URL`, `DATABASE_URL` and their like): in a
//! shared `.env` they are meant for somebody else. `OUTRIGGER_QDRANT_URL` and
//! `OUTRIGGER_QDRANT_API_KEY` are meant for nobody else, so they win over the file as any variable
//! does, as long as there is one Qdrant they can mean.

use super::env::{Env, origin};
use super::mistake::Origin;
use super::raw::{Key, Layers, SECRET_ENV};
use super::read_secret;
use super::url::is_postgres_scheme;
use crate::model::{Role, StoreKind};

const OWN_QDRANT_URL: &str = "OUTRIGGER_QDRANT_URL";
const OWN_QDRANT_KEY: &str = "OUTRIGGER_QDRANT_API_KEY";
const QDRANT_URL: &str = "QDRANT_URL";
const QDRANT_KEY: &str = "QDRANT_API_KEY";
const DATABASE_URL: &str = "DATABASE_URL";
const MEM0_DATABASE_URL: &str = "MEM0_DATABASE_URL";

/// Every variable that is read here.
pub(super) const VARIABLES: [&str; 6] = [
    OWN_QDRANT_URL,
    OWN_QDRANT_KEY,
    QDRANT_URL,
    QDRANT_KEY,
    DATABASE_URL,
    MEM0_DATABASE_URL,
];

const BOTH: [Role; 2] = [Role::Primary, Role::Secondary];

/// A variable that is set.
#[derive(Clone, Copy, Debug)]
struct Variable<'e> {
    name: &'static str,
    text: &'e str,
}

impl<'e> Variable<'e> {
    fn first_of(env: &'e Env, names: [&'static str; 2]) -> Option<Self> {
        names.into_iter().find_map(|name| {
            Some(Self {
                name,
                text: env.get(name)?,
            })
        })
    }

    /// Whether it is ours alone, and not an application's too.
    fn is_own(self) -> bool {
        [OWN_QDRANT_URL, OWN_QDRANT_KEY].contains(&self.name)
    }
}

/// Writes the kinds and addresses of both stores into the layers. Returns what a person may want to
/// know: the variables that were set and are not used, and why.
pub(super) fn assign(layers: &mut Layers, env: &Env) -> Vec<String> {
    let mut stage = Stage {
        layers,
        notes: Vec::new(),
    };
    let qdrant = Variable::first_of(env, [OWN_QDRANT_URL, QDRANT_URL]);
    let postgres = Variable::first_of(env, [DATABASE_URL, MEM0_DATABASE_URL]);
    if let (Some(used), Some(text)) = (postgres, env.get(MEM0_DATABASE_URL))
        && used.text != text
    {
        stage.notes.push(format!(
            "{MEM0_DATABASE_URL} is not used: {DATABASE_URL} comes first"
        ));
    }
    for role in BOTH {
        stage.infer_kind(role);
    }
    if BOTH.iter().any(|role| stage.is_given(*role)) {
        stage.complete_primary(postgres, qdrant);
    } else {
        stage.choose(postgres, qdrant);
    }
    stage.fill_url(StoreKind::Pgvector, postgres);
    stage.fill_url(StoreKind::Qdrant, qdrant);
    stage.fill_key(
        qdrant,
        Variable::first_of(env, [OWN_QDRANT_KEY, QDRANT_KEY]),
    );
    stage.notes
}

struct Stage<'l> {
    layers: &'l mut Layers,
    notes: Vec<String>,
}

impl Stage<'_> {
    fn text(&self, role: Role, name: &str) -> Option<&str> {
        self.layers.get(&key(role, name))?.text()
    }

    fn is_given(&self, role: Role) -> bool {
        ["kind", "url"]
            .iter()
            .any(|name| self.layers.get(&key(role, name)).is_some())
    }

    fn kind(&self, role: Role) -> Option<StoreKind> {
        StoreKind::parse(self.text(role, "kind")?.trim())
    }

    fn roles_of(&self, kind: StoreKind) -> Vec<Role> {
        BOTH.into_iter()
            .filter(|role| self.kind(*role) == Some(kind))
            .collect()
    }

    fn put(&mut self, role: Role, name: &str, text: &str, origin: Origin) {
        self.layers.put_text(key(role, name), text, origin);
    }

    /// A url without a kind says the kind by its scheme.
    fn infer_kind(&mut self, role: Role) {
        if self.layers.get(&key(role, "kind")).is_some() {
            return;
        }
        let Some(url) = self.layers.get(&key(role, "url")) else {
            return;
        };
        let scheme = url
            .text()
            .and_then(|text| text.trim().split_once("://"))
            .map(|(s, _)| s);
        let kind = match scheme {
            Some("http" | "https") => StoreKind::Qdrant,
            Some(scheme) if is_postgres_scheme(scheme) => StoreKind::Pgvector,
            Some(_) | None => return,
        };
        let origin = url.origin.clone();
        self.put(role, "kind", kind.as_str(), origin);
    }

    /// Nothing was said about roles.
    fn choose(&mut self, postgres: Option<Variable<'_>>, qdrant: Option<Variable<'_>>) {
        let (primary, secondary) = match (postgres, qdrant) {
            (Some(postgres), qdrant) => (
                Some((StoreKind::Pgvector, postgres)),
                qdrant.map(|found| (StoreKind::Qdrant, found)),
            ),
            (None, Some(qdrant)) => (Some((StoreKind::Qdrant, qdrant)), None),
            (None, None) => (None, None),
        };
        self.put_primary(primary);
        if let Some((kind, variable)) = secondary {
            self.put(
                Role::Secondary,
                "kind",
                kind.as_str(),
                origin(variable.name),
            );
        }
    }

    /// Where only a secondary was given, the primary is the other kind that is there.
    fn complete_primary(&mut self, postgres: Option<Variable<'_>>, qdrant: Option<Variable<'_>>) {
        if self.is_given(Role::Primary) {
            return;
        }
        let secondary = self.kind(Role::Secondary);
        let found = [(StoreKind::Pgvector, postgres), (StoreKind::Qdrant, qdrant)];
        let mut others = found
            .into_iter()
            .filter(|(kind, _)| secondary != Some(*kind));
        let primary = others.find_map(|(kind, variable)| Some((kind, variable?)));
        self.put_primary(primary);
    }

    fn put_primary(&mut self, primary: Option<(StoreKind, Variable<'_>)>) {
        let (kind, origin) = match primary {
            Some((kind, variable)) => (kind, origin(variable.name)),
            None => (StoreKind::Embedded, Origin::Default),
        };
        self.put(Role::Primary, "kind", kind.as_str(), origin);
    }

    fn fill_url(&mut self, kind: StoreKind, variable: Option<Variable<'_>>) {
        let Some(variable) = variable else { return };
        let roles = self.roles_of(kind);
        let has_url = |role: &Role| self.layers.get(&key(*role, "url")).is_some();
        let lacking: Vec<Role> = roles
            .iter()
            .copied()
            .filter(|role| !has_url(role))
            .collect();
        let reason = match (lacking.as_slice(), roles.as_slice()) {
            ([one], _) => return self.put(*one, "url", variable.text, origin(variable.name)),
            ([], []) => format!("no store is of kind {kind}"),
            ([], [one]) if variable.is_own() && self.is_from_file(*one, "url") => {
                return self.put(*one, "url", variable.text, origin(variable.name));
            }
            ([], [one]) => {
                let from = self
                    .layers
                    .get(&key(*one, "url"))
                    .map(|given| given.origin.to_string());
                format!(
                    "{} says more ({})",
                    key(*one, "url"),
                    from.unwrap_or_default()
                )
            }
            ([], _) => format!("both stores are of kind {kind} and have their own url"),
            ([_, ..], _) => format!("both stores are of kind {kind}; it could mean either"),
        };
        self.notes
            .push(format!("{} is not used: {reason}", variable.name));
    }

    fn fill_key(&mut self, url: Option<Variable<'_>>, variable: Option<Variable<'_>>) {
        let Some(variable) = variable else { return };
        let roles = self.roles_of(StoreKind::Qdrant);
        let url_origin = url.map(|url| origin(url.name));
        let took_url = |role: &Role| {
            let given = self.layers.get(&key(*role, "url"));
            given.map(|given| &given.origin) == url_origin.as_ref()
        };
        let role = match roles.as_slice() {
            [one] => Some(*one),
            several => several.iter().copied().find(took_url),
        };
        let reason = match role {
            None => "no store of kind qdrant takes its url from a variable".to_owned(),
            Some(role) => {
                let is_free = !read_secret::is_given(self.layers, &key(role, "api_key"));
                if is_free || (variable.is_own() && self.is_from_file(role, "api_key")) {
                    return self.put(role, "api_key", variable.text, origin(variable.name));
                }
                format!("{} says more", key(role, "api_key"))
            }
        };
        if !self.is_pointed_at(variable.name) {
            self.notes
                .push(format!("{} is not used: {reason}", variable.name));
        }
    }

    fn is_from_file(&self, role: Role, name: &str) -> bool {
        let given = self.layers.given_under(&key(role, name));
        given.is_some_and(|given| matches!(given.origin, Origin::File { .. }))
    }

    /// Whether some secret is `{ env = "NAME" }` with this name.
    fn is_pointed_at(&self, variable: &str) -> bool {
        self.layers
            .iter()
            .any(|(key, given)| key.last() == SECRET_ENV && given.text() == Some(variable))
    }
}

fn key(role: Role, name: &str) -> Key {
    Key::of(role.as_str()).child(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATABASE: (&str, &str) = (DATABASE_URL, "postgres://d");
    const QDRANT: (&str, &str) = (QDRANT_URL, "http://q");
    const OWN: (&str, &str) = (OWN_QDRANT_URL, "http://own");

    /// The two stores as `kind url`, and the notes.
    fn assigned(file: &str, variables: &[(&str, &str)]) -> ([String; 2], Vec<String>, Layers) {
        let mut layers = Layers::default();
        let at = |line| Origin::File {
            path: "a.toml".to_owned(),
            line,
        };
        assert_eq!(layers.put_document(file, at), vec![]);
        let notes = assign(&mut layers, &variables.iter().copied().collect());
        let stores = BOTH.map(|role| {
            let text = |name| layers.get(&key(role, name)).and_then(|given| given.text());
            let words = [text("kind"), text("url")];
            words.into_iter().flatten().collect::<Vec<_>>().join(" ")
        });
        (stores, notes, layers)
    }

    fn check(file: &str, variables: &[(&str, &str)], primary: &str, secondary: &str) {
        let (stores, _, _) = assigned(file, variables);
        assert_eq!(stores, [primary, secondary], "{file} {variables:?}");
    }

    #[test]
    fn without_roles_the_variables_choose_them() {
        check("", &[], "embedded", "");
        check("", &[DATABASE], "pgvector postgres://d", "");
        check("", &[QDRANT], "qdrant http://q", "");
        check("", &[QDRANT, OWN], "qdrant http://own", "");
        check(
            "",
            &[DATABASE, QDRANT],
            "pgvector postgres://d",
            "qdrant http://q",
        );
        check(
            "",
            &[(MEM0_DATABASE_URL, "postgres://m")],
            "pgvector postgres://m",
            "",
        );
        check(
            "[primary]\nread_timeout = '1s'\n",
            &[QDRANT],
            "qdrant http://q",
            "",
        );
    }

    #[test]
    fn variables_fill_in_what_the_file_left_out() {
        check(
            "primary.kind = 'qdrant'",
            &[DATABASE, QDRANT],
            "qdrant http://q",
            "",
        );
        check(
            "primary.kind = 'pgvector'",
            &[DATABASE, QDRANT],
            "pgvector postgres://d",
            "",
        );
        check(
            "secondary.kind = 'qdrant'",
            &[QDRANT],
            "embedded",
            "qdrant http://q",
        );
        check(
            "secondary.url = 'http://s'",
            &[DATABASE],
            "pgvector postgres://d",
            "qdrant http://s",
        );
        let old_and_new = "primary.url = 'http://old'\nsecondary.kind = 'qdrant'";
        check(
            old_and_new,
            &[QDRANT],
            "qdrant http://old",
            "qdrant http://q",
        );
        check(
            "primary.kind = 'embedded'",
            &[DATABASE, QDRANT],
            "embedded",
            "",
        );
    }

    #[test]
    fn a_key_with_a_role_wins_over_a_variable_shared_with_the_application() {
        let (stores, notes, _) = assigned("primary.url = 'http://p'", &[QDRANT]);
        assert_eq!(stores, ["qdrant http://p", ""]);
        assert_eq!(
            notes,
            ["QDRANT_URL is not used: primary.url says more (file a.toml:1)"]
        );
        check(
            "primary.url = 'postgres://p'",
            &[DATABASE],
            "pgvector postgres://p",
            "",
        );
    }

    #[test]
    fn a_variable_of_ours_wins_over_the_file_where_it_can_mean_one_store_only() {
        check("primary.url = 'http://p'", &[OWN], "qdrant http://own", "");
        let two = "primary.url = 'http://p'\nsecondary.url = 'http://s'";
        check(two, &[OWN], "qdrant http://p", "qdrant http://s");
        let (stores, notes, _) =
            assigned("primary.kind = 'qdrant'\nsecondary.kind = 'qdrant'", &[OWN]);
        assert_eq!(stores, ["qdrant", "qdrant"]);
        assert!(notes[0].contains("it could mean either"));
    }

    #[test]
    fn the_key_goes_to_the_store_it_belongs_to() {
        let of = |layers: &Layers, role| {
            layers
                .get(&key(role, "api_key"))
                .and_then(|given| given.text())
                .map(str::to_owned)
        };
        let keys = |file: &str, variables: &[(&str, &str)]| {
            let (_, notes, layers) = assigned(file, variables);
            (
                BOTH.map(|role| of(&layers, role).unwrap_or_default()),
                notes.len(),
            )
        };
        let (shared, own) = ((QDRANT_KEY, "shared"), (OWN_QDRANT_KEY, "own"));
        assert_eq!(keys("", &[QDRANT, shared]).0, ["shared", ""]);
        assert_eq!(keys("", &[DATABASE, QDRANT, shared, own]).0, ["", "own"]);
        let with_key = "primary.url = 'http://p'\nprimary.api_key = 'mine'";
        assert_eq!(
            keys(with_key, &[shared]),
            (["mine".to_owned(), String::new()], 1)
        );
        assert_eq!(keys(with_key, &[own]).0, ["own", ""]);
        let two = "primary.url = 'http://p'\nsecondary.kind = 'qdrant'";
        assert_eq!(keys(two, &[QDRANT, shared]).0, ["", "shared"]);
        assert_eq!(keys("", &[shared]).1, 1, "a key without a Qdrant is noted");
        let pointed = "primary.url = 'http://p'\nsecondary.url = 'http://s'\n\
                       secondary.api_key = { env = 'OUTRIGGER_QDRANT_API_KEY' }";
        assert_eq!(keys(pointed, &[own]).1, 0, "the file uses it by name");
    }
}
