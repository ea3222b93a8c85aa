# The habits of the house. `just` lists them.

set windows-shell := ["powershell.exe", "-NoLogo", "-Command"]

# Only `bless` writes snapshots; a test compares, here as in CI.
export INSTA_UPDATE := "no"
export INSTA_FORCE_PASS := "0"

[private]
default:
    @just --list --unsorted

# Run lesson N, by number or name: `just lesson 3 --workers 2`
[no-exit-message]
lesson N *FLAGS:
    @cargo xtask lesson {{ N }} {{ FLAGS }}

# Test everything: libraries, lessons, pages, examples in the documentation
test-all:
    cargo test --workspace --locked

# What CI runs: formatting, clippy, and everything in `test-all`
check: lint test-all

[private]
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Accept what the lessons print now, and copy code and outputs into the pages
[env("INSTA_UPDATE", "always")]
bless:
    cargo test --package 'lesson-*' --no-fail-fast
    cargo xtask pages --bless

# Run LESSON (or `all`) RUNS times alone, on one core and under load; count distinct outputs
[no-exit-message]
flake LESSON RUNS *FLAGS:
    @cargo xtask flake {{ LESSON }} {{ RUNS }} {{ FLAGS }}

# Disturb pools at random for so many seconds; `--seed N` makes the same choices again
[no-exit-message]
soak SECONDS *FLAGS:
    @cargo test --quiet --package process-pool --test soak -- for {{ SECONDS }} {{ FLAGS }}

# Run the benchmarks one after another: all, or those of a crate or a name
[no-exit-message]
bench *NAME:
    @cargo xtask bench {{ NAME }}

# Time a clean build of lesson 03 into an empty folder, and count the crates in its tree
[unix]
build-cost:
    #!/bin/sh
    set -eu
    target=$(mktemp -d)
    trap 'rm -rf "$target"' EXIT
    cargo fetch --quiet --locked
    cargo build --package lesson-03-processes --locked --target-dir "$target"
    tree=$(cargo tree --package lesson-03-processes --edges normal,build --prefix none --no-dedupe)
    echo "$(echo "$tree" | sort -u | wc -l) crates"

# Run the Python counterparts on every python3.x from 3.9 on
[unix]
python:
    #!/bin/sh
    set -eu
    found=
    for minor in $(seq 9 30); do
        python=python3.$minor
        # A name may be there and lead nowhere: a version manager's stand-in.
        "$python" -c '' 2>/dev/null || continue
        found=yes
        for program in lessons/python/[0-9]*.py; do
            echo "$python $program"
            "$python" "$program"
        done
    done
    [ "$found" ] || echo 'no python3.9 or later here: nothing to run'

# Our lock beside the locks of every CPython found: `just compare --python PATH --runs 10 turns`
[no-exit-message]
compare *FLAGS:
    @cargo run --quiet --package compare -- {{ FLAGS }}

# Build the pages as a book, into book/
[no-exit-message]
[unix]
book:
    @command -v mdbook >/dev/null || { echo 'mdbook is missing: cargo install mdbook --locked' >&2; exit 1; }
    mdbook build

# Build the pages as a book, into book/
[windows]
book:
    mdbook build
