//! Payloads, ids and payload indexes of a round. Values come from small pools, so that conditions
//! meet them; a field mostly holds what its name says, and now and then anything.

use serde_json::{Map, Value, json};

use crate::support::dice::Dice;

pub(super) struct Draw {
    pub(super) dice: Dice,
    pub(super) ids: Vec<Value>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Theme {
    Integer,
    Float,
    Keyword,
    Uuid,
    Date,
    Place,
    Bool,
    Text,
}

pub(super) const THEMES: [Theme; 8] = [
    Theme::Integer,
    Theme::Float,
    Theme::Keyword,
    Theme::Uuid,
    Theme::Date,
    Theme::Place,
    Theme::Bool,
    Theme::Text,
];

/// The paths that requests ask for, and what is mostly there.
pub(super) const PATHS: [(&str, Theme); 22] = [
    ("n", Theme::Integer),
    ("f", Theme::Float),
    ("k", Theme::Keyword),
    ("u", Theme::Uuid),
    ("t", Theme::Date),
    ("geo", Theme::Place),
    ("b", Theme::Bool),
    ("text", Theme::Text),
    ("list", Theme::Integer),
    ("list[]", Theme::Integer),
    ("list[1]", Theme::Integer),
    (r#""k x'""#, Theme::Keyword),
    ("deep.n", Theme::Integer),
    (r#"deep."y.é""#, Theme::Keyword),
    ("deep", Theme::Integer),
    ("o[].v", Theme::Integer),
    ("o[].w[]", Theme::Keyword),
    ("o[0].v", Theme::Integer),
    ("o[].p[].q", Theme::Text),
    ("o", Theme::Keyword),
    ("missing", Theme::Float),
    ("n.deeper", Theme::Keyword),
];

const WORDS: [&str; 12] = [
    "Quick", "brown", "fox", "runs", "the", "running", "naïve", "Straße", "fox's", "日付", "x_y-z",
    "\0",
];

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        let mut draw = Self {
            dice: Dice::new(seed),
            ids: Vec::new(),
        };
        draw.ids = (0..32)
            .map(|number| match draw.dice.below(4) {
                0 => {
                    let random = draw.dice.below(1 << 30);
                    json!(format!("{random:08x}-0000-4000-8000-{number:012x}"))
                }
                1 => json!(u64::MAX - number),
                _ => json!(number),
            })
            .collect();
        draw
    }

    pub(super) fn id(&mut self) -> Value {
        if self.dice.one_in(200) {
            return self.dice.of(&[
                json!(-1),
                json!("no-uuid"),
                json!(1.5),
                json!("550e8400e29b41d4a716446655440000"),
                json!(u64::MAX),
            ]);
        }
        self.dice.of(&self.ids)
    }

    pub(super) fn ids(&mut self, most: usize) -> Vec<Value> {
        (0..self.dice.below(most + 1)).map(|_| self.id()).collect()
    }

    /// Never empty, nor ever emptied: `kept` is on no path that anybody deletes. The engine takes a
    /// payload that is empty for another thing than none, and keeps nulls that are set on none.
    pub(super) fn payload(&mut self) -> Value {
        let mut map = Map::new();
        map.insert("kept".to_owned(), json!(true));
        for (key, theme) in [
            ("n", Theme::Integer),
            ("f", Theme::Float),
            ("k", Theme::Keyword),
            ("u", Theme::Uuid),
            ("t", Theme::Date),
            ("geo", Theme::Place),
            ("b", Theme::Bool),
            ("text", Theme::Text),
            ("k x'", Theme::Keyword),
        ] {
            if !self.dice.one_in(4) {
                map.insert(key.to_owned(), self.value(theme));
            }
        }
        if !self.dice.one_in(4) {
            let count = self.dice.below(4);
            let list = (0..count).map(|_| self.scalar(Theme::Integer)).collect();
            map.insert("list".to_owned(), Value::Array(list));
        }
        if !self.dice.one_in(4) {
            let mut inner = Map::new();
            inner.insert("n".to_owned(), self.value(Theme::Integer));
            if !self.dice.one_in(3) {
                inner.insert("y.é".to_owned(), self.value(Theme::Keyword));
            }
            map.insert("deep".to_owned(), Value::Object(inner));
        }
        if !self.dice.one_in(4) {
            let count = self.dice.below(4);
            let objects = (0..count).map(|_| self.object()).collect();
            let objects = if self.dice.one_in(12) {
                self.object()
            } else {
                Value::Array(objects)
            };
            map.insert("o".to_owned(), objects);
        }
        if self.dice.one_in(12) {
            map.insert("nul\0key".to_owned(), json!("\u{F8FF}0"));
        }
        Value::Object(map)
    }

    fn object(&mut self) -> Value {
        if self.dice.one_in(12) {
            return self.value(Theme::Integer);
        }
        let mut map = Map::new();
        if !self.dice.one_in(4) {
            map.insert("v".to_owned(), self.value(Theme::Integer));
        }
        if !self.dice.one_in(3) {
            map.insert("w".to_owned(), self.value(Theme::Keyword));
        }
        if !self.dice.one_in(3) {
            let count = self.dice.below(3);
            let items = (0..count)
                .map(|_| json!({"q": self.value(Theme::Text)}))
                .collect();
            map.insert("p".to_owned(), Value::Array(items));
        }
        Value::Object(map)
    }

    /// What a field holds: a value, several, none, or something else.
    pub(super) fn value(&mut self, theme: Theme) -> Value {
        match self.dice.below(24) {
            0 => Value::Null,
            1 => json!([]),
            2 => json!({}),
            3 => self.dice.of(&[
                json!([null]),
                json!(""),
                json!([5, "x"]),
                json!([[1]]),
                json!({"lat": 1}),
                json!({"a": {"b": [1, {"c": null}]}}),
            ]),
            4 => {
                let other = self.dice.of(&THEMES);
                self.scalar(other)
            }
            5..=7 => {
                let count = 1 + self.dice.below(3);
                Value::Array((0..count).map(|_| self.scalar(theme)).collect())
            }
            _ => self.scalar(theme),
        }
    }

    pub(super) fn scalar(&mut self, theme: Theme) -> Value {
        match theme {
            Theme::Integer => self.integer(),
            Theme::Float => self.float(),
            Theme::Keyword => json!(self.keyword()),
            Theme::Uuid => json!(self.uuid()),
            Theme::Date => json!(self.date()),
            Theme::Place => self.place(),
            Theme::Bool => json!(self.dice.one_in(2)),
            Theme::Text => json!(self.text()),
        }
    }

    pub(super) fn integer(&mut self) -> Value {
        if self.dice.one_in(12) {
            return self.dice.of(&[
                json!(i64::MAX),
                json!(i64::MIN),
                json!(u64::MAX),
                json!(9_007_199_254_740_993_i64),
                json!(-0.0),
                json!(1e20),
                json!(5.0),
                json!(5.5),
            ]);
        }
        json!(i64::try_from(self.dice.below(9)).unwrap() - 2)
    }

    pub(super) fn float(&mut self) -> Value {
        match self.dice.below(8) {
            0 => self.dice.of(&[
                json!(-0.0),
                json!(5e-324),
                json!(1e300),
                json!(-1e300),
                json!(0.1),
                json!(0.300_000_000_000_000_04),
                json!(u64::MAX),
                json!(123_456_789.123_456_79),
            ]),
            1 => json!(self.dice.below(5)),
            _ => json!(f64::from(u32::try_from(self.dice.below(16)).unwrap()) / 4.0 - 1.0),
        }
    }

    pub(super) fn keyword(&mut self) -> String {
        let text = self.dice.of(&[
            "red", "Red", "blue", "a b", "", "\0", "\u{F8FF}", "é本", "o'b\\\"x", "5", "true",
            "\n", "😀",
        ]);
        if self.dice.one_in(40) {
            return format!("{}{text}", "x".repeat(9000));
        }
        text.to_owned()
    }

    pub(super) fn uuid(&mut self) -> String {
        let uuid = self.dice.of(&[
            "550e8400-e29b-41d4-a716-446655440000",
            "00000000-0000-0000-0000-000000000005",
            "ffffffff-ffff-ffff-ffff-fffffffffffb",
        ]);
        match self.dice.below(8) {
            0 => uuid.to_uppercase(),
            1 => uuid.replace('-', ""),
            2 => format!("urn:uuid:{uuid}"),
            _ => uuid.to_owned(),
        }
    }

    pub(super) fn date(&mut self) -> String {
        let day = 1 + self.dice.below(4);
        match self.dice.below(8) {
            0 => self
                .dice
                .of(&[
                    "1969-12-31T23:59:59.5Z",
                    "2020-01-01T00:00:00.0000005Z",
                    "0001-01-01",
                    "2020-02-30",
                    "yesterday",
                ])
                .to_owned(),
            1 | 2 => format!("2020-01-0{day}"),
            3 | 4 => format!("2020-01-0{day} 00:00:0{day}.25"),
            _ => {
                let zone = self.dice.of(&["Z", "+02:00", "-05:30"]);
                format!("2020-01-0{day}T1{day}:00:00{zone}")
            }
        }
    }

    pub(super) fn degrees(&mut self, reach: i32) -> f64 {
        let cells = usize::try_from(reach / 10 * 2 + 1).unwrap();
        let cell = i32::try_from(self.dice.below(cells)).unwrap();
        let degrees = f64::from(cell * 10 - reach / 10 * 10);
        if self.dice.one_in(3) {
            degrees / 10.0
        } else {
            degrees
        }
    }

    pub(super) fn place(&mut self) -> Value {
        if self.dice.one_in(12) {
            return self.dice.of(&[
                json!({"lat": 95, "lon": 0}),
                json!({"lat": "1", "lon": 2}),
                json!({"lat": 1}),
                json!({"lat": 1, "lon": 2, "x": 3}),
                json!({"lat": 90, "lon": 180}),
            ]);
        }
        json!({"lat": self.degrees(90), "lon": self.degrees(180)})
    }

    pub(super) fn text(&mut self) -> String {
        let mut text = String::new();
        for _ in 0..self.dice.below(5) {
            let usual = if self.dice.one_in(3) { WORDS.len() } else { 5 };
            text.push_str(WORDS[self.dice.below(usual)]);
            text.push_str(self.dice.of(&[" ", " ", " ", ", ", "\u{a0}"]));
        }
        text
    }

    pub(super) fn path(&mut self) -> (&'static str, Theme) {
        self.dice.of(&PATHS)
    }

    /// A payload index, for a field of its kind most of the time.
    pub(super) fn index(&mut self) -> Value {
        let (path, usual) = self.path();
        let theme = if self.dice.one_in(6) {
            self.dice.of(&THEMES)
        } else {
            usual
        };
        json!({"field_name": path, "field_schema": self.schema(theme)})
    }

    fn schema(&mut self, theme: Theme) -> Value {
        match theme {
            Theme::Integer => match self.dice.below(4) {
                0 => json!({"type": "integer", "lookup": true, "range": false}),
                1 => json!({"type": "integer", "lookup": false, "range": true}),
                _ => json!("integer"),
            },
            Theme::Float => json!("float"),
            Theme::Keyword => match self.dice.below(4) {
                0 => json!({"type": "keyword", "is_tenant": true}),
                _ => json!("keyword"),
            },
            Theme::Uuid => json!("uuid"),
            Theme::Date => json!("datetime"),
            Theme::Place => json!("geo"),
            Theme::Bool => json!("bool"),
            Theme::Text => self.text_schema(),
        }
    }

    fn text_schema(&mut self) -> Value {
        let tokenizer = self
            .dice
            .of(&["word", "whitespace", "prefix", "multilingual"]);
        let mut schema = json!({"type": "text", "tokenizer": tokenizer});
        for (key, value) in [
            ("lowercase", json!(false)),
            ("phrase_matching", json!(true)),
            ("min_token_len", json!(2)),
            ("max_token_len", json!(5)),
            ("ascii_folding", json!(true)),
            ("stopwords", json!("english")),
            (
                "stopwords",
                json!({"languages": ["german"], "custom": ["fox"]}),
            ),
            (
                "stemmer",
                json!({"type": "snowball", "language": "english"}),
            ),
        ] {
            if self.dice.one_in(4) {
                schema[key] = value;
            }
        }
        schema
    }
}
