//! `outrigger bootstrap --adopt URL`: looks for tables that can be shown as collections, and prints
//! settings for them. Nothing is changed, neither there nor here.
//!
//! Exit codes: 0 something was found, 1 nothing was, 2 wrong usage, 3 the database does not answer.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::{exit_code, out};
use crate::config::StoreUrl;
use crate::error::{Error, Result};
use crate::net;
use crate::store::{PgvectorSettings, Proposal, propose};

const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// Rows are counted.
const ANSWER_PATIENCE: Duration = Duration::from_secs(300);

pub(super) fn run(url: &str, json: bool) -> ExitCode {
    let proposals = match look(url) {
        Ok(proposals) => proposals,
        Err(error) => {
            out::complain(&format!("outrigger: {}", error.chain()));
            return exit_code(&error);
        }
    };
    if json {
        let all: Vec<Value> = proposals.iter().map(as_json).collect();
        out::say(&format!("{:#}\n", Value::from(all)));
    } else {
        out::say(&settings(&proposals));
    }
    match proposals.iter().any(|proposal| proposal.misfit.is_none()) {
        true => ExitCode::SUCCESS,
        false => {
            out::complain("outrigger: no table of this database can be shown as a collection");
            ExitCode::from(1)
        }
    }
}

fn look(url: &str) -> Result<Vec<Proposal>> {
    // What is wrong with it is said without it: there may be a password in it.
    let url = StoreUrl::parse_postgres(url).map_err(|problem| {
        Error::settings(format!(
            "--adopt {problem}; it takes postgres://USER@HOST/DATABASE"
        ))
    })?;
    let settings = PgvectorSettings {
        url: url.expose().to_owned(),
        tls: net::client_tls(None)?,
        has_authority: false,
        pool_size: 1,
        connect_timeout: CONNECT_PATIENCE,
        read_timeout: ANSWER_PATIENCE,
        write_timeout: ANSWER_PATIENCE,
        slow_timeout: ANSWER_PATIENCE,
        data_dir: std::path::PathBuf::new(),
        adopted: std::collections::BTreeMap::new(),
        tells_by_redis: false,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::settings("start the runtime").with_source(error))?;
    runtime.block_on(propose(settings))
}

fn as_json(proposal: &Proposal) -> Value {
    let vectors = proposal.keys.iter().filter(|(key, _)| *key == "vectors");
    let vectors: Vec<_> = vectors.map(|(_, column)| column).collect();
    let others = proposal.keys.iter().filter(|(key, _)| *key != "vectors");
    let mut settings: serde_json::Map<String, Value> = others
        .map(|(key, value)| ((*key).to_owned(), json!(value)))
        .collect();
    if !vectors.is_empty() {
        let named = vectors
            .iter()
            .map(|column| ((*column).clone(), json!(column)));
        settings.insert("vectors".to_owned(), Value::Object(named.collect()));
    }
    json!({
        "collection": proposal.name,
        "settings": settings,
        "notes": proposal.notes,
        "misfit": proposal.misfit,
    })
}

/// TOML, to be put into the settings file as it is.
fn settings(proposals: &[Proposal]) -> String {
    let mut text = String::from(
        "# Tables that can be shown as collections: put what you want of this into the settings file\n\
         # of a sidecar whose primary.kind is \"pgvector\". Nothing has been changed.\n",
    );
    for proposal in proposals {
        text.push('\n');
        let name = toml_text(&proposal.name);
        if let Some(misfit) = &proposal.misfit {
            // Not in force, but not kept secret either.
            write_line(&mut text, &format!("# Left out: {}", one_line(misfit)));
            continue;
        }
        for note in &proposal.notes {
            write_line(&mut text, &format!("# {}", one_line(note)));
        }
        write_line(&mut text, &format!("[collections.{name}]"));
        for (key, value) in &proposal.keys {
            let line = match *key {
                "vectors" => format!("vectors.{0} = {0}", toml_text(value)),
                key => format!("{key} = {}", toml_text(value)),
            };
            write_line(&mut text, &line);
        }
    }
    text
}

fn write_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// A comment ends with its line.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// A basic string of TOML, which a key may be too.
fn toml_text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(control)));
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_table_is_called_the_settings_can_be_read() {
        for name in ["mem0", "a.b", "it's \"odd\"", "line\nbreak", "", "\u{7f}\\"] {
            let proposal = Proposal {
                name: format!("x{name}"),
                keys: vec![("adopt", "table".to_owned()), ("table", name.to_owned())],
                notes: vec![name.to_owned()],
                misfit: None,
            };
            let text = settings(&[proposal]);
            let read: toml::Table = text.parse().unwrap();
            let own = &read["collections"][format!("x{name}").as_str()];
            assert_eq!(own["table"].as_str(), Some(name));
        }
    }
}
