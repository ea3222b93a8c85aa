use crate::{State, Thread, Timeline};
use serde_json::{Value, json};
use std::io::{self, BufWriter, Write};
use std::time::Duration;

impl Timeline {
    /// Writes the trace as Chrome trace events, which <https://ui.perfetto.dev> opens.
    ///
    /// The JSON array form of the format: `M` events name the processes and threads, a complete
    /// `X` event is a span, a pair of flow events `s` and `f` is a hand-over. Processes and
    /// threads are numbered from 1 in order of appearance; no two threads share a number, even
    /// across processes.
    ///
    /// Times are whole microseconds, each rounded down. Rounding both ends the same way keeps
    /// the spans of a thread disjoint, which viewers require; fractions, added up as floating
    /// point numbers, can overlap by the last bit.
    ///
    /// # Errors
    ///
    /// Whatever `out` fails with.
    pub fn write_perfetto(&self, out: impl Write) -> io::Result<()> {
        let mut out = BufWriter::new(out);
        out.write_all(b"[")?;
        let mut separator = "\n";
        let mut write = |event: Value| {
            write!(out, "{separator}{event}")?;
            separator = ",\n";
            io::Result::Ok(())
        };
        let recorded = self.lock().clone();
        let threads = &recorded.threads;
        let mut processes: Vec<&str> = Vec::new();
        for (Thread { process, name, spans }, tid) in threads.iter().zip(1..) {
            let known = processes.iter().position(|known| known == process);
            let pid = known.unwrap_or(processes.len()) + 1;
            if known.is_none() {
                processes.push(process);
                write(metadata("process_name", pid, tid, process))?;
            }
            write(metadata("thread_name", pid, tid, name))?;
            for span in spans {
                let start = micros(span.start);
                write(json!({
                    "ph": "X", "name": span.state.name(), "pid": pid, "tid": tid,
                    "ts": start, "dur": micros(span.end) - start,
                }))?;
            }
        }
        let pid_of = |thread: usize| {
            let of = &threads[thread].process;
            processes.iter().position(|process| process == of).expect("it was named above") + 1
        };
        for (hand_over, id) in recorded.hand_overs().iter().zip(1_usize..) {
            // A flow starts inside the slice of the turn. The end of a slice is outside, and a
            // turn within a microsecond has nothing but its start.
            let spans = &threads[hand_over.from].spans;
            let over = spans.partition_point(|span| span.end <= hand_over.given);
            let turn = spans[..over].iter().rfind(|span| span.state == State::Run);
            let given = micros(hand_over.given).saturating_sub(1);
            let given = turn.map_or(given, |turn| given.max(micros(turn.start)));
            for (phase, thread, at) in
                [("s", hand_over.from, given), ("f", hand_over.to, micros(hand_over.at))]
            {
                write(json!({
                    "ph": phase, "name": "hand-over", "cat": "lock",
                    // In hexadecimal text, as Chrome itself writes it: some readers take no numbers.
                    "id": format!("{id:#x}"),
                    "pid": pid_of(thread), "tid": thread + 1, "ts": at,
                    // To the slice that begins here, not to the one before it.
                    "bp": "e",
                }))?;
            }
        }
        out.write_all(b"\n]\n")?;
        out.flush()
    }
}

fn metadata(kind: &str, pid: usize, tid: usize, name: &str) -> Value {
    json!({ "ph": "M", "name": kind, "pid": pid, "tid": tid, "args": { "name": name } })
}

/// Whole microseconds; a `u64` of them lasts half a million years.
fn micros(time: Duration) -> u64 {
    time.as_secs() * 1_000_000 + u64::from(time.subsec_micros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Lane, Span, State};
    use std::collections::HashMap;
    use std::thread;

    fn written(timeline: &Timeline) -> Vec<Value> {
        let mut json = Vec::new();
        timeline.write_perfetto(&mut json).unwrap();
        let Value::Array(events) = serde_json::from_slice(&json).unwrap() else {
            panic!("not an array of events")
        };
        events
    }

    /// Checks what viewers ask of the format, and returns the number of spans per thread name.
    fn validated(events: &[Value]) -> HashMap<String, usize> {
        let number = |event: &Value, key: &str| event[key].as_u64().unwrap();
        let mut processes = HashMap::new();
        let mut threads = HashMap::new();
        let mut free_from = HashMap::new();
        let mut spans = HashMap::new();
        let mut flows = HashMap::new();
        let mut turns = Vec::new();
        let in_a_turn = |turns: &[(u64, u64, u64)], tid, at| {
            turns
                .iter()
                .any(|&(of, start, end)| of == tid && (start == at || start < at && at < end))
        };
        for event in events {
            let (pid, tid) = (number(event, "pid"), number(event, "tid"));
            match event["ph"].as_str().unwrap() {
                "M" => {
                    let name = event["args"]["name"].as_str().unwrap().to_owned();
                    let before = match event["name"].as_str().unwrap() {
                        "process_name" => processes.insert(pid, name),
                        "thread_name" => {
                            spans.insert(name.clone(), 0);
                            threads.insert(tid, (pid, name)).map(|(_, name)| name)
                        }
                        other => panic!("unknown metadata {other}"),
                    };
                    assert_eq!(before, None, "named twice: {event}");
                }
                "X" => {
                    let (owner, name) = &threads[&tid];
                    assert_eq!(*owner, pid);
                    assert!(processes.contains_key(&pid));
                    assert!(State::ALL.iter().any(|state| event["name"] == state.name()));
                    let (start, length) = (number(event, "ts"), number(event, "dur"));
                    let free_from = free_from.entry(tid).or_insert(0);
                    assert!(*free_from <= start, "overlaps the span before it: {event}");
                    *free_from = start + length;
                    *spans.get_mut(name).unwrap() += 1;
                    if event["name"] == State::Run.name() {
                        turns.push((tid, start, start + length));
                    }
                }
                "s" => {
                    assert_eq!(threads[&tid].0, pid);
                    let at = number(event, "ts");
                    assert!(in_a_turn(&turns, tid, at), "outside of a turn: {event}");
                    assert_eq!(flows.insert(event["id"].as_str(), at), None);
                }
                "f" => {
                    assert_eq!(threads[&tid].0, pid);
                    let at = number(event, "ts");
                    assert!(in_a_turn(&turns, tid, at), "outside of a turn: {event}");
                    assert!(flows.remove(&event["id"].as_str()).unwrap() <= at);
                }
                other => panic!("unknown phase {other}"),
            }
        }
        assert!(flows.is_empty(), "a flow without an end");
        spans
    }

    fn push(lane: &mut Lane, state: State, start: u64, end: u64) {
        let at = Duration::from_nanos;
        lane.push(Span { state, start: at(start), end: at(end) });
    }

    #[test]
    fn each_process_and_thread_is_named_once_and_no_two_threads_share_a_number() {
        let timeline = Timeline::new();
        for (process, thread) in [("p", "A"), ("q", "B"), ("p", "C \"quoted\"")] {
            push(&mut timeline.lane(process, thread), State::Run, 0, 1_000);
        }
        let events = written(&timeline);
        assert_eq!(validated(&events).len(), 3);
        let pids: Vec<_> = events.iter().filter(|event| event["ph"] == "X").collect();
        assert_eq!(pids[0]["pid"], pids[2]["pid"]);
        assert_ne!(pids[0]["pid"], pids[1]["pid"]);
    }

    #[test]
    fn times_are_whole_microseconds_and_rounding_makes_no_overlap() {
        let timeline = Timeline::new();
        let mut lane = timeline.lane("p", "A");
        push(&mut lane, State::Run, 0, 1_999);
        push(&mut lane, State::Io, 1_999, 2_001);
        push(&mut lane, State::Run, 2_001, 5_000_000_999);
        drop(lane);
        let events = written(&timeline);
        validated(&events);
        let times: Vec<_> = events[2..]
            .iter()
            .map(|event| (event["ts"].as_u64().unwrap(), event["dur"].as_u64().unwrap()))
            .collect();
        assert_eq!(times, [(0, 1), (1, 1), (2, 4_999_998)]);
    }

    #[test]
    fn what_real_threads_record_is_valid() {
        let timeline = Timeline::new();
        thread::scope(|scope| {
            for name in ["A", "B"] {
                let mut lane = timeline.lane("p", name);
                scope.spawn(move || {
                    for _ in 0..1_000 {
                        State::ALL.into_iter().for_each(|state| lane.enter(state));
                    }
                });
            }
        });
        let spans = validated(&written(&timeline));
        assert_eq!((spans["A"], spans["B"]), (5_000, 5_000));
    }

    #[test]
    fn a_hand_over_is_a_flow_from_thread_to_thread() {
        let timeline = Timeline::new();
        push(&mut timeline.lane("p", "A"), State::Run, 0, 5_000);
        push(&mut timeline.lane("p", "B"), State::Run, 6_000, 9_000);
        let events = written(&timeline);
        validated(&events);
        let flows: Vec<_> =
            events.iter().filter(|event| event["name"] == "hand-over").collect();
        let at = |flow: &Value| (flow["tid"].as_u64().unwrap(), flow["ts"].as_u64().unwrap());
        assert_eq!(flows.iter().map(|flow| at(flow)).collect::<Vec<_>>(), [(1, 4), (2, 6)]);
    }

    #[test]
    fn the_flow_of_a_turn_within_a_microsecond_starts_in_its_own_slice() {
        for end in [5_200, 5_700] {
            let timeline = Timeline::new();
            let mut a = timeline.lane("p", "A");
            push(&mut a, State::Run, 0, 2_000);
            push(&mut a, State::WaitForLock, 2_000, 5_200);
            push(&mut a, State::Run, 5_200, end);
            drop(a);
            push(&mut timeline.lane("p", "B"), State::Run, end, 9_000);
            let events = written(&timeline);
            validated(&events);
            let start = events.iter().find(|event| event["ph"] == "s").unwrap();
            assert_eq!(start["ts"], 5);
        }
    }

    #[test]
    fn a_reader_of_somebody_elses_making_finds_what_was_recorded() {
        use typescript_tsbuildinfo::{TraceEventType, TraceJson};
        let timeline = Timeline::new();
        push(&mut timeline.lane("p", "A"), State::Run, 0, 5_000);
        push(&mut timeline.lane("q", "B \"quoted\""), State::Io, 6_000, 9_000);
        push(&mut timeline.lane("p", "C"), State::Run, 7_000, 8_500);
        let mut json = Vec::new();
        timeline.write_perfetto(&mut json).unwrap();
        let events: TraceJson = serde_json::from_slice(&json).unwrap();

        let of = |kind| events.iter().filter(move |event| event.ph == kind);
        let spans: Vec<_> = of(TraceEventType::Complete)
            .map(|event| (event.name.as_str(), event.pid, event.tid, event.ts, event.dur))
            .collect();
        let (run, io) = (State::Run.name(), State::Io.name());
        assert_eq!(
            spans,
            [
                (run, 1, 1, 0.0, Some(5.0)),
                (io, 2, 2, 6.0, Some(3.0)),
                (run, 1, 3, 7.0, Some(1.0))
            ]
        );
        let named: Vec<_> = of(TraceEventType::Metadata)
            .map(|event| (event.name.as_str(), event.tid, event.args["name"].as_str().unwrap()))
            .collect();
        assert_eq!(
            named,
            [
                ("process_name", 1, "p"),
                ("thread_name", 1, "A"),
                ("process_name", 2, "q"),
                ("thread_name", 2, "B \"quoted\""),
                ("thread_name", 3, "C"),
            ]
        );
        let flow = |kind| {
            of(kind).map(|event| (event.id.as_deref(), event.tid, event.ts)).collect::<Vec<_>>()
        };
        assert_eq!(flow(TraceEventType::FlowStart), [(Some("0x1"), 1, 4.0)]);
        assert_eq!(flow(TraceEventType::FlowEnd), [(Some("0x1"), 3, 7.0)]);
    }

    #[test]
    fn an_empty_timeline_is_an_empty_array() {
        assert!(written(&Timeline::new()).is_empty());
    }

    #[test]
    fn a_writer_that_fails_is_reported() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let error = Timeline::new().write_perfetto(Full).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
