//! What sidecars share: answers, and the knowledge of who has written.

use std::time::Duration;

use outrigger::clock::Clock;
use serde_json::json;

use super::{Fleet, L1, L2, MESSAGES, SHORT, UP, search, upsert};
use crate::support::ask::{Ask, token};
use crate::support::redis::Redis;
use crate::support::upstream::Seen;
use crate::support::{story, until};

#[test]
fn a_hit_at_another_sidecar_is_the_miss_byte_for_byte() {
    story(async {
        let mut fleet = Fleet::new(1, SHORT).await;
        fleet.join("").await;
        super::up(&fleet.sidecars[1]).await;
        for length in ["short", "long"] {
            let mut number = 0;
            loop {
                number += 1;
                let question = format!("{length} {number}");
                let first = fleet.ask(0, &question).await;
                assert_eq!(first.by, "miss");
                let again = fleet.keep(0, &question).await;
                let there = fleet.ask(1, &question).await;
                // A look-up that took too long is a miss.
                let found = there.by == "hit-l2";
                for other in [again, there] {
                    assert_eq!((&other.body, &other.fields), (&first.body, &first.fields));
                }
                let kept = async || fleet.ask(1, &question).await.by == "hit-l1";
                until("it is kept there, too", kept).await;
                if found {
                    break;
                }
            }
        }
        let values = fleet.redis.keys("outrigger:e:*").await;
        assert!(values.len() >= 2);
        let lengths =
            async |name: &String| fleet.redis.ask::<usize>(&format!("STRLEN {name}")).await;
        for name in &values {
            assert!(lengths(name).await < 1000, "a long answer is packed");
        }
        assert!(fleet.sidecars[1].metric("outrigger_cache_hits_total", &[L2]) >= 2.0);
    });
}

#[test]
fn a_write_at_one_sidecar_is_seen_by_the_others_as_soon_as_they_hear_of_it() {
    story(async {
        let fleet = Fleet::new(2, "").await;
        for round in 1..=20_u32 {
            let kept = async || fleet.ask(1, "a").await.by == "hit-l1";
            until("it is kept", kept).await;
            fleet.is_heard_to_write(0, &upsert(), 1).await;
            assert_eq!(fleet.ask(1, "a").await.writes, u64::from(round));
            fleet.ask(0, "a").await;
        }
        // Nobody hears himself.
        assert_eq!(fleet.sidecars[0].metric(MESSAGES, &[]), 0.0);
    });
}

#[test]
fn a_write_is_told_before_it_is_sent_and_again_when_it_has_ended() {
    story(async {
        let fleet = Fleet::new(2, "").await;
        fleet.is_heard_to_write(0, &upsert(), 1).await;
        assert_eq!(fleet.sidecars[1].metric(MESSAGES, &[]), 2.0);
    });
}

#[test]
fn what_stands_in_redis_is_out_of_force_when_the_answer_to_a_write_leaves() {
    story(async {
        // Only the second tier, which asks Redis itself: no message need have come.
        let fleet = Fleet::new(2, SHORT).await;
        let mut told = 0;
        for round in 0..20_usize {
            let (reader, writer) = (round % 2, (round + 1) % 2);
            fleet.keep(writer, "a").await;
            told += usize::from(fleet.write_that_is_told(writer).await);
            fleet.ask(reader, "a").await;
        }
        assert!(told > 0, "no answer waited for Redis");
    });
}

#[test]
fn a_read_that_a_write_at_another_sidecar_overtook_fills_nothing() {
    story(async {
        let fleet = Fleet::new(2, SHORT).await;
        fleet.keep(0, "a").await;
        fleet.write_that_is_told(0).await;
        // The tokens are there, the answer is from before the write, and it comes after it.
        fleet.ask(1, "b").await;
        fleet
            .upstream
            .hold_only(|seen| seen.target.ends_with("/query"));
        let late = async {
            let answer = fleet.sidecars[1].ask(&search("late")).await.ok();
            answer.json()["result"]["writes"].as_u64().unwrap()
        };
        let write = async {
            let is_late = |seen: &Seen| String::from_utf8_lossy(&seen.body).contains("late");
            fleet.upstream.saw_of(is_late, 1).await;
            fleet.write_that_is_told(0).await;
            fleet.upstream.release();
        };
        let (old, ()) = tokio::join!(late, write);
        assert_eq!(old, 1);
        for at in [0, 1] {
            assert_eq!(fleet.ask(at, "late").await.writes, 2);
        }
    });
}

#[test]
fn after_a_write_that_is_only_acknowledged_no_sidecar_keeps_anything_until_it_has_settled() {
    story(async {
        let fleet = Fleet::new(2, "cache.settle_ms = 1500").await;
        fleet.ask(1, "a").await;
        let write = Ask::put("/collections/docs/points?wait=false", r#"{"points": []}"#);
        fleet.is_heard_to_write(0, &write, 1).await;
        for _ in 0..3 {
            assert_eq!(fleet.ask(1, "a").await.by, "miss");
        }
        // And once more when it has settled.
        fleet.sidecars[1].until_metric(MESSAGES, &[], 3.0).await;
        until("it is kept again", async || {
            fleet.ask(1, "a").await.by == "hit-l1"
        })
        .await;
    });
}

#[test]
fn sidecars_of_other_stores_share_no_answers() {
    story(async {
        let fleet = Fleet::new(1, SHORT).await;
        fleet.keep(0, "a").await;
        let redis = Redis::start().await;
        let mut other = Fleet::unconnected(redis, 0, "").await;
        let url = fleet.redis.url();
        other
            .join(&format!("cache.redis_url = \"{url}\"\n{SHORT}"))
            .await;
        super::up(&other.sidecars[0]).await;
        assert_eq!(other.ask(0, "a").await.by, "miss");
    });
}

#[test]
fn answers_of_one_caller_are_not_found_by_another() {
    story(async {
        let fleet = Fleet::new(1, SHORT).await;
        fleet.keep(0, "a").await;
        let other = search("a").with("api-key", "other");
        let answer = fleet.sidecars[0].ask(&other).await.ok();
        assert_eq!(answer.head.field("x-outrigger-cache").unwrap(), "miss");
    });
}

#[test]
fn an_answer_in_redis_is_no_older_than_its_time() {
    story(async {
        let fleet = Fleet::new(1, &format!("{SHORT}\ncollections.docs.ttl = \"1ms\"")).await;
        let hits = async |question: &str| {
            for _ in 0..20 {
                if fleet.ask(0, question).await.by == "hit-l2" {
                    return true;
                }
            }
            false
        };
        assert!(!hits("a").await, "older than the collection allows");
        let fleet = Fleet::new(1, &format!("{SHORT}\ncache.redis_ttl = \"2s\"")).await;
        fleet.keep(0, "a").await;
        let name = fleet.redis.keys("outrigger:e:*").await.remove(0);
        let left: i64 = fleet.redis.ask(&format!("PTTL {name}")).await;
        assert!((1..=2000).contains(&left), "{left}");
    });
}

#[test]
fn a_prefix_keeps_fleets_apart() {
    story(async {
        let redis = Redis::start().await;
        let url = format!("cache.redis_url = \"{}?prefix=blue:\"", redis.url());
        let fleet = Fleet::before(redis, 1, &format!("{SHORT}\n{url}")).await;
        fleet.keep(0, "a").await;
        assert!(fleet.redis.keys("outrigger:*").await.is_empty());
        assert_eq!(fleet.redis.keys("blue:e:*").await.len(), 1);
        assert!(fleet.sidecars[0].metric(UP, &[L1]) > 0.0);
    });
}

#[test]
fn who_knows_of_a_write_that_has_not_settled_is_not_told_what_others_keep() {
    story(async {
        let mut fleet = Fleet::new(1, "cache.settle_ms = 3600000").await;
        let write = Ask::put("/collections/docs/points?wait=false", r#"{"points": []}"#);
        fleet.sidecars[0].ask(&write).await.ok();
        // This one comes later, and knows of nothing.
        fleet.join(SHORT).await;
        super::up(&fleet.sidecars[1]).await;
        fleet.keep(1, "a").await;
        assert_eq!(fleet.ask(0, "a").await.by, "miss");
    });
}

#[test]
fn an_answer_from_redis_lives_here_no_longer_than_there() {
    story(async {
        let short_there = "cache.redis_ttl = \"2s\"";
        let mut fleet = Fleet::new(1, &format!("{SHORT}\n{short_there}")).await;
        fleet
            .join(&format!("cache.ttl = \"1h\"\n{short_there}"))
            .await;
        super::up(&fleet.sidecars[1]).await;
        let question = fleet.find(0, 1).await;
        let over = async || fleet.ask(1, &question).await.by != "hit-l1";
        until("its time is over", over).await;
    });
}

#[test]
fn an_answer_in_redis_is_kept_and_served_no_longer_than_its_token_lasts() {
    story(async {
        let mut fleet = Fleet::new(1, SHORT).await;
        // Nor as a stale one.
        fleet.join("cache.stale_while_revalidate = \"1h\"").await;
        super::up(&fleet.sidecars[1]).await;
        let ends = Clock::system().since_epoch() + Duration::from_secs(4);
        let token = token(&json!({"exp": ends.as_secs_f64()}));
        let ask = search("a").with("authorization", format!("Bearer {token}"));
        let by = async |at: usize| {
            let answer = fleet.sidecars[at].ask(&ask).await.ok();
            answer.head.field("x-outrigger-cache").unwrap()
        };
        until("Redis has the answer", async || by(0).await == "hit-l2").await;
        let name = fleet.redis.keys("outrigger:e:*").await.remove(0);
        let left: i64 = fleet.redis.ask(&format!("PTTL {name}")).await;
        assert!(left <= 4000, "{left}");
        by(1).await;
        until("the token has run out", async || by(1).await == "bypass").await;
    });
}

#[test]
fn what_the_operator_lets_go_of_is_let_go_of_everywhere() {
    story(async {
        let fleet = Fleet::new(2, SHORT).await;
        let other = &fleet.sidecars[1];
        for path in ["/api/cache?collection=docs", "/api/cache"] {
            fleet.keep(0, "a").await;
            let before = other.metric(MESSAGES, &[]);
            let clear = Ask::new("DELETE", path);
            fleet.sidecars[0].ask_admin(&clear).await.ok();
            other.until_metric(MESSAGES, &[], before + 1.0).await;
            assert_eq!(fleet.ask(1, "a").await.by, "miss", "{path}");
        }
    });
}

#[test]
fn where_a_word_was_lost_the_names_are_asked_for_again_before_anything_is_filled() {
    story(async {
        let fleet = Fleet::new(1, SHORT).await;
        let asked = || {
            let seen = fleet.upstream.seen();
            seen.iter().filter(|seen| seen.target == "/aliases").count()
        };
        fleet.keep(0, "a").await;
        let before = asked();
        // Somebody has moved a name, and was not heard.
        let _set: String = fleet.redis.ask("SET outrigger:g:1:0 unheard!").await;
        fleet.ask(0, "b").await;
        // What comes after it is there, so it would be, too.
        fleet.keep(0, "c").await;
        assert_ne!(fleet.ask(0, "b").await.by, "hit-l2");
        assert!(asked() > before);
    });
}
