#!/usr/bin/env bash
# A task on tokio takes everything that lies in a channel of tokio, without
# waiting, by recv().now_or_never() from the futures crates.
# Guess: 1000 messages lie in it, so 1000 come out before the first None.
# Fact: 128 come out, then None, as if the channel were empty; the other 872 lie
# there. Every await of a tokio resource spends from a budget of 128 that lasts
# until the task goes back to the runtime, and a spent budget looks like "not
# ready". A tokio Mutex that nobody holds cannot be locked either. try_recv()
# spends nothing, and async-channel, or tokio's channel on another executor,
# gives all 1000.
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
async-channel = "=2.5.0"
futures-executor = "=0.3.34"
futures-util = { version = "=0.3.34", default-features = false }
tokio = { version = "=1.54.1", features = ["rt", "sync"] }

[workspace]
TOML

cat > "$dir/src/main.rs" <<'RS'
use futures_util::FutureExt;
use tokio::sync::{Mutex, mpsc};

const MESSAGES: usize = 1000;

fn filled() -> mpsc::UnboundedReceiver<usize> {
    let (tx, rx) = mpsc::unbounded_channel();
    (0..MESSAGES).for_each(|n| tx.send(n).unwrap());
    rx
}

async fn by_now_or_never() -> usize {
    let mut rx = filled();
    let mut taken = 0;
    while let Some(Some(_)) = rx.recv().now_or_never() {
        taken += 1;
    }
    taken
}

async fn then_by_try_recv() -> usize {
    let mut rx = filled();
    while rx.recv().now_or_never().is_some() {}
    let mut taken = 0;
    while rx.try_recv().is_ok() {
        taken += 1;
    }
    taken
}

async fn locked() -> usize {
    let mutex = Mutex::new(());
    (0..MESSAGES).filter(|_| mutex.lock().now_or_never().is_some()).count()
}

async fn unconstrained() -> usize {
    tokio::task::unconstrained(by_now_or_never()).await
}

async fn other_channel() -> usize {
    let (tx, rx) = async_channel::unbounded();
    (0..MESSAGES).for_each(|n| tx.try_send(n).unwrap());
    let mut taken = 0;
    while let Some(Ok(_)) = rx.recv().now_or_never() {
        taken += 1;
    }
    taken
}

fn on_tokio<F: Future<Output = usize>>(task: F) -> usize {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(task)
}

fn main() {
    println!("tokio 1.54.1 | futures-util 0.3.34 | async-channel 2.5.0");
    let mut same = true;
    for (name, got, expected) in [
        ("tokio channel, recv().now_or_never()", on_tokio(by_now_or_never()), 128),
        ("behind that, try_recv()", on_tokio(then_by_try_recv()), 872),
        ("free tokio Mutex, lock().now_or_never()", on_tokio(locked()), 128),
        ("tokio channel, inside unconstrained", on_tokio(unconstrained()), 1000),
        ("tokio channel, executor of futures", futures_executor::block_on(by_now_or_never()), 1000),
        ("async-channel, recv().now_or_never()", on_tokio(other_channel()), 1000),
    ] {
        same &= got == expected;
        let changed = if got == expected { String::new() } else { format!("  CHANGED, it was {expected}") };
        println!("{name:40} {got:4} of {MESSAGES}{changed}");
    }
    std::process::exit(i32::from(!same));
}
RS
CARGO_TARGET_DIR="$dir/target" cargo run --quiet --manifest-path "$dir/Cargo.toml"
