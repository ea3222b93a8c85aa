#!/usr/bin/env bash
# ArcSwap holds an Arc, and one thread keeps the guards of several loads. The
# number of readers is read from Arc::strong_count.
# Guess: every guard counts as one (it is a reader that keeps the value alive);
# or, for somebody who knows that arc-swap avoids the counter, none does.
# Fact: the first eight guards of a thread are not counted, each further one is.
# store() of a new value then counts all guards of the old one at once: with
# twelve guards the count jumps from 6 to 13 while one reference fewer is held.
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
arc-swap = "=1.9.5"

[workspace]
TOML

cat > "$dir/src/main.rs" <<'RS'
use std::sync::Arc;

use arc_swap::ArcSwap;

fn main() {
    println!("arc-swap 1.9.5");
    let value = Arc::new("old");
    let shared = ArcSwap::new(Arc::clone(&value));
    let before = Arc::strong_count(&value);
    let mut guards = Vec::new();
    let counts: Vec<usize> = (0..12)
        .map(|_| {
            guards.push(shared.load());
            Arc::strong_count(&value)
        })
        .collect();
    shared.store(Arc::new("new"));
    let stored = Arc::strong_count(&value);
    guards.clear();
    let dropped = Arc::strong_count(&value);

    println!("no guard:                {before}");
    println!("with 1 to 12 guards:     {counts:?}");
    println!("12 guards, after store:  {stored}");
    println!("all guards dropped:      {dropped}");
    let same = before == 2
        && counts == [2, 2, 2, 2, 2, 2, 2, 2, 3, 4, 5, 6]
        && stored == 13
        && dropped == 1;
    if !same {
        println!("CHANGED: it was 2, eight times 2 and then 3 to 6, 13, 1");
    }
    std::process::exit(i32::from(!same));
}
RS
CARGO_TARGET_DIR="$dir/target" cargo run --quiet --manifest-path "$dir/Cargo.toml"
