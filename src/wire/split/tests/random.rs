//! Bodies at random: the parts hold what the body held.

use super::*;

/// Everything in a body that must survive, in order.
type Content = BTreeMap<String, Vec<String>>;

fn object(text: &str) -> BTreeMap<String, Box<RawValue>> {
    serde_json::from_str(text).unwrap()
}

/// The elements of each list that is cut, and the rest as it stands.
fn content(body: &str) -> (Content, Content) {
    let (mut lists, mut rest) = (Content::new(), Content::new());
    let mut take = |name: String, value: &RawValue, list: bool| {
        if list && value.get() != "null" {
            let elements: Vec<Box<RawValue>> = serde_json::from_str(value.get()).unwrap();
            lists.insert(
                name,
                elements
                    .iter()
                    .map(|element| element.get().to_owned())
                    .collect(),
            );
        } else {
            rest.insert(name, vec![value.get().to_owned()]);
        }
    };
    for (name, value) in object(body) {
        if name != "batch" {
            take(name.clone(), &value, name == "points");
            continue;
        }
        for (name, value) in object(value.get()) {
            if name != "vectors" || value.get().starts_with('[') {
                let list = matches!(&*name, "ids" | "payloads" | "vectors");
                take(format!("batch.{name}"), &value, list);
                continue;
            }
            for (name, value) in object(value.get()) {
                take(format!("batch.vectors.{name}"), &value, true);
            }
        }
    }
    (lists, rest)
}

/// Any JSON, white space and all.
fn random_json(random: &mut SmallRng, depth: u32) -> String {
    const SCALARS: [&str; 14] = [
        "0",
        "-0.0",
        "1e400",
        "12345678901234567890123",
        "true",
        "null",
        r#""""#,
        r#""a\"]}[{""#,
        r#""\\""#,
        r#""\u00e4ä""#,
        r#""x\\\",""#,
        "[]",
        "{}",
        r#""\n""#,
    ];
    let space = *["", "", " ", "\n", "\t "].choose(random).unwrap();
    let length = random.random_range(0..4);
    let kind = if depth == 0 {
        2
    } else {
        random.random_range(0..4)
    };
    match kind {
        0 => {
            let inner: Vec<_> = (0..length)
                .map(|_| random_json(random, depth - 1))
                .collect();
            format!(
                "[{space}{}{space}]",
                inner.join(&format!("{space},{space}"))
            )
        }
        1 => {
            let inner: Vec<_> = (0..length)
                .map(|at| {
                    format!(
                        r#""k{at}"{space}:{space}{}"#,
                        random_json(random, depth - 1)
                    )
                })
                .collect();
            format!("{{{space}{}{space}}}", inner.join(","))
        }
        _ => (*SCALARS.choose(random).unwrap()).to_owned(),
    }
}

fn random_list(random: &mut SmallRng, length: usize) -> String {
    let space = *["", " ", "\n\r\t"].choose(random).unwrap();
    let elements: Vec<_> = (0..length).map(|_| random_json(random, 3)).collect();
    format!("[{space}{}{space}]", elements.join(&format!(",{space}")))
}

fn random_object(random: &mut SmallRng, mut fields: Vec<(String, String)>) -> String {
    fields.shuffle(random);
    let space = *["", " ", "\n"].choose(random).unwrap();
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| format!(r#""{name}"{space}:{value}{space}"#))
        .collect();
    format!("{space}{{{space}{}{space}}}{space}", fields.join(","))
}

fn random_body(random: &mut SmallRng) -> String {
    let length = random.random_range(0..60);
    let field = |name: &str, value: String| (name.to_owned(), value);
    let mut fields = Vec::new();
    for name in [
        "shard_key",
        "update_filter",
        "update_mode",
        "never_heard_of",
    ] {
        if random.random_bool(0.3) {
            fields.push(field(name, random_json(random, 2)));
        }
    }
    if random.random_bool(0.5) {
        fields.push(field("points", random_list(random, length)));
        return random_object(random, fields);
    }
    let mut batch = vec![field("ids", random_list(random, length))];
    if random.random_bool(0.5) {
        batch.push(field("vectors", random_list(random, length)));
    } else {
        let named = (0..random.random_range(0..4))
            .map(|at| format!("v{at}"))
            .collect::<Vec<_>>();
        let named = named
            .iter()
            .map(|name| field(name, random_list(random, length)))
            .collect();
        let named = random_object(random, named);
        batch.push(field("vectors", named));
    }
    match random.random_range(0..3) {
        0 => batch.push(field("payloads", random_list(random, length))),
        1 => batch.push(field("payloads", "null".to_owned())),
        _ => {}
    }
    let batch = random_object(random, batch);
    fields.push(field("batch", batch));
    random_object(random, fields)
}

#[test]
fn the_parts_hold_what_the_body_held() {
    let fresh: u64 = rand::random();
    for (seed, cases) in [(4711, 1_500), (fresh, 500)] {
        println!("seed {seed}");
        let mut random = SmallRng::seed_from_u64(seed);
        for _ in 0..cases {
            let body = random_body(&mut random);
            let part_bytes_max = random.random_range(0..=body.len() + 1);
            let parts = match split(&body, part_bytes_max) {
                Ok(parts) => parts,
                Err(text) => {
                    assert!(
                        text.starts_with("Payload error: JSON payload ("),
                        "{text}: {body}"
                    );
                    continue;
                }
            };
            check_parts(&body, &parts, part_bytes_max);
        }
    }
}

fn check_parts(body: &str, parts: &[String], part_bytes_max: usize) {
    let (lists, rest) = content(body);
    let mut joined: Content = lists
        .keys()
        .map(|name| (name.clone(), Vec::new()))
        .collect();
    for part in parts {
        let (part_lists, part_rest) = content(part);
        assert_eq!(part_rest, rest, "{part}");
        let rows = part_lists.values().map(Vec::len).max().unwrap_or(0);
        assert!(
            part.len() <= part_bytes_max || rows <= 1,
            "{} of {part_bytes_max}",
            part.len()
        );
        assert!(rows > 0 || parts.len() == 1, "an empty part: {part}");
        for (name, elements) in part_lists {
            joined.get_mut(&name).unwrap().extend(elements);
        }
    }
    assert_eq!(joined, lists);
}

#[test]
fn any_bytes_at_all_are_survived() {
    let fresh: u64 = rand::random();
    for (seed, cases) in [(4711, 4_000), (fresh, 1_000)] {
        println!("seed {seed}");
        let mut random = SmallRng::seed_from_u64(seed);
        for _ in 0..cases {
            let mut body = random_body(&mut random).into_bytes();
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(0..body.len());
                match random.random_range(0..4) {
                    0 if body.len() > 1 => drop(body.remove(at)),
                    1 => body.insert(at, random.random()),
                    2 => body.truncate(at + 1),
                    _ => body.insert(at, *b"[]{}\",:\\".choose(&mut random).unwrap()),
                }
            }
            let length = body.len();
            if let Ok(parts) = split_upsert(body.into(), length / 2) {
                for part in parts {
                    let read = serde_json::from_slice::<&RawValue>(&part);
                    assert!(read.is_ok(), "{read:?} in {part:?}");
                }
            }
        }
    }
}
