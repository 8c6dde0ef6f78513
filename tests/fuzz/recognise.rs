//! Any method, path and query: no panic, no empty parameter, and the call as understood, spelled
//! anew, is the same call.

#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use outrigger::wire::{Params, ROUTES, recognise};

const METHODS: [Method; 7] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::HEAD,
    Method::OPTIONS,
];

fuzz_target!(|data: &[u8]| {
    let Some((verb, rest)) = data.split_first() else {
        return;
    };
    let method = &METHODS[usize::from(*verb) % METHODS.len()];
    let text = String::from_utf8_lossy(rest);
    let (path, query) = text.split_once('\n').unwrap_or((&text, ""));

    let call = recognise(method, path);
    let _ = Params::read(call.operation, Some(query));
    let parameters = [
        ("{collection}", call.collection()),
        ("{point}", call.point_id()),
        ("{snapshot}", call.snapshot()),
        ("{field}", call.field()),
        ("{vector}", call.vector_name()),
        ("{shard}", call.shard()),
        ("{peer}", call.peer()),
        ("{key}", call.metadata_key()),
    ];
    let route = ROUTES
        .iter()
        .find(|route| route.operation == call.operation);
    let mut spelled = route.map_or(String::new(), |route| route.template.replace("/**", ""));
    for (placeholder, value) in parameters {
        let has_one = spelled.contains(placeholder);
        assert_eq!(value.is_some(), has_one);
        let value = value.unwrap_or_default();
        assert!(!has_one || !value.is_empty());
        let escaped: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
        spelled = spelled.replace(placeholder, &escaped);
    }
    let again = recognise(method, &spelled);
    assert_eq!(again.operation, call.operation);
    assert_eq!(again.collection(), call.collection());
});
