#!/usr/bin/env bash
# One trace in the Chrome trace event format, with complete events (ph "X") of
# one thread, is read by two public readers: trace-model of TracerBench and the
# trace engine of Chrome's developer tools. A complete event is written when it
# ends, so the inner one often comes first in the file; the format allows any
# order. Times are whole microseconds, so inner and outer can begin at the same.
# Guess: both readers sort by time and length and find the inner in the outer.
# Fact: (1) same begin, inner first: trace-model finds no nesting, the engine
# does. (2) Same begin and same length, inner first: both turn it round, the
# inner becomes the outer. (3) Two events that overlap without nesting: the
# engine leaves the second out, without a word; trace-model keeps it.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$dir" \
    @tracerbench/trace-model@8.0.0 @paulirish/trace_engine@0.0.65 >/dev/null

cat > "$dir/main.mjs" <<'JS'
import { createRequire } from "node:module";
import { Trace, TreeHelpers } from "@paulirish/trace_engine/models/trace/helpers/helpers.js";

const { buildModel } = createRequire(import.meta.url)("@tracerbench/trace-model");

const event = (name, ts, dur) => ({ ph: "X", name, ts, dur, pid: 1, tid: 1, cat: "work", args: {} });

// Both answers have one form: "inner in outer", or the bare name of an event in nothing.
const word = (name, parent) => (parent ? `${name} in ${parent}` : name);

function model(events) {
  const slices = buildModel(structuredClone(events)).processes[0].threads[0].events;
  return slices.map((slice) => word(slice.name, slice.parent?.name)).sort().join(", ");
}

function engine(events) {
  const sorted = structuredClone(events);
  Trace.sortTraceEventsInPlace(sorted);
  const { entryToNode } = TreeHelpers.treify(sorted, { filter: { has: () => true } });
  return [...entryToNode].map(([entry, node]) => word(entry.name, node.parent?.entry.name)).sort().join(", ");
}

const cases = [
  ["outer first", [event("outer", 0, 5), event("inner", 0, 2)], "inner in outer, outer", "inner in outer, outer"],
  ["inner first", [event("inner", 0, 2), event("outer", 0, 5)], "inner, outer", "inner in outer, outer"],
  ["inner first, same length", [event("inner", 0, 5), event("outer", 0, 5)], "inner, outer in inner", "inner, outer in inner"],
  ["overlap", [event("first", 0, 10), event("second", 5, 10)], "first, second", "first"],
];

console.log(`node ${process.version} | trace-model 8.0.0 | trace_engine 0.0.65`);
let same = true;
for (const [name, events, byModel, byEngine] of cases) {
  for (const [reader, got, expected] of [["trace-model", model(events), byModel], ["trace_engine", engine(events), byEngine]]) {
    const changed = got === expected ? "" : `  CHANGED, it was ${expected}`;
    same &&= got === expected;
    console.log(`${name.padEnd(26)}${reader.padEnd(14)}${got}${changed}`);
  }
}
process.exit(same ? 0 : 1);
JS
node "$dir/main.mjs"
