//! Answers that are not what was asked for, or not the store's own.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};

use super::*;
use crate::error::{Error, ErrorKind, Origin, Retry};
use crate::model::StoreKind;
use crate::net::Body;
use crate::store::{PassAnswer, PassCall, StoreFuture};

/// Of a method and a path. `None`: the store answers. `NEVER_SENT` for a status: it is not there.
pub(super) type Rule = dyn Fn(&Method, &str) -> Option<(u16, String)> + Send + Sync;

pub(super) const NEVER_SENT: u16 = 0;

/// What stands before a store and may answer instead.
pub(super) struct Before {
    pub(super) store: Arc<dyn Store>,
    pub(super) rule: Arc<Mutex<Box<Rule>>>,
}

impl Store for Before {
    fn kind(&self) -> StoreKind {
        self.store.kind()
    }

    fn pass(&self, call: PassCall) -> StoreFuture<'_, PassAnswer> {
        let said = (self.rule.lock())(&call.head.method, call.head.uri.path());
        let Some((status, text)) = said else {
            return self.store.pass(call);
        };
        if status == NEVER_SENT {
            let (kind, retry) = (ErrorKind::Unavailable, Retry::Safe);
            let error = Error::new(kind, Origin::Qdrant, retry, "connect");
            return Box::pin(std::future::ready(Err(error)));
        }
        let mut answer = Response::new(Body::full(text));
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        let json = HeaderValue::from_static("application/json");
        answer.headers_mut().insert(CONTENT_TYPE, json);
        Box::pin(std::future::ready(Ok(answer)))
    }

    fn probe(&self, within: Duration) -> StoreFuture<'_, ()> {
        self.store.probe(within)
    }
}

/// The two rules, of the authority and of the follower.
struct Odd {
    world: World,
    rules: [Arc<Mutex<Box<Rule>>>; 2],
}

impl Odd {
    /// Both have `c`, which is ours and has an alias and points.
    async fn new(name: &str) -> Self {
        let mut world = World::new(name);
        let rules = [(); 2].map(|()| {
            let passes: Box<Rule> = Box::new(|_, _| None);
            Arc::new(Mutex::new(passes))
        });
        let patience = Duration::from_secs(20);
        let direction = &mut world.direction;
        let peers = [&mut direction.authority, &mut direction.follower];
        for (peer, rule) in peers.into_iter().zip(&rules) {
            let before = Before {
                store: Arc::clone(peer.store()),
                rule: Arc::clone(rule),
            };
            *peer = Peer::new(Arc::new(before), patience);
        }
        let config = json!({"vectors": {"a": {"size": 2, "distance": "Dot"}}});
        world.authority("PUT /collections/c", config).await;
        let point = |id: u64| json!({"id": id, "vector": {"a": [1.0, 2.0]}});
        let points = json!({"points": [point(1), point(2)]});
        let path = "PUT /collections/c/points?wait=true";
        world.authority(path, points).await;
        let alias = json!({"alias_name": "live", "collection_name": "c"});
        let alias = json!({"actions": [{"create_alias": alias}]});
        world.authority("POST /collections/aliases", alias).await;
        world.ledger.want_sweep(None, "a test").await.unwrap();
        world.direction.sweep_once().await.unwrap();
        world.drained().await;
        let odd = Self { world, rules };
        odd.is_whole("at first").await;
        odd
    }

    fn rule(
        &self,
        of: usize,
        rule: impl Fn(&Method, &str) -> Option<(u16, String)> + Send + Sync + 'static,
    ) {
        *self.rules[of].lock() = Box::new(rule);
    }

    fn pass(&self) {
        for rule in &self.rules {
            *rule.lock() = Box::new(|_, _| None);
        }
    }

    /// Whether the follower still has all that it had.
    async fn is_whole(&self, when: &str) {
        self.pass();
        let there = self.world.follower_points().await;
        assert_eq!(there.as_array().unwrap().len(), 2, "{when}");
        let aliases = self.world.follower("GET /aliases", Value::Null).await;
        assert_eq!(aliases["aliases"][0]["alias_name"], "live", "{when}");
        assert!(self.world.direction.are_paired("c").await.unwrap());
    }
}

fn refused() -> (u16, String) {
    (
        400,
        json!({"status": {"error": "Wrong input: not this"}}).to_string(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_follower_refuses_to_have_changed_is_not_deleted_for_it() {
    let odd = Odd::new("refuses").await;
    let world = &odd.world;
    let steps = [
        (
            "PUT /collections/c/index?wait=true",
            json!({"field_name": "n", "field_schema": "integer"}),
        ),
        ("PATCH /collections/c", json!({"hnsw_config": {"m": 8}})),
        (
            "PUT /collections/c/vectors/b?wait=true",
            json!({"dense": {"size": 3, "distance": "Cosine"}}),
        ),
        (
            "POST /collections/aliases",
            json!({"actions": [{"create_alias": {"alias_name": "x", "collection_name": "c"}}]}),
        ),
    ];
    for (call, body) in steps {
        world.authority(call, body).await;
        odd.rule(1, |method, _| (method != Method::GET).then(refused));
        for _ in 0..2 {
            let brought = world.direction.bring_to_sweep("c").await.unwrap();
            let is_alias = call.contains("aliases");
            assert_eq!(brought.is_none(), is_alias, "{call}: {brought:?}");
        }
        world.ledger.put("c", &[Subject::Schema]);
        world.direction.round().await.unwrap();
        assert_eq!(world.direction.waiting(None).await.unwrap(), 1, "{call}");
        odd.is_whole(call).await;
        assert_eq!(world.direction.bring_along("c").await.unwrap(), None);
        world.ledger.forget().await.unwrap();
        assert_eq!(world.ledger.sweeps().await.unwrap(), vec![], "{call}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_collection_is_another_one_is_read_twice_before_ours_goes() {
    let odd = Odd::new("twice").await;
    let asked = AtomicU64::new(0);
    odd.rule(0, move |method, path| {
        let is_asked = method == Method::GET && path == "/collections/c";
        let is_first = is_asked && asked.fetch_add(1, Ordering::Relaxed) == 0;
        let other = json!({"vectors": {"a": {"size": 9, "distance": "Dot"}}});
        let told = json!({"result": {"config": {"params": other}}});
        is_first.then(|| (200, told.to_string()))
    });
    let brought = odd.world.direction.bring_to_sweep("c").await.unwrap();
    assert_eq!(brought, None);
    odd.is_whole("after one odd look").await;
}

/// What is no store's answer to a question: of an ingress, of a gateway, of a portal.
fn strange() -> [(u16, String); 5] {
    let page = "404 page not found, it doesn't exist";
    [
        (404, page.to_owned()),
        (404, json!({"status": {"error": "Not found"}}).to_string()),
        (302, String::new()),
        (400, "Bad Request".to_owned()),
        (200, json!({"result": {}}).to_string()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_a_store_says_to_be_absent_in_its_own_words_is_absent() {
    let odd = Odd::new("absent").await;
    let world = &odd.world;
    let (direction, ledger) = (&world.direction, &world.ledger);
    for (status, text) in strange() {
        for path in ["/collections", "/collections/c", "/aliases"] {
            let when = format!("{status} {text} {path}");
            let said = text.clone();
            odd.rule(0, move |method, asked| {
                (method == Method::GET && asked == path).then(|| (status, said.clone()))
            });
            ledger.want_sweep(None, "a test").await.unwrap();
            direction.sweep_once().await.unwrap_err();
            assert_eq!(ledger.sweeps().await.unwrap().len(), 1, "{when}");
            for (of, subjects) in [
                ("c", vec![Subject::Schema]),
                ("*", vec![Subject::Schema]),
                ("live", ids([1])),
            ] {
                ledger.put(of, &subjects);
                direction.state.unblock(of);
                let waiting = direction.round().await.map(|cleared| cleared == 0);
                // What the odd answer says nothing of is worked off.
                let is_asked = path == "/aliases" || (path, of) == ("/collections/c", "c");
                assert_eq!(waiting.unwrap_or(true), is_asked, "{when}: {of}");
                ledger.forget().await.unwrap();
            }
            odd.is_whole(&when).await;
            // By itself it would rest for a while.
            ledger.want_sweep(None, "a test").await.unwrap();
            direction.sweep_once().await.unwrap();
            assert_eq!(ledger.sweeps().await.unwrap(), vec![], "{when}");
        }
        if status != 200 {
            odd.rule(1, move |method, _| {
                (method == Method::DELETE).then(|| (status, text.clone()))
            });
            ledger.put("c", &[Subject::Dropped]);
            direction.state.unblock("c");
            assert_eq!(direction.round().await.unwrap_or(0), 0);
            assert_eq!(direction.waiting(None).await.unwrap(), 1);
            ledger.forget().await.unwrap();
            odd.is_whole("its deletion was not answered").await;
        }
    }
}
