//! Several sidecars that delete a collection and make it again at one time know whose it is afterwards.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::answers::{Before, Rule};
use super::{COSINE, Direction, Peer, World, point};
use crate::model::Subject;
use crate::stage::Stage;
use crate::sync::schema;

const MAKE: &str = "PUT /collections/c";
const DROP: &str = "DELETE /collections/c";

fn config() -> Value {
    serde_json::from_str(COSINE).unwrap()
}

impl World {
    /// The follower has one from the authority, with a point.
    async fn followed(name: &str) -> Self {
        let world = Self::new(name);
        world.authority(MAKE, config()).await;
        let points = json!({"points": [point(1, [1.0, 0.0], json!({}))]});
        let put = "PUT /collections/c/points?wait=true";
        world.authority(put, points).await;
        world.swept().await;
        assert!(world.direction.are_paired("c").await.unwrap());
        world
    }

    async fn swept(&self) {
        self.ledger_wants_a_sweep().await;
        self.direction.sweep_once().await.unwrap();
        self.drained().await;
    }

    /// What was made again as another while nothing followed takes the place of what was there.
    async fn follows_another(&self) {
        self.authority(DROP, Value::Null).await;
        let other = json!({"vectors": {"a": {"size": 3, "distance": "Dot"}}});
        self.authority(MAKE, other).await;
        self.swept().await;
        let there = self.follower("GET /collections/c", Value::Null).await;
        assert_eq!(there["config"]["params"]["vectors"]["a"]["size"], 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_brings_while_the_one_before_goes_stays_ours() {
    for is_found_out in [true, false] {
        let world = World::followed("brings").await;
        world.authority(DROP, Value::Null).await;
        let mut stop = world.stages.stop(Stage::AfterDrop);
        let direction = &world.direction;
        let goes = async {
            if is_found_out {
                let (own, _permit) = direction.entered("c").await.unwrap();
                own.find_out("c").await.unwrap();
            } else {
                world.ledger.put("c", &[Subject::Dropped]);
                world.drained().await;
            }
        };
        let brings = async {
            stop.reached(1).await;
            world.authority(MAKE, config()).await;
            let (own, _permit) = direction.entered("c").await.unwrap();
            assert_eq!(own.bring_to_sweep("c").await.unwrap(), None);
            stop.go();
        };
        tokio::join!(goes, brings);
        assert!(direction.are_paired("c").await.unwrap(), "{is_found_out}");
        world.follows_another().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_was_about_to_bring_before_the_one_before_goes_is_ours_in_the_end() {
    let world = World::followed("about-to").await;
    world.authority(DROP, Value::Null).await;
    let direction = &world.direction;
    let mut stop = world.stages.stop(Stage::AfterDrop);
    direction.deeds.claim("c").await.unwrap();
    world.ledger.put("c", &[Subject::Dropped]);
    let brings = async {
        stop.reached(1).await;
        world.authority(MAKE, config()).await;
        world.follower(MAKE, config()).await;
        stop.go();
    };
    tokio::join!(world.drained(), brings);
    assert!(direction.are_paired("c").await.unwrap());
    world.follows_another().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_at_both_is_nobodys_any_more() {
    let world = World::followed("gone").await;
    world.authority(DROP, Value::Null).await;
    world.ledger.put("c", &[Subject::Dropped]);
    world.drained().await;
    assert!(!world.direction.are_paired("c").await.unwrap());
    // A stranger's.
    world.follower(MAKE, config()).await;
    world.swept().await;
    let there = world.follower("GET /collections/c", Value::Null).await;
    assert!(there.is_object(), "{there}");
}

/// The answers that another sidecar has made old: so many of them still come.
fn late(peer: &mut Peer, many: usize, status: u16, answer: &Value) {
    let (left, answer) = (Mutex::new(many), answer.to_string());
    let rule: Box<Rule> = Box::new(move |method, path| {
        let is_meant = method == Method::GET && path == "/collections/c";
        let mut left = left.lock();
        let before = is_meant.then(|| left.checked_sub(1)).flatten()?;
        *left = before;
        Some((status, answer.clone()))
    });
    let before = Before {
        store: Arc::clone(peer.store()),
        rule: Arc::new(Mutex::new(rule)),
    };
    *peer = Peer::new(Arc::new(before), Duration::from_secs(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_is_ours_whatever_others_did_to_the_two_meanwhile() {
    for many in 1..=4 {
        for is_of_authority in [true, false] {
            let mut world = World::followed("meanwhile").await;
            let there = world.follower("GET /collections/c", Value::Null).await;
            world.follower(DROP, Value::Null).await;
            let deeds = &world.direction.deeds;
            let noted = deeds.noted("c").await.unwrap();
            deeds.part("c", noted).await.unwrap();
            let Direction {
                authority,
                follower,
                ..
            } = &mut world.direction;
            if is_of_authority {
                let none = json!({"status": {"error": "Not found: Collection `c` doesn't exist!"}});
                late(authority, many, 404, &none);
            } else {
                let there = json!({"result": there, "status": "ok", "time": 0.0});
                late(follower, many, 200, &there);
            }
            let mut times = 0;
            while schema::describe(&world.at_follower, "c")
                .await
                .unwrap()
                .is_none()
            {
                times += 1;
                assert!(times < 6, "{many} {is_of_authority}");
                let (own, _permit) = world.direction.entered("c").await.unwrap();
                assert_eq!(own.bring_along("c").await.unwrap(), None);
            }
            let is_ours = world.direction.are_paired("c").await.unwrap();
            assert!(is_ours, "{many} {is_of_authority}");
        }
    }
}
