//! Whatever befalls Redis: no wrong answer, no failed request, and no waiting.
//!
//! Every answer that `Fleet::ask` gets is compared with what the store would say now.

use std::time::Duration;

use tokio::time::Instant;

use super::{Fleet, L1, L2, SHORT, UNSHARED, UNTOLD, UP, down, up};
use crate::support::fault::{Fault, Proxy};
use crate::support::redis::Redis;
use crate::support::{story, until};

/// A request that had to wait for Redis would wait for longer.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Reads and writes at every sidecar for a while, and compares.
async fn use_all(fleet: &Fleet, rounds: usize) {
    let began = Instant::now();
    for round in 0..rounds {
        for at in 0..fleet.sidecars.len() {
            let question = format!("q{}", round % 3);
            fleet.ask(at, &question).await;
            fleet.ask(at, &question).await;
        }
    }
    assert!(began.elapsed() < AT_ONCE * 5, "{:?}", began.elapsed());
}

#[test]
fn a_redis_that_was_never_there_costs_nothing_but_the_cache() {
    story(async {
        let mut redis = Redis::start().await;
        redis.kill();
        let mut fleet = Fleet::unconnected(redis, 2, "").await;
        for _ in 0..5 {
            use_all(&fleet, 3).await;
            fleet.write(0).await;
        }
        assert_eq!(fleet.sidecars[0].metric(UP, &[L1]), 0.0);
        assert!(fleet.sidecars[0].metric("outrigger_redis_errors_total", &[]) > 0.0);
        fleet.redis.run().await;
        up(&fleet.sidecars[0]).await;
        up(&fleet.sidecars[1]).await;
        fleet.ask(0, "a").await;
        until("it is kept", async || {
            fleet.ask(0, "a").await.by == "hit-l1"
        })
        .await;
    });
}

#[test]
fn a_killed_redis_that_comes_back_empty_is_used_again() {
    story(async {
        let mut fleet = Fleet::new(2, SHORT).await;
        for _ in 0..2 {
            fleet.keep(0, "a").await;
            fleet.redis.kill();
            for _ in 0..3 {
                fleet.write(1).await;
                use_all(&fleet, 2).await;
            }
            down(&fleet.sidecars[0]).await;
            fleet.redis.run().await;
            up(&fleet.sidecars[0]).await;
            up(&fleet.sidecars[1]).await;
            fleet.ask(0, "a").await;
        }
        fleet.keep(1, "a").await;
    });
}

#[test]
fn a_redis_that_went_back_in_time_brings_no_old_answer_back() {
    story(async {
        // Also where it does not say which run it is.
        for options in [&[][..], &["rename-command INFO HIDDEN"]] {
            let mut fleet = Fleet::before(Redis::with(options).await, 2, SHORT).await;
            fleet.keep(0, "a").await;
            let _saved: String = fleet.redis.ask("SAVE").await;
            // As if these had not reached the replica that takes over.
            fleet.write(0).await;
            fleet.write(1).await;
            fleet.redis.kill();
            fleet.redis.run().await;
            // The old entry and the old tokens are there, and fit.
            assert!(fleet.entries().await > 0);
            // Also for one that has seen nothing of it.
            fleet.join(SHORT).await;
            for at in [2, 0, 1] {
                up(&fleet.sidecars[at]).await;
            }
            // What the next one finds is what the first has put there anew.
            assert_ne!(fleet.ask(2, "a").await.by, "hit-l2");
            fleet.ask(0, "a").await;
            fleet.ask(1, "a").await;
            fleet.keep(2, "a").await;
        }
    });
}

#[test]
fn a_write_that_redis_did_not_hear_of_is_told_before_anything_is_looked_up_again() {
    story(async {
        let fleet = Fleet::new(2, SHORT).await;
        fleet.keep(0, "a").await;
        fleet.redis.signal("STOP");
        let began = Instant::now();
        fleet.write(0).await;
        assert!(began.elapsed() < AT_ONCE);
        use_all(&fleet, 3).await;
        down(&fleet.sidecars[0]).await;
        down(&fleet.sidecars[1]).await;
        fleet.write(0).await;
        use_all(&fleet, 3).await;
        fleet.redis.signal("CONT");
        // The entry is there as it was; who wrote knows better from the first moment on.
        for _ in 0..50 {
            fleet.ask(0, "a").await;
        }
        up(&fleet.sidecars[0]).await;
        up(&fleet.sidecars[1]).await;
        fleet.ask(0, "a").await;
        fleet.ask(1, "a").await;
        fleet.keep(1, "a").await;
    });
}

#[test]
fn a_write_that_redis_has_not_heard_of_when_its_answer_leaves_is_counted_and_told_later() {
    story(async {
        let mut fleet = Fleet::new(1, SHORT).await;
        let proxy = Proxy::tcp(fleet.redis.address).await;
        let way = format!("{SHORT}\ncache.redis_url = \"redis://{}\"", proxy.address);
        fleet.join(&way).await;
        let [other, writer] = [0, 1];
        up(&fleet.sidecars[writer]).await;
        fleet.keep(other, "a").await;
        let untold = fleet.sidecars[writer].metric(UNTOLD, &[]);
        proxy.gate.set(Fault::Hang);
        let began = Instant::now();
        fleet.write(writer).await;
        assert!(began.elapsed() < AT_ONCE);
        assert_eq!(fleet.sidecars[writer].metric(UNTOLD, &[]), untold + 1.0);
        // The other one cannot know, and may answer as before; who wrote does not.
        fleet.ask_loosely(other, "a").await;
        for _ in 0..3 {
            fleet.ask(writer, "a").await;
        }
        proxy.gate.set(Fault::None);
        let known = async || fleet.sidecars[writer].metric(UNSHARED, &[]) == 0.0;
        until("Redis knows of the write", known).await;
        fleet.ask(other, "a").await;
        fleet.keep(writer, "a").await;
        fleet.ask(other, "a").await;
    });
}

#[test]
fn while_the_others_are_not_heard_nothing_is_kept_in_the_process() {
    story(async {
        let fleet = Fleet::new(1, "").await;
        let kept = async || fleet.ask(0, "a").await.by == "hit-l1";
        until("it is kept", kept).await;
        fleet.redis.signal("STOP");
        let blind = async || fleet.sidecars[0].metric(UP, &[L1]) < 1.0;
        until("the first tier is off", blind).await;
        for _ in 0..3 {
            assert_eq!(fleet.ask(0, "a").await.by, "miss");
        }
        let label = ["reason=\"blind\""];
        assert!(fleet.sidecars[0].metric("outrigger_cache_bypasses_total", &label) >= 3.0);
        fleet.redis.signal("CONT");
        up(&fleet.sidecars[0]).await;
        fleet.ask(0, "a").await;
        until("it is kept", async || {
            fleet.ask(0, "a").await.by == "hit-l1"
        })
        .await;
    });
}

#[test]
fn while_the_others_are_not_heard_answers_live_as_long_as_was_said() {
    story(async {
        let mut fleet = Fleet::new(1, "cache.l1_ttl_when_blind = \"1h\"").await;
        fleet.redis.kill();
        down(&fleet.sidecars[0]).await;
        fleet.ask(0, "a").await;
        assert_eq!(fleet.ask(0, "a").await.by, "hit-l1");
        assert_eq!(fleet.sidecars[0].metric(UP, &[L1]), 1.0);
        fleet.write(0).await;
        assert_eq!(fleet.ask(0, "a").await.by, "miss");
        let mut fleet = Fleet::new(1, "cache.l1_ttl_when_blind = \"1ms\"").await;
        fleet.ask(0, "a").await;
        fleet.redis.kill();
        down(&fleet.sidecars[0]).await;
        assert_eq!(fleet.ask(0, "a").await.by, "miss");
    });
}

#[test]
fn a_flushed_redis_is_filled_again() {
    story(async {
        let fleet = Fleet::new(2, SHORT).await;
        for _ in 0..3 {
            fleet.keep(0, "a").await;
            let _flushed: String = fleet.redis.ask("FLUSHALL").await;
            fleet.write_that_is_told(1).await;
            use_all(&fleet, 2).await;
        }
        fleet.keep(1, "a").await;
    });
}

#[test]
fn tokens_that_were_evicted_take_their_answers_with_them() {
    story(async {
        let fleet = Fleet::new(2, SHORT).await;
        let told = fleet.keep(0, "a").await;
        let mut missed = 0;
        for name in fleet.redis.keys("outrigger:g:*").await {
            let _gone: usize = fleet.redis.ask(&format!("DEL {name}")).await;
            missed += usize::from(fleet.ask(1, "a").await.by != "hit-l2");
            assert_eq!(fleet.keep(0, "a").await.body, told.body);
        }
        // Those of the world and of the collection; the others are none of this answer's.
        assert!(missed >= 2, "{missed}");
    });
}

#[test]
fn a_full_redis_still_lets_go_of_what_was_before_a_write() {
    story(async {
        let fleet = Fleet::new(2, SHORT).await;
        fleet.keep(0, "a").await;
        // Not a byte more.
        let _set: String = fleet
            .redis
            .ask("CONFIG SET maxmemory-policy noeviction")
            .await;
        let _set: String = fleet.redis.ask("CONFIG SET maxmemory 1").await;
        for at in [0, 1, 0] {
            fleet.write_that_is_told(at).await;
            assert_ne!(fleet.ask(0, "a").await.by, "hit-l2");
            fleet.ask(1, "a").await;
            use_all(&fleet, 2).await;
        }
        let full = ["kind=\"full\""];
        assert!(fleet.sidecars[0].metric("outrigger_redis_errors_total", &full) > 0.0);
        let _set: String = fleet.redis.ask("CONFIG SET maxmemory 0").await;
        fleet.keep(1, "a").await;
        fleet.ask(0, "a").await;
    });
}

#[test]
fn a_redis_that_evicts_what_it_likes_makes_no_answer_wrong() {
    story(async {
        let redis = Redis::with(&["maxmemory 2mb", "maxmemory-policy allkeys-lru"]).await;
        let fleet = Fleet::before(redis, 2, SHORT).await;
        for round in 0..40 {
            for number in 0..10 {
                let question = format!("long {} {number}", round % 4);
                fleet.ask(number % 2, &question).await;
            }
            if round % 5 == 0 {
                fleet.write_that_is_told(round % 2).await;
                let filler = format!("SETRANGE filler:{round} 200000 x");
                let _length: usize = fleet.redis.ask(&filler).await;
            }
        }
    });
}

#[test]
fn a_wrong_password_costs_nothing_but_the_cache_and_is_never_told() {
    story(async {
        let redis = Redis::with(&["requirepass right"]).await;
        let wrong = "cache.redis_password = \"wrong\"";
        let mut fleet = Fleet::unconnected(redis, 1, wrong).await;
        let sidecar = &fleet.sidecars[0];
        let denied = ["kind=\"denied\""];
        sidecar
            .until_metric("outrigger_redis_errors_total", &denied, 2.0)
            .await;
        use_all(&fleet, 3).await;
        fleet.write(0).await;
        use_all(&fleet, 3).await;
        fleet.join("cache.redis_password = \"right\"").await;
        up(&fleet.sidecars[1]).await;
    });
}

#[test]
fn garbage_in_place_of_entries_and_tokens_is_a_miss() {
    story(async {
        let fleet = Fleet::new(1, SHORT).await;
        let kept = fleet.keep(0, "a").await;
        let name = fleet.redis.keys("outrigger:e:*").await.remove(0);
        let mut get = redis::cmd("GET");
        get.arg(&name);
        let genuine: Vec<u8> = fleet.redis.send(&get).await;
        let mut spoiled = genuine.clone();
        let middle = spoiled.len() / 2;
        spoiled[middle] ^= 1;
        let (cut, _rest) = genuine.split_at(genuine.len() - 3);
        for garbage in [&b""[..], b"garbage", &[0xff; 5000], &spoiled, cut] {
            let mut set = redis::cmd("SET");
            set.arg(&name).arg(garbage);
            let _set: String = fleet.redis.send(&set).await;
            let told = fleet.ask(0, "a").await;
            // Unless the good one has already taken its place again.
            assert_eq!(told.body, kept.body);
            fleet.keep(0, "a").await;
        }
        // An entry under another key is none of it.
        fleet.keep(0, "b").await;
        let names = fleet.redis.keys("outrigger:e:*").await;
        for pair in [[0, 1], [1, 0]] {
            let [from, to] = pair.map(|at| &names[at]);
            let _copied: i64 = fleet.redis.ask(&format!("COPY {from} {to} REPLACE")).await;
            for question in ["a", "b"] {
                let told = fleet.ask(0, question).await;
                assert!(
                    String::from_utf8_lossy(&told.body).contains(&format!("\\\"{question}\\\""))
                );
            }
        }
        for name in fleet.redis.keys("outrigger:g:*").await {
            let _set: String = fleet.redis.ask(&format!("SET {name} garbage")).await;
        }
        fleet.ask(0, "a").await;
        fleet.write(0).await;
        fleet.ask(0, "a").await;
        // Of another type altogether.
        let _gone: usize = fleet.redis.ask(&format!("DEL {name}")).await;
        let _pushed: usize = fleet.redis.ask(&format!("LPUSH {name} x")).await;
        fleet.ask(0, "a").await;
        let garbage = ["kind=\"garbage\""];
        assert!(fleet.sidecars[0].metric("outrigger_redis_errors_total", &garbage) >= 3.0);
        assert!(fleet.sidecars[0].metric("outrigger_cache_hits_total", &[L2]) > 0.0);
    });
}

#[test]
fn what_nobody_understands_on_the_channel_drops_everything() {
    story(async {
        let fleet = Fleet::new(1, "").await;
        let kept = async || fleet.ask(0, "a").await.by == "hit-l1";
        until("it is kept", kept).await;
        let heard: usize = fleet.redis.ask("PUBLISH outrigger:c:1 nonsense!").await;
        assert_eq!(heard, 1);
        let nonsense = ["kind=\"nonsense\""];
        let sidecar = &fleet.sidecars[0];
        sidecar
            .until_metric("outrigger_redis_errors_total", &nonsense, 1.0)
            .await;
        assert_ne!(fleet.ask(0, "a").await.by, "hit-l1");
    });
}

#[test]
fn tokens_that_are_evicted_again_bring_no_old_answer_back() {
    story(async {
        let fleet = Fleet::new(2, SHORT).await;
        let evict = async || {
            for name in fleet.redis.keys("outrigger:g:*").await {
                let _gone: usize = fleet.redis.ask(&format!("DEL {name}")).await;
            }
        };
        evict().await;
        fleet.keep(0, "a").await;
        fleet.write_that_is_told(0).await;
        evict().await;
        fleet.ask(1, "a").await;
        fleet.ask(0, "a").await;
    });
}

#[test]
fn as_soon_as_redis_is_lost_nothing_that_was_kept_is_served() {
    story(async {
        let mut fleet = Fleet::new(2, "").await;
        let kept = async || fleet.ask(1, "a").await.by == "hit-l1";
        until("it is kept", kept).await;
        fleet.redis.kill();
        down(&fleet.sidecars[1]).await;
        fleet.write(0).await;
        fleet.ask(1, "a").await;
    });
}

#[test]
fn a_redis_that_does_not_answer_is_waited_for_only_briefly() {
    story(async {
        let fleet = Fleet::new(1, SHORT).await;
        let mut quickest = AT_ONCE;
        for _ in 0..3 {
            up(&fleet.sidecars[0]).await;
            fleet.keep(0, "a").await;
            fleet.redis.signal("STOP");
            let began = Instant::now();
            fleet.ask(0, "a").await;
            quickest = quickest.min(began.elapsed());
            fleet.redis.signal("CONT");
        }
        // Whoever waited for it to be given up would have waited for a second.
        assert!(quickest < Duration::from_millis(500), "{quickest:?}");
    });
}

#[test]
fn a_redis_that_does_not_answer_is_soon_not_asked_any_more() {
    story(async {
        let fleet = Fleet::new(1, SHORT).await;
        fleet.keep(0, "a").await;
        let timeout = ["kind=\"timeout\""];
        let late = || fleet.sidecars[0].metric("outrigger_redis_errors_total", &timeout);
        let before = late();
        fleet.redis.signal("STOP");
        for _ in 0..20 {
            fleet.ask(0, "a").await;
        }
        // A heartbeat may be among them, and who dials anew.
        let late = late() - before;
        assert!((1.0..=5.0).contains(&late), "{late}");
    });
}

#[test]
fn a_redis_that_takes_no_writes_any_more_is_believed_nothing() {
    story(async {
        let fleet = Fleet::new(1, SHORT).await;
        for _ in 0..3 {
            fleet.keep(0, "a").await;
            let _made: String = fleet.redis.ask("REPLICAOF 127.0.0.1 1").await;
            fleet.write(0).await;
            fleet.ask(0, "a").await;
            down(&fleet.sidecars[0]).await;
            let _made: String = fleet.redis.ask("REPLICAOF NO ONE").await;
            up(&fleet.sidecars[0]).await;
            // The old entry and the old tokens have stood there all the time.
            fleet.ask(0, "a").await;
        }
    });
}

#[test]
fn who_has_lost_redis_for_a_while_believes_nothing_that_was_kept_before() {
    story(async {
        let mut fleet = Fleet::new(2, "").await;
        let kept = async || fleet.ask(1, "a").await.by == "hit-l1";
        until("it is kept", kept).await;
        fleet.redis.kill();
        down(&fleet.sidecars[0]).await;
        down(&fleet.sidecars[1]).await;
        fleet.write(0).await;
        // It goes, and has told nobody.
        fleet.sidecars.remove(0).into_running().stop().await;
        fleet.redis.run().await;
        up(&fleet.sidecars[0]).await;
        fleet.ask(0, "a").await;
    });
}
