//! Collections that are mirrored while others are not, and stores that are there while others are
//! not: what is said of one holds up, or hides, nothing of the other.

use serde_json::{Value, json};

use super::{Primary, World, changing, in_sync, listening, upserting, write};
use crate::support::ask::Ask;
use crate::support::folder::Folder;
use crate::support::postgres::Postgres;
use crate::support::process::Process;
use crate::support::wire::Wire;
use crate::support::{story, until};

fn aliases(kind: Primary) {
    story(async {
        let world = World::alone(kind).await;
        let mode = json!({"mode": "dual_write", "collection": "docs", "why": "a story"});
        let ask = Ask::put("/api/mode", mode.to_string());
        world.sidecar.ask_admin(&ask).await.ok();
        world.in_sync().await;
        let act = async |action: Value| {
            let actions = json!({"actions": [action]});
            let ask = Ask::new("POST", "/collections/aliases").json(&actions);
            world.sidecar.ask(&ask).await.ok();
        };
        let there = async || {
            let mut wire = Wire::connect(world.secondary.at()).await;
            let told = Ask::get("/aliases").over(&mut wire).await.ok().json();
            told["result"]["aliases"].as_array().unwrap().len()
        };
        let alias = json!({"alias_name": "live", "collection_name": "docs"});
        act(json!({"create_alias": alias})).await;
        until("the follower has the alias", async || there().await == 1).await;
        act(json!({"delete_alias": {"alias_name": "live"}})).await;
        until("the follower has it no more", async || there().await == 0).await;
        world.in_sync().await;
    });
}

#[test]
fn aliases_follow_where_one_collection_is_mirrored_and_the_others_are_not() {
    aliases(Primary::Embedded);
}

#[test]
fn aliases_of_a_qdrant_follow_where_one_collection_is_mirrored() {
    aliases(Primary::Qdrant);
}

#[test]
fn a_second_postgresql_that_is_not_there_at_the_start_stops_no_write() {
    story(async {
        let (authority, mut follower) = (Postgres::start(), Postgres::start());
        let data = Folder::new();
        let more = format!(
            "cache.enabled = false\nmirror.doubt = \"1s\"\nprimary.kind = \"pgvector\"\nprimary.url = \"{}\"\n\
             secondary.kind = \"pgvector\"\nsecondary.url = \"{}\"\n",
            authority.url(),
            follower.url()
        );
        let toml = listening(&data, &more);
        let process = Process::start(&toml, &[]).await;
        let made = json!({"vectors": {"size": 2, "distance": "Dot"}});
        write(process.proxy, "PUT", "", made).await;
        changing(process.admin, "dual_write").await.unwrap().ok();
        in_sync(process.admin).await;
        process.signal("TERM");
        process.exit_code().await;

        follower.stop();
        let process = Process::start(&toml, &[]).await;
        for id in 1..=3 {
            let body = upserting(id, json!({"n": id}));
            write(process.proxy, "PUT", "/points", body).await;
        }
        follower.start_again();
        in_sync(process.admin).await;
    });
}
