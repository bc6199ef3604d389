use super::{MAX_JSON_DEPTH, Number, Object, Set, Value};

fn json(text: &str) -> Value {
    Value::from_json(text).unwrap()
}

#[test]
fn numbers_compare_by_value() {
    assert_eq!(json("1"), json("1.0"));
    assert_eq!(json("1e3"), json("1000"));
    assert_eq!(json("-0"), json("0"));
    assert!(json("0.1") < json("0.10000000000000000001"));
    assert!(json("9007199254740993") > json("9007199254740992.5"));
    assert!(json("-1e100") < json("-123456789012345678901234567890"));
}

#[test]
fn equal_numbers_hash_alike() {
    use std::hash::{BuildHasher, RandomState};
    let state = RandomState::new();
    for (a, b) in [("1", "1.0"), ("0.5", "0.50"), ("-0", "0"), ("1e30", "1000000000000000000000000000000")] {
        assert_eq!(state.hash_one(json(a)), state.hash_one(json(b)), "{a} {b}");
    }
}

#[test]
fn numbers_keep_their_text() {
    for text in ["1.0", "1e3", "-0", "0.1", "123456789012345678901234567890", "1.50", "1E-7"] {
        assert_eq!(json(text).to_json(), text);
    }
}

#[test]
fn numbers_out_of_bounds_are_refused() {
    for text in ["1e30104", "1e-40000", "01", "1.", ".5", "+1", "--1", "1e", "0x1"] {
        assert!(Number::parse(text).is_none(), "{text}");
    }
}

#[test]
fn types_are_ordered_as_in_opa() {
    let sorted = [
        Value::Null,
        Value::Bool(false),
        Value::Bool(true),
        json("1"),
        json("\"a\""),
        json("[]"),
        json("{}"),
        Value::Set(Set::default()),
    ];
    assert!(sorted.is_sorted_by(|a, b| a < b));
}

#[test]
fn last_of_duplicate_keys_wins() {
    assert_eq!(json(r#"{"a":1,"b":2,"a":3}"#), json(r#"{"a":3,"b":2}"#));
    let object = Object::from_vec(vec![(json("1"), json("2")), (json("1.0"), json("3"))]);
    assert_eq!((object.len(), object.get(&json("1"))), (1, Some(&json("3"))));
}

#[test]
fn sets_hold_distinct_values() {
    let set = Set::from_vec(vec![json("2"), json("1"), json("1.0")]);
    assert_eq!(set.len(), 2);
    assert!(set.contains(&json("1")) && !set.contains(&json("3")));
    let other = Set::from_vec(vec![json("2"), json("3")]);
    assert_eq!((set.union(&other).len(), set.intersection(&other).len(), set.difference(&other).len()), (3, 1, 1));
}

#[test]
fn strings_are_read_and_written() {
    let text = r#""a\"\\\/\b\f\n\r\té😀\ud83d""#;
    assert_eq!(json(text).as_str(), Some("a\"\\/\u{8}\u{c}\n\r\té😀\u{fffd}"));
    assert_eq!(json(r#""\u0000<""#).to_json(), r#""\u0000<""#);
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(Value::from_json(&nested(MAX_JSON_DEPTH)).is_ok());
    assert!(Value::from_json(&nested(MAX_JSON_DEPTH + 2)).is_err());
    assert!(Value::from_json(&"[".repeat(1_000_000)).is_err());
}

#[test]
fn broken_json_is_refused() {
    for text in ["", "{", "[1,]", "{\"a\"}", "nul", "\"a", "1 2", "{1:2}", "\"\u{1}\"", "[1}"] {
        assert!(Value::from_json(text).is_err(), "{text}");
    }
}

#[test]
fn terms_are_written_as_rego() {
    assert_eq!(json(r#"{"a":[1,"x\n"]}"#).to_string(), r#"{"a": [1, "x\n"]}"#);
    assert_eq!(Value::Set(Set::default()).to_string(), "set()");
    assert_eq!(Value::Set(Set::from_vec(vec![json("2"), json("1")])).to_string(), "{1, 2}");
}

#[test]
fn large_exponents_are_compared_in_time() {
    let (large, small) = (json("1e30000"), json("1e-30000"));
    for _ in 0..100_000 {
        assert!(large > small && large != json("5") && small > json("0"));
    }
    assert!(json("-1e30000") < json("-1e29999") && json("12e10") < json("1.3e11") && json("100e1") == json("1e3"));
}

#[test]
fn long_exponents_are_refused_in_time() {
    assert!(Value::from_json(&format!("1e{}", "9".repeat(4_000_000))).is_err());
    assert_eq!(json("1e0000000000002"), json("100"));
}

#[test]
fn keys_within_keys_weigh_double() {
    let mut value = json("1");
    for _ in 0..40 {
        value = Value::Object(Object::from_vec(vec![(value, json("1"))]));
    }
    assert!(value.weight() > 1 << 38 && value.depth() == 40);
}
