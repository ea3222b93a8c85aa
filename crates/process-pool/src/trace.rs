//! Where the time of tasks goes.

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};
use std::sync::{Mutex, MutexGuard};

use crate::{At, os};

/// What was seen of the tasks of a pool. All times are nanoseconds of [`os::now`].
#[derive(Default)]
pub(crate) struct Trace(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    /// By task, or first task of a chunk: when its encoding began and ended.
    handed_in: HashMap<u64, [u64; 2]>,
    done: Vec<Span>,
}

/// A task that has been answered, or some of a chunk.
pub(crate) struct Span {
    pub(crate) at: At,
    /// How many of a chunk, of which `at` names the first.
    pub(crate) chunk: Option<u32>,
    /// When it began in its worker, and when each of its steps ended: one that did not happen, or
    /// that the death of the worker ended, has no time.
    pub(crate) times: Vec<u64>,
}

impl Trace {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().expect("no panic while it is locked")
    }

    pub(crate) fn handed_in(&self, task: u64, encoding: u64) {
        self.seen().handed_in.insert(task, [encoding, os::now()]);
    }

    pub(crate) fn done(&self, span: Span) {
        self.seen().done.push(span);
    }

    /// Writes Chrome trace events, as `timeline` does: complete events where spans lie one after
    /// another, which they do in a worker, and asynchronous ones where tasks wait beside each
    /// other.
    pub(crate) fn write(&self, out: impl Write) -> io::Result<()> {
        let mut out = BufWriter::new(out);
        let seen = self.seen();
        let times = seen.handed_in.values().map(|[encoding, _]| *encoding);
        let origin = times.min().unwrap_or_default();
        // Whole eighths of a microsecond: a viewer that adds them up as floating-point numbers has
        // no rounding, so that what touches does.
        let eighths = |nanos: u64| nanos.saturating_sub(origin) / 125;
        let micros = |eighths: u64| eighths as f64 / 8.0;
        // The object form: some viewers refuse a bare array.
        let mut separator = "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n";
        let mut write = |event: String| {
            let written = write!(out, "{separator}{event}");
            separator = ",\n";
            written
        };
        let mut names = vec![("process_name", [1, 1], "parent".to_owned())];
        let last = seen.done.iter().map(|span| span.at.worker + 1).max().unwrap_or_default();
        names.push(("process_name", [2, 1], "workers".to_owned()));
        names.extend(
            (0..last)
                .map(|worker| ("thread_name", [2, worker + 1], format!("worker {worker}"))),
        );
        for (what, [pid, tid], name) in names {
            write(format!(
                r#"{{"ph":"M","name":"{what}","pid":{pid},"tid":{tid},"args":{{"name":"{name}"}}}}"#
            ))?;
        }
        for Span { at, chunk, times } in &seen.done {
            let (task, tid) = (at.task, at.worker + 1);
            let steps = ["decode", "run", "encode output"];
            // Of tasks that came together, decoding and encoding are part of running.
            let steps = if chunk.is_some() { &steps[1..2] } else { &steps };
            let tasks = chunk.unwrap_or(1);
            for (name, step) in steps.iter().zip(times.windows(2)) {
                let [from, to] = [step[0], step[1]].map(eighths);
                let (from, took) = (micros(from), micros(to - from));
                write(format!(
                    r#"{{"ph":"X","name":"{name}","pid":2,"tid":{tid},"ts":{from:.3},"dur":{took:.3},"args":{{"task":{task},"tasks":{tasks}}}}}"#
                ))?;
            }
            // The task was handed in before it was sent, and sent before it was answered.
            let Some([encoding, ready]) = seen.handed_in.get(&at.task) else { continue };
            let Some(begun) = times.first() else { continue };
            let spans = [("encode", encoding, ready), ("wait", ready, begun)];
            for &(name, from, to) in if chunk.is_some() { &spans[1..] } else { &spans } {
                for (phase, time) in [("b", from), ("e", to)] {
                    let time = micros(eighths(*time));
                    write(format!(
                        r#"{{"ph":"{phase}","cat":"task","name":"{name}","id":{task},"pid":1,"tid":1,"ts":{time:.3}}}"#
                    ))?;
                }
            }
        }
        out.write_all(b"\n]}\n")?;
        out.flush()
    }
}
