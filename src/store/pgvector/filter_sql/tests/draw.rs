//! Random payloads, indexes and filters. Values come from small pools, so that conditions meet
//! them.

mod ask;
mod edge;

use serde_json::{Map, Value, json};

/// Paths and the schemas of their indexes.
pub(super) type Indexes = Vec<(String, Value)>;

pub(super) struct Draw {
    state: u64,
    /// What each field mostly holds in this round.
    themes: Vec<(&'static str, Theme)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Theme {
    Integer,
    Float,
    Keyword,
    Uuid,
    Date,
    Place,
    Bool,
    Text,
    Mixed,
}

const THEMES: [Theme; 9] = [
    Theme::Integer,
    Theme::Float,
    Theme::Keyword,
    Theme::Uuid,
    Theme::Date,
    Theme::Place,
    Theme::Bool,
    Theme::Text,
    Theme::Mixed,
];

/// Paths that filters ask for, and the slot of the payload that each leads to.
const PATHS: [(&str, &str); 16] = [
    ("a", "a"),
    ("b", "b"),
    (r#""k x'""#, "k x'"),
    ("n.x", "n.x"),
    (r#"n."y.é""#, "n.y"),
    ("n", "n"),
    ("l[]", "l"),
    ("l", "l"),
    ("l[1]", "l"),
    ("o[].v", "o.v"),
    ("o[].w[]", "o.w"),
    ("o[0].v", "o.v"),
    ("o[].p[].q", "o.p.q"),
    ("o", "o"),
    ("missing", "a"),
    ("a.deeper", "a"),
];

const SLOTS: [&str; 8] = ["a", "b", "k x'", "n.x", "n.y", "l", "o.v", "o.p.q"];

/// The first ones are the usual ones.
const WORDS: [&str; 14] = [
    "Quick",
    "brown",
    "fox",
    "runs",
    "the",
    "running",
    "naïve",
    "Straße",
    "fox's",
    "本日の日付は",
    "今天是星期一",
    "a",
    "x_y-z",
    "\0",
];

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        let mut draw = Self {
            state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15),
            themes: Vec::new(),
        };
        for slot in SLOTS {
            // Inside of objects words are found in another way.
            let theme = match slot.starts_with('o') && draw.coin(3) {
                true => Theme::Text,
                false => draw.of(&THEMES),
            };
            draw.themes.push((slot, theme));
        }
        let wide = draw.of(&THEMES);
        draw.themes.push(("o.w", wide));
        draw
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap();
        usize::try_from(self.next() % limit).unwrap()
    }

    /// True once in so many times.
    pub(super) fn coin(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    fn value_of(&mut self, list: Value) -> Value {
        let list = list.as_array().unwrap();
        list[self.below(list.len())].clone()
    }

    fn theme(&self, slot: &str) -> Theme {
        self.themes
            .iter()
            .find(|(name, _)| *name == slot)
            .map_or(Theme::Mixed, |(_, theme)| *theme)
    }

    pub(super) fn id(&mut self, number: u64) -> Value {
        match self.below(4) {
            0 => json!(format!(
                "{:08x}-0000-4000-8000-{:012x}",
                self.below(1 << 30),
                number
            )),
            1 => json!(u64::MAX - number),
            _ => json!(number),
        }
    }

    pub(super) fn vectors(&mut self) -> Vec<&'static str> {
        self.of(&[&[][..], &["v"], &[""], &["", "v"]]).to_vec()
    }

    pub(super) fn payload(&mut self) -> Value {
        let mut map = Map::new();
        if self.coin(20) {
            return json!({});
        }
        for slot in ["a", "b", "k x'", "l"] {
            if !self.coin(5) {
                let value = self.slot(slot);
                map.insert(slot.to_owned(), value);
            }
        }
        if !self.coin(4) {
            let mut inner = Map::new();
            if !self.coin(4) {
                inner.insert("x".to_owned(), self.slot("n.x"));
            }
            if !self.coin(4) {
                inner.insert("y.é".to_owned(), self.slot("n.y"));
            }
            let inner = if self.coin(12) {
                self.slot("a")
            } else {
                Value::Object(inner)
            };
            map.insert("n".to_owned(), inner);
        }
        if !self.coin(4) {
            let count = self.below(4);
            let items = (0..count).map(|_| self.object()).collect();
            let value = if self.coin(12) {
                self.object()
            } else {
                Value::Array(items)
            };
            map.insert("o".to_owned(), value);
        }
        if self.coin(10) {
            map.insert("nul\0key".to_owned(), json!("\u{F8FF}0"));
        }
        Value::Object(map)
    }

    fn object(&mut self) -> Value {
        if self.coin(10) {
            return self.slot("o.v");
        }
        let mut map = Map::new();
        if !self.coin(4) {
            map.insert("v".to_owned(), self.slot("o.v"));
        }
        if !self.coin(3) {
            map.insert("w".to_owned(), self.slot("o.w"));
        }
        if !self.coin(3) {
            let count = self.below(3);
            let items = (0..count)
                .map(|_| json!({"q": self.slot("o.p.q")}))
                .collect();
            map.insert("p".to_owned(), Value::Array(items));
        }
        Value::Object(map)
    }

    fn slot(&mut self, slot: &str) -> Value {
        let theme = self.theme(slot);
        match self.below(12) {
            0 => Value::Null,
            1 => json!([]),
            2..=4 => {
                let count = 1 + self.below(3);
                Value::Array((0..count).map(|_| self.element(theme)).collect())
            }
            _ => self.element(theme),
        }
    }

    fn element(&mut self, theme: Theme) -> Value {
        match self.below(14) {
            0 => {
                let other = self.of(&THEMES);
                self.scalar(other)
            }
            1 => self.value_of(json!([null, [], {}, [null], "", 0, false, [5], ["x"], {"lat": 1}])),
            _ => self.scalar(theme),
        }
    }

    fn scalar(&mut self, theme: Theme) -> Value {
        match theme {
            Theme::Integer => self.integer(),
            Theme::Float => self.float(),
            Theme::Keyword => json!(self.keyword()),
            Theme::Uuid => json!(self.uuid()),
            Theme::Date => json!(self.date()),
            Theme::Place => self.place(),
            Theme::Bool => json!(self.coin(2)),
            Theme::Text => json!(self.text()),
            Theme::Mixed => {
                let other = self.of(&THEMES[..8]);
                self.scalar(other)
            }
        }
    }

    fn integer(&mut self) -> Value {
        match self.below(6) {
            0 => self.value_of(json!([
                i64::MAX,
                i64::MIN,
                u64::MAX,
                9_223_372_036_854_775_808_u64,
                9_223_372_036_854_776_832_u64,
                9_223_372_036_854_776_833_u64,
                9_007_199_254_740_993_i64,
                -0.0,
                1e20,
                1e300,
                9.223_372_036_854_776e18,
                -9.223_372_036_854_776e18,
                1.152_921_504_606_847e18,
                5.0,
                5.5,
                -3.0
            ])),
            _ => json!(i64::try_from(self.below(9)).unwrap() - 2),
        }
    }

    fn float(&mut self) -> Value {
        match self.below(8) {
            0 => self.value_of(json!([
                0.0,
                -0.0,
                5e-324,
                1e300,
                -1e300,
                0.1,
                0.30000000000000004,
                1e16,
                123_456_789.123_456_79,
                9007199254740993_u64,
                u64::MAX,
                1e23,
                2.2250738585072014e-308
            ])),
            1 => json!(f64::from(u32::try_from(self.below(1000)).unwrap()) / 7.0),
            2 => json!(i64::try_from(self.below(5)).unwrap()),
            _ => json!(f64::from(u32::try_from(self.below(16)).unwrap()) / 4.0 - 1.0),
        }
    }

    fn keyword(&mut self) -> String {
        let long = "x".repeat(9000);
        let text = self.of(&[
            "red",
            "Red",
            "blue",
            "a b",
            "",
            "\0",
            "\u{F8FF}",
            "\u{F8FA}\u{F8FD}",
            "é本",
            "o'b\\\"x",
            "5",
            "true",
            "\n",
            "😀",
        ]);
        match self.below(20) {
            0 => format!("{long}{text}"),
            1 => format!("{text}\0{text}"),
            _ => text.to_owned(),
        }
    }

    fn uuid(&mut self) -> String {
        let uuid = self.of(&[
            "550e8400-e29b-41d4-a716-446655440000",
            "00000000-0000-0000-0000-000000000005",
            "ffffffff-ffff-ffff-ffff-fffffffffffb",
        ]);
        match self.below(9) {
            0 => uuid.to_uppercase(),
            1 => uuid.replace('-', ""),
            2 => format!("{{{uuid}}}"),
            3 => format!("urn:uuid:{uuid}"),
            4 => format!("URN:UUID:{uuid}"),
            5 => format!("{{{}}}", uuid.replace('-', "")),
            6 => uuid.replacen('-', "", 1),
            _ => uuid.to_owned(),
        }
    }

    fn date(&mut self) -> String {
        match self.below(12) {
            0 => self.date_like(),
            1 => self
                .of(&[
                    "1969-12-31T23:59:59.5Z",
                    "2020-01-01T00:00:00.0000005Z",
                    "2019-12-31T23:59:60.5Z",
                    "0001-01-01",
                    "+10000-01-01T00:00:00Z",
                    "yesterday",
                ])
                .to_owned(),
            _ => {
                let day = 1 + self.below(4);
                let zone = self.of(&["Z", "", "+02:00", "-0530", " UTC", "+01"]);
                let date = self.of(&["2020-01-0", "2020-1-", "1969-12-3"]);
                match self.below(3) {
                    0 => format!("2020-01-0{day}"),
                    1 => format!("{date}{}T1{}:00:00{zone}", day % 2, day),
                    _ => format!(
                        "2020-01-0{day} 00:00:0{}.{}{zone}",
                        day,
                        self.of(&["0", "5", "123456789"])
                    ),
                }
            }
        }
    }

    fn coordinate(&mut self, reach: i32) -> f64 {
        let cells = usize::try_from(reach / 10 * 2 + 1).unwrap();
        let cell = i32::try_from(self.below(cells)).unwrap();
        let near = f64::from(cell * 10 - reach / 10 * 10);
        match self.below(4) {
            0 => (near + 0.1 * f64::from(u32::try_from(self.below(50)).unwrap()))
                .min(f64::from(reach)),
            1 => near / 10.0,
            _ => near,
        }
    }

    fn place(&mut self) -> Value {
        match self.below(8) {
            0 => self.value_of(json!([
                {"lat": 95, "lon": 0}, {"lat": 0, "lon": 181.5}, {"lat": "1", "lon": 2}, {"lat": 1},
                {"lat": 1e300, "lon": 1e300}, {"lat": -1e-320, "lon": 5e-324}, {"lat": 1, "lon": 2, "x": 3},
                {"lat": 0, "lon": -0.0}, {"lat": 10, "lon": 185}, {"lat": 89.5, "lon": -190.0}, {"lat": 90, "lon": 180}, {"lat": -90, "lon": -180}, {"lat": 271.0, "lon": 5.0}
            ])),
            _ => json!({"lat": self.coordinate(90), "lon": self.coordinate(180)}),
        }
    }

    fn text(&mut self) -> String {
        let count = self.below(5);
        let mut text = String::new();
        for _ in 0..count {
            let usual = if self.coin(3) { WORDS.len() } else { 4 };
            text.push_str(WORDS[self.below(usual)]);
            text.push_str(self.of(&[" ", " ", " ", ", ", "\u{a0}"]));
        }
        if self.coin(60) {
            text.push_str(&"long".repeat(300));
        }
        text
    }
}
