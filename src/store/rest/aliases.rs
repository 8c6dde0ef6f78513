//! Aliases: moved and listed.
//!
//! The actions of one request are carried out in order up to the first that is refused, and those
//! before it stay, as in Qdrant. What they come to is put in force at once: a reader sees the
//! aliases before the request or after it. Where somebody else has changed them meanwhile, the
//! actions are carried out anew on what there is then.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a family answers its own operations and hands the rest on"
)]
#![expect(
    clippy::await_holding_invalid_type,
    reason = "changes of the catalogue are rare and must follow one another"
)]

use std::collections::BTreeMap;

use serde::Serialize;

use super::context::{Asked, CHANGE_TRIES, Reply, Served, overtaken};
use crate::error::Result;
use crate::model::Operation;
use crate::wire::rest::{AliasDescription, AliasOperations, ChangeAliasesOperation, refuse};

pub(super) async fn answer(served: &Served, asked: &Asked<'_>) -> Result<Option<Reply>> {
    let reply = match asked.operation {
        Operation::UpdateAliases => update(served, asked).await?,
        Operation::ListAliases => list(served, None).await?,
        Operation::ListCollectionAliases => list(served, Some(&asked.name())).await?,
        _ => return Ok(None),
    };
    Ok(Some(reply))
}

/// All aliases, or those of one collection. By the name of an alias there are none.
async fn list(served: &Served, of: Option<&str>) -> Result<Reply> {
    #[derive(Serialize)]
    struct Aliases<'a> {
        aliases: Vec<AliasDescription<'a>>,
    }
    let all = served.engine.aliases().await?;
    let wanted = all
        .iter()
        .filter(|(_, collection)| of.is_none_or(|of| of == collection.as_str()));
    let aliases = wanted.map(|(alias_name, collection_name)| AliasDescription {
        alias_name,
        collection_name,
    });
    Reply::result(&Aliases {
        aliases: aliases.collect(),
    })
}

async fn update(served: &Served, asked: &Asked<'_>) -> Result<Reply> {
    let request: ChangeAliasesOperation = asked.json()?;
    asked.params()?;
    let _change = served.changes.lock().await;
    for _ in 0..CHANGE_TRIES {
        let before = served.engine.aliases().await?;
        let mut aliases = BTreeMap::clone(&before);
        let mut outcome = Ok(());
        for action in &request.actions {
            outcome = carry_out(served, &mut aliases, action).await;
            if outcome.is_err() {
                break;
            }
        }
        if aliases == *before || served.engine.set_aliases(before, aliases).await? {
            outcome?;
            return Reply::result(&true);
        }
    }
    Err(overtaken())
}

async fn carry_out(
    served: &Served,
    aliases: &mut BTreeMap<String, String>,
    action: &AliasOperations,
) -> Result<()> {
    match action {
        AliasOperations::Create(action) => {
            let (alias, collection) = (
                &action.create_alias.alias_name,
                &action.create_alias.collection_name,
            );
            if served.engine.collection(collection).await?.is_none() {
                return Err(refuse::no_collection(collection));
            }
            if served.engine.collection(alias).await?.is_some() {
                return Err(refuse::already_exists(&format!(
                    "Collection `{alias}` already exists!"
                )));
            }
            aliases.insert(alias.clone(), collection.clone());
        }
        AliasOperations::Delete(action) => {
            aliases.remove(&action.delete_alias.alias_name);
        }
        AliasOperations::Rename(action) => {
            let old = &action.rename_alias.old_alias_name;
            let Some(collection) = aliases.remove(old) else {
                return Err(refuse::not_found(&format!("Alias {old} does not exists!")));
            };
            aliases.insert(action.rename_alias.new_alias_name.clone(), collection);
        }
    }
    Ok(())
}
