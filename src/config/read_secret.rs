//! Reading of secrets: a text, `{ env = "NAME" }` or `{ file = "PATH" }`.
//!
//! A secret's value goes into no mistake. An empty text means none, as with Qdrant's own keys; a
//! variable or a file that is named and holds nothing is a mistake, since somebody relies on it.

use super::mistake::Mistake;
use super::raw::{Given, Key, Layers, SECRET_ENV, SECRET_FILE};
use super::read::{Need, Section, Shown};
use super::secret::{MASK, Secret};
use super::values::{Literal, Wrong};

const ALLOWED: &str = "a text, { env = \"NAME\" } or { file = \"PATH\" }";

/// What a secret may consist of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Alphabet {
    /// It travels as an HTTP header.
    Header,
    Any,
}

/// The three ways to give a secret.
#[derive(Clone, Copy, Debug)]
enum Form {
    Text,
    Env,
    File,
}

impl Section<'_, '_> {
    pub(super) fn maybe_secret(&mut self, name: &str, alphabet: Alphabet) -> Option<Secret> {
        let key = self.prefix.join(name);
        self.reader.asked.insert(key.clone(), Need::Optional);
        let forms = [
            (Form::Text, key.clone()),
            (Form::Env, key.child(SECRET_ENV)),
            (Form::File, key.child(SECRET_FILE)),
        ];
        self.reader
            .pointers
            .extend(forms[1..].iter().map(|(_, pointer)| pointer.clone()));
        let layers = self.reader.layers;
        let mut found = forms
            .into_iter()
            .filter_map(|(form, key)| Some((form, layers.get(&key)?)));
        let (form, given) = found.next()?;
        let outcome = match found.next() {
            Some(_) => Err(Wrong::new("is given in more than one way", ALLOWED)),
            None => self.fetch(form, given, alphabet),
        };
        match outcome {
            Ok((secret, via)) => {
                let secret = secret?;
                let value = Literal::Text(MASK.to_owned());
                let origin = given.origin.clone();
                self.reader.shown.insert(key, Shown { value, origin, via });
                Some(secret)
            }
            Err(wrong) => {
                let mistake = Mistake::new(key.to_string(), wrong.problem).hint(wrong.hint);
                let mistake = match form {
                    Form::Text => mistake.value(MASK),
                    Form::Env | Form::File => mistake,
                };
                self.reader
                    .mistake(mistake.origin(Some(given.origin.clone())));
                None
            }
        }
    }

    /// The secret, if it is not empty, and where it was fetched from.
    fn fetch(
        &mut self,
        form: Form,
        given: &Given,
        alphabet: Alphabet,
    ) -> Result<(Option<Secret>, Option<String>), Wrong> {
        let Some(text) = given.text() else {
            return Err(Wrong::new("is not a text", ALLOWED));
        };
        let (held, via) = match form {
            Form::Text => (text.to_owned(), None),
            Form::Env => {
                self.reader.referenced.insert(text.to_owned());
                (self.of_variable(text)?, Some(format!("env {text}")))
            }
            Form::File => (of_file(text)?, Some(format!("file {text}"))),
        };
        // Line breaks come along with `$(cat key)` and the like, and are in no key.
        let held = held.trim_end_matches(['\r', '\n']).to_owned();
        // Spaces at the ends would be lost on the way.
        let is_header_char = |c: char| c == ' ' || c.is_ascii_graphic();
        let fits_header = held.chars().all(is_header_char) && held.trim() == held;
        if alphabet == Alphabet::Header && !fits_header {
            let problem = "holds a character that an HTTP header cannot carry";
            let allowed = "printable ASCII, without spaces at its ends";
            return Err(Wrong::new(problem, allowed));
        }
        Ok((
            Some(held).filter(|held| !held.is_empty()).map(Secret::new),
            via,
        ))
    }

    fn of_variable(&self, name: &str) -> Result<String, Wrong> {
        if let Some(held) = self.reader.env.get(name) {
            return Ok(held.to_owned());
        }
        let problem = if self.reader.env.is_not_text(name) {
            format!("names the environment variable {name}, which is not UTF-8 text")
        } else {
            format!("names the environment variable {name}, which is not set or empty")
        };
        Err(Wrong::with_hint(
            problem,
            format!("set {name}, or remove the setting"),
        ))
    }
}

fn of_file(path: &str) -> Result<String, Wrong> {
    let problem = match std::fs::read_to_string(path) {
        Ok(text) => {
            let held = text.trim_end_matches(['\r', '\n']);
            if !held.is_empty() {
                return Ok(held.to_owned());
            }
            format!("names the file {path}, which is empty")
        }
        Err(error) => format!("names the file {path}, which cannot be read: {error}"),
    };
    Err(Wrong::with_hint(
        problem,
        "a relative path starts in the working directory",
    ))
}

/// Whether a secret is given in any of its forms, at whatever layer.
pub(super) fn is_given(layers: &Layers, key: &Key) -> bool {
    let forms = [key.clone(), key.child(SECRET_ENV), key.child(SECRET_FILE)];
    forms.iter().any(|form| layers.get(form).is_some())
}
