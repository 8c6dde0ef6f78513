//! A client: it writes its own points and those of all, and reads its own back.
//!
//! Number 0 keeps the collection that comes and goes, too, and the alias.

use std::time::Duration;

use serde_json::{Value, json};

use super::call::{Outcome, ask};
use super::draw::{Pen, Write, any_user, of_user};
use super::history::{Failure, History, OWN};
use super::known::{Front, Id, Known, LANDS_WITHIN, Point, State};
use crate::support::dice::Dice;

/// How often a call that has to come out one way or the other is made.
const TRIES: usize = 20;
const AGAIN: Duration = Duration::from_millis(50);
/// After a call that has failed.
const PAUSE: Duration = Duration::from_millis(15);

pub(super) struct Client<'h> {
    history: &'h History<'h>,
    number: usize,
    dice: Dice,
    /// In the collection that stays and, for number 0, in the one that comes and goes.
    known: Vec<Known>,
    /// Nothing is known of the collection that comes and goes.
    is_lost: bool,
    /// It may have gone, or not come.
    is_unsure: bool,
    sidecar: usize,
    has_failed: bool,
}

/// Who is said to own the points that all write to.
fn nobody() -> Value {
    json!("all")
}

impl<'h> Client<'h> {
    pub(super) fn new(history: &'h History<'h>, number: usize, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let first = number * 100;
        let ids: Vec<Id> = (first..first + OWN).map(Id::new).collect();
        let collections = if number == 0 { 2 } else { 1 };
        let owner = json!(format!("client {number}"));
        let known = (0..collections).map(|_| Known::new(owner.clone(), &ids));
        Self {
            history,
            number,
            known: known.collect(),
            is_lost: false,
            is_unsure: false,
            sidecar: dice.below(2),
            has_failed: false,
            dice,
        }
    }

    /// What it knows at the end, by collection.
    pub(super) async fn play(mut self) -> Result<Vec<(usize, Known)>, Failure> {
        self.begin().await;
        // What has failed at once does not count, up to a point: it takes no time.
        let mut left = 15 + self.dice.below(26);
        for _ in 0..3 * left {
            if left == 0 {
                break;
            }
            self.has_failed = false;
            if self.dice.one_in(3) {
                let ms = u64::try_from(self.dice.below(40)).unwrap();
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            if self.dice.one_in(4) {
                self.sidecar = self.dice.below(2);
            }
            self.step().await?;
            if self.has_failed {
                tokio::time::sleep(PAUSE).await;
            } else {
                left -= 1;
            }
        }
        let kept = if self.is_lost { 1 } else { 2 };
        Ok(self.known.into_iter().take(kept).enumerate().collect())
    }

    async fn begin(&mut self) {
        for at in 0..self.known.len() {
            let ids: Vec<Id> = self.known[at].ids().cloned().collect();
            let owner = self.known[at].owner.clone();
            self.write_most(at, &owner, &ids).await;
        }
        if self.number == 0 {
            for at in 0..2 {
                let history = self.history;
                self.write_most(at, &nobody(), &history.shared).await;
            }
        }
    }

    async fn write_most(&mut self, at: usize, owner: &Value, ids: &[Id]) {
        let shape = self.history.shapes.lock()[at];
        let write = Pen {
            dice: &mut self.dice,
            shape,
            owner,
            ids,
            may_filter: false,
        }
        .most();
        let name = self.history.names[at].clone();
        let (outcome, front) = self.send_write(&name, &write, true).await;
        // Those of all are nobody's own: nothing is learnt of them.
        self.known[at].learn(&write.steps, &outcome, front);
    }

    async fn step(&mut self) -> Result<(), Failure> {
        match self.dice.below(20) {
            0..=9 => {
                let at = self.dice.below(self.known.len());
                self.write_own(at).await
            }
            10..=13 => {
                self.write_shared().await;
                Ok(())
            }
            // An index takes the engine longer than all the rest.
            14 if self.dice.one_in(2) => {
                self.index().await;
                Ok(())
            }
            15 if self.number == 0 => {
                self.move_alias().await;
                Ok(())
            }
            16 if self.number == 0 && self.dice.one_in(2) => {
                self.make_anew().await;
                Ok(())
            }
            _ => self.read().await,
        }
    }

    async fn write_own(&mut self, at: usize) -> Result<(), Failure> {
        if at == 1 && (self.is_lost || self.is_unsure) {
            self.make_anew().await;
            return Ok(());
        }
        let known = &self.known[at];
        let ids = known.free();
        if ids.is_empty() {
            self.write_shared().await;
            return Ok(());
        }
        let shape = self.history.shapes.lock()[at];
        let write = Pen {
            dice: &mut self.dice,
            shape,
            owner: &known.owner,
            ids: &ids,
            may_filter: known.are_all_free(),
        }
        .any();
        let waits = !self.dice.one_in(5);
        let name = self.history.names[at].clone();
        let (outcome, front) = self.send_write(&name, &write, waits).await;
        let front = front.filter(|_| waits);
        self.known[at].learn(&write.steps, &outcome, front);
        if outcome.is_done() && self.dice.one_in(2) {
            self.read_own(at).await?;
        }
        Ok(())
    }

    async fn write_shared(&mut self) {
        let at = self.dice.below(2);
        let shape = self.history.shapes.lock()[at];
        let owner = nobody();
        let write = Pen {
            dice: &mut self.dice,
            shape,
            owner: &owner,
            ids: &self.history.shared,
            may_filter: true,
        }
        .any();
        let waits = !self.dice.one_in(5);
        let history = self.history;
        // Wherever the alias leads.
        let name = if self.dice.one_in(4) {
            history.alias.clone()
        } else {
            history.names[at].clone()
        };
        self.send_write(&name, &write, waits).await;
    }

    /// Returns the sidecar it was sent to, too.
    async fn send_write(
        &mut self,
        name: &str,
        write: &Write,
        waits: bool,
    ) -> (Outcome, Option<Front>) {
        let target = format!("/collections/{name}/points{}?wait={waits}", write.path);
        let is_for_all = write.is_by_filter();
        self.send(write.method, &target, &write.body, is_for_all)
            .await
    }

    /// To one sidecar, or to the other where that is down.
    async fn send(
        &mut self,
        method: &str,
        target: &str,
        body: &Value,
        is_for_all: bool,
    ) -> (Outcome, Option<Front>) {
        for _ in 0..2 {
            let front = self.history.world.front(self.sidecar);
            let from = self.history.now();
            let proxy = self.history.world.proxy(self.sidecar);
            let outcome = ask(proxy, method, target, body).await;
            if matches!(outcome, Outcome::NotSent) {
                self.sidecar = 1 - self.sidecar;
                continue;
            }
            self.count(&outcome);
            self.has_failed = !outcome.is_done() && !outcome.is_refusal();
            let (number, at) = (self.number, front.sidecar + 1);
            let told = outcome.told();
            let text = format!("client {number} by S{at}: {method} {target} {body}: {told}");
            self.history.noted(from, text, is_for_all);
            return (outcome, Some(front));
        }
        // Both are down: one of them will be up soon.
        tokio::time::sleep(AGAIN).await;
        (Outcome::NotSent, None)
    }

    fn count(&self, outcome: &Outcome) {
        let mut tally = self.history.tally.lock();
        if outcome.is_done() {
            tally.acknowledged += 1;
            return;
        }
        tally.reason("write", outcome);
        if outcome.is_refusal() {
            tally.refused += 1;
        } else {
            tally.unknown += 1;
        }
    }

    async fn index(&mut self) {
        let at = self.dice.below(2);
        let name = &self.history.names[at];
        let (field, kind) = self.dice.of(&[("user", "keyword"), ("n", "integer")]);
        if self.dice.one_in(3) {
            let target = format!("/collections/{name}/index/{field}?wait=true");
            self.send("DELETE", &target, &Value::Null, true).await;
        } else {
            let target = format!("/collections/{name}/index?wait=true");
            let body = json!({"field_name": field, "field_schema": kind});
            self.send("PUT", &target, &body, true).await;
        }
    }

    async fn move_alias(&mut self) {
        let alias = self.history.alias.clone();
        let to = self.dice.of(&self.history.names);
        let delete = json!({"delete_alias": {"alias_name": alias}});
        let create = json!({"create_alias": {"collection_name": to, "alias_name": alias}});
        let actions = match self.dice.below(4) {
            0 => vec![delete],
            1 => vec![create],
            _ => vec![delete, create],
        };
        let body = json!({"actions": actions});
        self.send("POST", "/collections/aliases", &body, true).await;
    }

    /// Deletes the collection that comes and goes and makes it again, maybe of another shape. What
    /// did not come out one way or the other is done again, once it cannot come late.
    async fn make_anew(&mut self) {
        let known = &mut self.known[1];
        known.lose(false);
        self.is_unsure = true;
        let target = format!("/collections/{}", self.history.names[1]);
        if !self.until_settled("DELETE", &target, &Value::Null).await {
            return;
        }
        let mut shape = self.history.shapes.lock()[1];
        if self.dice.one_in(2) {
            shape.size = 4 + self.dice.below(3);
            shape.is_named = self.dice.one_in(2);
        }
        let config = shape.collection();
        if !self.until_settled("PUT", &target, &config).await {
            return;
        }
        self.history.shapes.lock()[1] = shape;
        self.known[1].lose(true);
        self.is_unsure = false;
    }

    async fn until_settled(&mut self, method: &str, target: &str, body: &Value) -> bool {
        let mut was_unknown = false;
        for _ in 0..TRIES {
            let (outcome, _) = self.send(method, target, body, true).await;
            // It is there: by one of the tries before.
            let is_there = was_unknown && matches!(outcome, Outcome::Said(409 | 400, _));
            if outcome.is_done() || is_there {
                return true;
            }
            if outcome.is_refusal() {
                break;
            }
            if matches!(outcome, Outcome::NotSent) {
                continue;
            }
            was_unknown = true;
            tokio::time::sleep(LANDS_WITHIN).await;
        }
        self.is_lost = true;
        false
    }

    async fn read(&mut self) -> Result<(), Failure> {
        let at = self.dice.below(self.known.len());
        self.read_own(at).await
    }

    /// Reads by the sidecar that wrote last, which shows every write that was acknowledged.
    async fn read_own(&mut self, at: usize) -> Result<(), Failure> {
        if at == 1 && (self.is_lost || self.is_unsure) {
            return Ok(());
        }
        let front = self.history.world.front(self.sidecar);
        let shown = self.known[at].shown_by(front);
        if shown.is_empty() {
            return Ok(());
        }
        let name = &self.history.names[at];
        let user = self.dice.one_in(3).then(|| any_user(&mut self.dice));
        let asked = match user {
            Some(user) => {
                let filter = of_user(&self.known[at].owner, user);
                let body = json!({
                    "filter": filter, "limit": 100, "with_payload": true, "with_vector": true,
                });
                (format!("/collections/{name}/points/scroll"), body)
            }
            None => {
                let ids: Vec<Value> = shown.iter().take(4).map(Id::json).collect();
                let body = json!({"ids": ids, "with_payload": true, "with_vector": true});
                (format!("/collections/{name}/points"), body)
            }
        };
        let from = self.history.now();
        let proxy = self.history.world.proxy(front.sidecar);
        let outcome = ask(proxy, "POST", &asked.0, &asked.1).await;
        // Read by the sidecar that was killed since, or by the one that came after it.
        let is_other = self.history.world.front(front.sidecar) != front;
        if !outcome.is_done() || is_other {
            return Ok(());
        }
        self.history.tally.lock().reads += 1;
        let result = outcome.result();
        let told = if user.is_some() {
            &result["points"]
        } else {
            result
        };
        let told = told.as_array().cloned().unwrap_or_default();
        let found = |id: &Id| -> State {
            let one = told.iter().find(|point| Id::of(&point["id"]) == *id);
            one.map(Point::read)
        };
        let known = &self.known[at];
        let meant = match user {
            None => shown.iter().take(4).collect::<Vec<_>>(),
            Some(user) => {
                let is_meant = |id: &&Id| known.is_surely_of(id, user) || found(id).is_some();
                shown.iter().filter(is_meant).collect()
            }
        };
        for id in meant {
            if let Some(doubt) = known.doubts(id, &found(id)) {
                let sidecar = front.sidecar + 1;
                let text = format!(
                    "client {} read by S{sidecar} from {} ms: POST {} {}\n{doubt}",
                    self.number,
                    from.as_millis(),
                    asked.0,
                    asked.1
                );
                return Err(Failure::of(id, text));
            }
        }
        Ok(())
    }
}
