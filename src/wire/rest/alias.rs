//! Aliases: requests that move them, and how they are listed.

use serde::{Deserialize, Serialize};
use validator::Validate;

#[derive(Clone, Debug, Deserialize, Validate)]
#[serde(rename_all = "snake_case")]
pub struct ChangeAliasesOperation {
    pub actions: Vec<AliasOperations>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", untagged)]
pub enum AliasOperations {
    Create(CreateAliasOperation),
    Delete(DeleteAliasOperation),
    Rename(RenameAliasOperation),
}

#[derive(Clone, Debug, Deserialize)]
pub struct CreateAliasOperation {
    pub create_alias: CreateAlias,
}

#[derive(Clone, Debug, Deserialize)]
pub struct CreateAlias {
    pub collection_name: String,
    pub alias_name: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct DeleteAliasOperation {
    pub delete_alias: DeleteAlias,
}

#[derive(Clone, Debug, Deserialize)]
pub struct DeleteAlias {
    pub alias_name: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct RenameAliasOperation {
    pub rename_alias: RenameAlias,
}

#[derive(Clone, Debug, Deserialize)]
pub struct RenameAlias {
    pub old_alias_name: String,
    pub new_alias_name: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct AliasDescription<'a> {
    pub alias_name: &'a str,
    pub collection_name: &'a str,
}
