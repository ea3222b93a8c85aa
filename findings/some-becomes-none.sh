#!/usr/bin/env bash
# The same Rust values go through five formats and back, each into its own type:
# Some(()), the answer of a task that has succeeded and has nothing to say, and
# Some(None), an answer that was found and is empty.
# Guess: JSON may lose such a value, since it has only null; a binary format
# for serde gives back what was put in, or an error.
# Fact: MessagePack (rmp-serde) and CBOR (ciborium) write null for both, as JSON
# does, and read None without an error. postcard and bincode keep both.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"

cat > "$dir/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
bincode = { version = "=2.0.1", default-features = false, features = ["alloc", "serde"] }
ciborium = "=0.2.2"
postcard = { version = "=1.2.0", default-features = false, features = ["use-std"] }
rmp-serde = "=1.3.1"
serde = "=1.0.229"
serde_json = "=1.0.154"

[workspace]
TOML

cat > "$dir/src/main.rs" <<'RS'
use serde::{Serialize, de::DeserializeOwned};

/// What a value is after each of the formats, in the order of `FORMATS`.
fn through<T: Serialize + DeserializeOwned>(value: &T) -> [T; 5] {
    let mut cbor = Vec::new();
    ciborium::into_writer(value, &mut cbor).unwrap();
    let config = bincode::config::standard();
    let bincode = bincode::serde::encode_to_vec(value, config).unwrap();
    [
        serde_json::from_slice(&serde_json::to_vec(value).unwrap()).unwrap(),
        rmp_serde::from_slice(&rmp_serde::to_vec(value).unwrap()).unwrap(),
        ciborium::from_reader(cbor.as_slice()).unwrap(),
        postcard::from_bytes(&postcard::to_stdvec(value).unwrap()).unwrap(),
        bincode::serde::decode_from_slice(&bincode, config).unwrap().0,
    ]
}

const FORMATS: [(&str, bool); 5] = [
    ("serde_json 1.0.154", false),
    ("rmp-serde 1.3.1", false),
    ("ciborium 0.2.2", false),
    ("postcard 1.2.0", true),
    ("bincode 2.0.1", true),
];

fn main() {
    println!("serde 1.0.229");
    let unit: Option<()> = Some(());
    let nested: Option<Option<u8>> = Some(None);
    let number: Option<Option<u8>> = Some(Some(7));
    let (units, nesteds, numbers) = (through(&unit), through(&nested), through(&number));
    let mut same = true;
    for (at, (name, keeps)) in FORMATS.into_iter().enumerate() {
        let right = (units[at] == unit) == keeps && (nesteds[at] == nested) == keeps && numbers[at] == number;
        same &= right;
        println!(
            "{name:19} {unit:?} -> {:8} {nested:?} -> {:10} {number:?} -> {:?}{}",
            format!("{:?}", units[at]),
            format!("{:?}", nesteds[at]),
            numbers[at],
            if right { "" } else { "  CHANGED" }
        );
    }
    std::process::exit(i32::from(!same));
}
RS
CARGO_TARGET_DIR="$dir/target" cargo run --quiet --manifest-path "$dir/Cargo.toml"
