//! Reads of every kind, and whether what they tell may have been so.

use serde_json::{Value, json};

use super::history::{Dice, Names};
use super::reference::{POINTS, Point, Reference, Tick};
use crate::support::ask::{Answer, Ask};

/// One of the two collections, or the alias.
#[derive(Clone, Copy, Debug)]
pub(super) enum Under {
    Own(usize),
    Alias,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    One(usize),
    Some(Vec<usize>),
    Scroll(Option<&'static str>),
    Count(Option<&'static str>),
    Search(Option<&'static str>),
    Batch,
    Groups,
    Facet,
    /// Looks from this point of the other collection.
    Lookup(usize),
    Exists,
    Info,
    Aliases,
}

#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) under: Under,
    pub(super) kind: Kind,
}

pub(super) const USERS: [&str; 2] = ["u0", "u1"];

/// When a read began and when it was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time(pub(super) Tick, pub(super) Tick);

impl Read {
    /// One of few, so that they come again.
    pub(super) fn any(dice: &mut Dice) -> Self {
        let under = match dice.below(3) {
            0 => Under::Alias,
            number => Under::Own(number - 1),
        };
        let user = [None, Some(USERS[0]), Some(USERS[1])][dice.below(3)];
        let kind = match dice.below(14) {
            0 => Kind::One(dice.below(POINTS)),
            1 => Kind::Some(vec![0, 3, 6]),
            2 => Kind::Some(vec![1, 2, 8]),
            3 | 4 => Kind::Scroll(user),
            5 | 6 => Kind::Count(user),
            7 | 8 => Kind::Search(user),
            9 => Kind::Batch,
            10 => Kind::Groups,
            11 => Kind::Facet,
            12 => Kind::Lookup(dice.below(2)),
            _ => match dice.below(3) {
                0 => Kind::Exists,
                1 => Kind::Info,
                _ => Kind::Aliases,
            },
        };
        Self { under, kind }
    }

    pub(super) fn ask(&self, names: &Names) -> Ask {
        let name = match self.under {
            Under::Own(number) => &names.own[number],
            Under::Alias => &names.alias,
        };
        let collection = format!("/collections/{name}");
        let points = format!("{collection}/points");
        let filter = |user: &Option<&str>| {
            user.map(|user| json!({"must": [{"key": "user", "match": {"value": user}}]}))
        };
        let whole = |mut body: Value| {
            body["with_payload"] = json!(true);
            body["with_vector"] = json!(true);
            body
        };
        let ids = |ids: &[usize]| ids.iter().map(|id| id + 1).collect::<Vec<_>>();
        match &self.kind {
            Kind::One(id) => Ask::get(&format!("{points}/{}", id + 1)),
            Kind::Some(some) => Ask::new("POST", &points).json(&whole(json!({ "ids": ids(some) }))),
            Kind::Scroll(user) => Ask::new("POST", &format!("{points}/scroll"))
                .json(&whole(json!({"limit": 100, "filter": filter(user)}))),
            Kind::Count(user) => Ask::new("POST", &format!("{points}/count"))
                .json(&json!({"exact": true, "filter": filter(user)})),
            Kind::Search(user) => {
                Ask::new("POST", &format!("{points}/query")).json(&whole(search(filter(user))))
            }
            Kind::Batch => Ask::new("POST", &format!("{points}/query/batch"))
                .json(&json!({"searches": [whole(search(None)), whole(search(None))]})),
            Kind::Groups => Ask::new("POST", &format!("{points}/query/groups")).json(&whole(
                json!({"query": [1.0, 1.0], "using": "a", "group_by": "user", "limit": 10,
                       "group_size": 100, "params": {"exact": true}}),
            )),
            Kind::Facet => Ask::new("POST", &format!("{collection}/facet"))
                .json(&json!({"key": "user", "exact": true})),
            Kind::Lookup(id) => {
                let other = &names.own[self.looks_into()];
                Ask::new("POST", &format!("{points}/query")).json(&json!({
                    "query": id + 1, "using": "a", "limit": 100, "params": {"exact": true},
                    "lookup_from": {"collection": other, "vector": "a"},
                }))
            }
            Kind::Exists => Ask::get(&format!("{collection}/exists")),
            Kind::Info => Ask::get(&collection),
            Kind::Aliases => Ask::get("/aliases"),
        }
    }

    /// Under the alias it is always the second.
    fn looks_into(&self) -> usize {
        match self.under {
            Under::Own(number) => 1 - number,
            Under::Alias => 1,
        }
    }

    /// Whether the answer may have been so at some moment while it was under way.
    pub(super) fn check(
        &self,
        answer: &Answer,
        reference: &Reference,
        names: &Names,
        time: Time,
    ) -> Result<(), String> {
        if matches!(self.kind, Kind::Aliases) {
            return aliases(answer, reference, names, time);
        }
        let Time(began, ended) = time;
        let targets: Vec<Option<usize>> = match self.under {
            Under::Own(number) => vec![Some(number)],
            Under::Alias => reference.alias.between(began, ended).copied().collect(),
        };
        let mut reasons = Vec::new();
        for target in targets {
            match self.check_of(target, answer, reference, time) {
                Ok(()) => return Ok(()),
                Err(reason) => reasons.push(format!("of {target:?}: {reason}")),
            }
        }
        Err(reasons.join("; "))
    }

    fn check_of(
        &self,
        target: Option<usize>,
        answer: &Answer,
        reference: &Reference,
        time: Time,
    ) -> Result<(), String> {
        let Time(began, ended) = time;
        let may_exist = |exists: bool| match target {
            None => !exists,
            Some(number) => {
                let own = &reference.collections[number].exists;
                own.between(began, ended).any(|told| *told == exists)
            }
        };
        let status = answer.status();
        if matches!(self.kind, Kind::Exists) {
            let exists = answer.json()["result"]["exists"].as_bool();
            return require(exists.is_some_and(may_exist), "it does not say so");
        }
        let text = answer.text();
        if status == 404 && text.contains("Collection") {
            let other = reference.collections[self.looks_into()]
                .exists
                .between(began, ended);
            let lookup = matches!(self.kind, Kind::Lookup(_)) && other.clone().any(|told| !told);
            return require(may_exist(false) || lookup, "it is there");
        }
        let Some(number) = target.filter(|_| may_exist(true)) else {
            return Err("it is not there".to_owned());
        };
        let seen = Seen {
            reference,
            number,
            time,
        };
        if status != 200 {
            return self.check_refusal(answer, &seen);
        }
        let result = &answer.json()["result"];
        match &self.kind {
            Kind::One(id) => seen.points(&json!([result]), |at| at == *id, |_| true),
            Kind::Some(some) => seen.points(result, |at| some.contains(&at), |_| true),
            Kind::Scroll(user) => {
                seen.points(&result["points"], |_| true, |point| is_of(point, user))
            }
            Kind::Search(user) => seen.points(
                &result["points"],
                |_| true,
                |point| found(point) && is_of(point, user),
            ),
            Kind::Batch => {
                for one in result.as_array().ok_or("no list")? {
                    seen.points(&one["points"], |_| true, found)?;
                }
                Ok(())
            }
            Kind::Groups => {
                let groups = result["groups"].as_array().ok_or("no groups")?;
                let hits = groups.iter().filter_map(|group| group["hits"].as_array());
                let hits: Vec<Value> = hits.flatten().cloned().collect();
                let has_user = |point: &Point| point.payload.contains_key("user");
                seen.groups(&json!(hits), |point| found(point) && has_user(point))
            }
            Kind::Count(user) => {
                let count = result["count"].as_u64().ok_or("no count")?;
                seen.count(count, |point| is_of(point, user))
            }
            Kind::Facet => {
                let hits = result["hits"].as_array().ok_or("no hits")?;
                USERS.iter().try_for_each(|user| {
                    let of_user = hits.iter().find(|hit| hit["value"] == *user);
                    let count = of_user.and_then(|hit| hit["count"].as_u64());
                    seen.count(count.unwrap_or(0), |point| is_of(point, &Some(user)))
                })
            }
            Kind::Lookup(id) => self.check_lookup(*id, result, &seen),
            Kind::Exists | Kind::Info | Kind::Aliases => Ok(()),
        }
    }

    fn check_refusal(&self, answer: &Answer, seen: &Seen<'_>) -> Result<(), String> {
        let missing = match &self.kind {
            Kind::One(id) => seen.values(*id).any(Option::is_none),
            Kind::Lookup(id) => {
                let other = self.other(seen);
                let lacks = |point: &Option<Point>| point.as_ref().is_none_or(|p| p.a.is_none());
                other.values(*id).any(lacks)
            }
            // Its index is made after the collection.
            Kind::Facet => answer.status() == 400,
            Kind::Some(_)
            | Kind::Scroll(_)
            | Kind::Count(_)
            | Kind::Search(_)
            | Kind::Batch
            | Kind::Groups
            | Kind::Exists
            | Kind::Info
            | Kind::Aliases => false,
        };
        require(missing, "nothing is wrong with it")
    }

    fn other<'r>(&self, seen: &Seen<'r>) -> Seen<'r> {
        Seen {
            number: self.looks_into(),
            ..*seen
        }
    }

    /// The score tells which vector was looked up.
    fn check_lookup(&self, id: usize, result: &Value, seen: &Seen<'_>) -> Result<(), String> {
        let hits = result["points"].as_array().ok_or("no points")?;
        let from = self.other(seen);
        let looked_up = from.values(id).filter_map(|point| point.as_ref()?.a);
        let mut reasons = vec!["no vector there".to_owned()];
        for looked_up in looked_up {
            let fits = (0..POINTS).try_for_each(|at| {
                let hit = hits.iter().find(|hit| hit["id"] == at + 1);
                let score = |point: &Option<Point>| {
                    // Whoever looks from a point of the same collection does not find it.
                    point
                        .as_ref()
                        .and_then(|point| point.a)
                        .map(|a| a * looked_up + 1)
                };
                let told = hit.map(|hit| hit["score"].as_f64().unwrap_or_default());
                let same_point = seen.number == from.number && at == id;
                let may = seen.values(at).any(|point| match (told, score(point)) {
                    (None, None) => true,
                    (None, Some(_)) => same_point,
                    (Some(told), Some(score)) => (told - as_float(score)).abs() < 0.5,
                    (Some(_), None) => false,
                });
                require(may, &format!("{} with {told:?} by {looked_up}", at + 1))
            });
            match fits {
                Ok(()) => return Ok(()),
                Err(reason) => reasons.push(reason),
            }
        }
        Err(reasons.join(", "))
    }
}

fn search(filter: Option<Value>) -> Value {
    json!({"query": [1.0, 1.0], "using": "a", "limit": 100, "filter": filter,
           "params": {"exact": true}})
}

fn as_float(number: i64) -> f64 {
    f64::from(i32::try_from(number).unwrap())
}

fn is_of(point: &Point, user: &Option<&str>) -> bool {
    user.is_none_or(|user| point.payload.get("user").is_some_and(|own| own == user))
}

fn found(point: &Point) -> bool {
    point.a.is_some()
}

fn require(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(otherwise.to_owned())
    }
}

fn aliases(
    answer: &Answer,
    reference: &Reference,
    names: &Names,
    Time(began, ended): Time,
) -> Result<(), String> {
    let body = answer.json();
    let all = body["result"]["aliases"].as_array().ok_or("no aliases")?;
    let own = all.iter().find(|alias| alias["alias_name"] == *names.alias);
    let told = own.map(|alias| alias["collection_name"].as_str().unwrap_or_default());
    let may = |target: &Option<usize>| target.map(|number| &*names.own[number]) == told;
    let ok = reference.alias.between(began, ended).any(may);
    require(ok, &format!("the alias does not lead to {told:?}"))
}

/// A collection, as it may have been at some moment between two.
#[derive(Clone, Copy)]
struct Seen<'r> {
    reference: &'r Reference,
    number: usize,
    time: Time,
}

impl<'r> Seen<'r> {
    fn values(&self, at: usize) -> impl Iterator<Item = &'r Option<Point>> + Clone + use<'r> {
        let Time(began, ended) = self.time;
        self.reference.collections[self.number].points[at].between(began, ended)
    }

    /// Each of the points that were asked for is told as it may have been, or left out because it
    /// may have been none of those that fit.
    fn points(
        &self,
        told: &Value,
        asked: impl Fn(usize) -> bool,
        fits: impl Fn(&Point) -> bool,
    ) -> Result<(), String> {
        let told = told.as_array().ok_or("no list of points")?;
        for at in (0..POINTS).filter(|at| asked(*at)) {
            let mut of_id = told.iter().filter(|point| point["id"] == at + 1);
            let point = of_id.next().map(decoded);
            require(of_id.next().is_none(), "a point is there twice")?;
            self.point(at, point, &fits)?;
        }
        Ok(())
    }

    /// The store finds points first and reads them after that: it may tell a point as it was a
    /// moment after it was found.
    fn point(
        &self,
        at: usize,
        point: Option<Point>,
        fits: impl Fn(&Point) -> bool,
    ) -> Result<(), String> {
        let told_so = |value: &Option<Point>| *value == point;
        let fit = |value: &Option<Point>| value.as_ref().is_some_and(&fits);
        let may = if point.is_some() {
            self.values(at).any(fit) && self.values(at).any(told_so)
        } else {
            !self.values(at).all(fit)
        };
        let values: Vec<_> = self.values(at).collect();
        let text = format!("{} is told as {point:?}, may be {values:?}", at + 1);
        require(may, &text)
    }

    fn groups(&self, told: &Value, fits: impl Fn(&Point) -> bool) -> Result<(), String> {
        let told = told.as_array().ok_or("no list of points")?;
        (0..POINTS).try_for_each(|at| {
            let point = told.iter().find(|point| point["id"] == at + 1).map(decoded);
            self.point(at, point, &fits)
        })
    }

    fn count(&self, told: u64, fits: impl Fn(&Point) -> bool) -> Result<(), String> {
        let (mut least, mut most) = (0, 0);
        for at in 0..POINTS {
            let one = |value: &Option<Point>| value.as_ref().is_some_and(&fits);
            least += u64::from(self.values(at).all(one));
            most += u64::from(self.values(at).any(one));
        }
        let text = format!("{told} is not within {least} and {most}");
        require((least..=most).contains(&told), &text)
    }
}

pub(super) fn decoded(told: &Value) -> Point {
    let first = |name: &str| {
        let vector = told["vector"][name].as_array()?;
        let number = vector.first()?.as_f64()?;
        // These are whole and small.
        format!("{number:.0}").parse().ok()
    };
    Point {
        a: first("a"),
        b: first("b"),
        payload: told["payload"].as_object().cloned().unwrap_or_default(),
    }
}
