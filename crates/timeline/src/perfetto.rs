use crate::{Recorded, Request, Span, State, Thread, Timeline};
use serde_json::{Value, json};
use std::fmt;
use std::io::{self, BufWriter, Write};
use std::time::Duration;

impl Timeline {
    /// Writes the trace as Chrome trace events, which <https://ui.perfetto.dev> opens.
    ///
    /// The JSON object form of the format: `M` events name the processes and threads, a complete
    /// `X` event is a span, a pair of flow events `s` and `f` is a hand-over. Processes and
    /// threads are numbered from 1 in order of appearance; no two threads share a number, even
    /// across processes. Where a thread [asked](Timeline::requests) for the lock, the arguments
    /// of its wait say after which interval and how often, and those of the turn that it wanted
    /// to end say who asked.
    ///
    /// Times are microseconds with the nanoseconds behind the point, each exact: spans that touch
    /// do so in the file. What is later than 292 years is written as that, which is where the
    /// nanoseconds of the viewers end.
    ///
    /// # Errors
    ///
    /// Whatever `out` fails with.
    pub fn write_perfetto(&self, out: impl Write) -> io::Result<()> {
        let mut out = BufWriter::new(out);
        out.write_all(b"{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
        let mut separator = "\n";
        let mut write = |event: fmt::Arguments<'_>| {
            write!(out, "{separator}{event}")?;
            separator = ",\n";
            io::Result::Ok(())
        };
        let recorded = self.lock().clone();
        let requests = recorded.requests();
        let mut processes: Vec<&str> = Vec::new();
        let mut pids = Vec::new();
        for (Thread { process, name, spans }, tid) in recorded.threads.iter().zip(1..) {
            let known = processes.iter().position(|known| known == process);
            let pid = known.unwrap_or(processes.len()) + 1;
            pids.push(pid);
            if known.is_none() {
                processes.push(process);
                write(format_args!("{}", metadata("process_name", pid, tid, process)))?;
            }
            write(format_args!("{}", metadata("thread_name", pid, tid, name)))?;
            for span in spans {
                let (state, start) = (json!(span.state.name()), nanos(span.start));
                let (ts, dur) = (Micros(start), Micros(nanos(span.end) - start));
                let args = recorded.arguments(tid - 1, span, &requests);
                // A number of `serde_json` would round its last digits.
                write(format_args!(
                    r#"{{"ph":"X","name":{state},"pid":{pid},"tid":{tid},"ts":{ts},"dur":{dur},"args":{args}}}"#
                ))?;
            }
        }
        for (hand_over, id) in recorded.hand_overs().iter().zip(1_usize..) {
            // A flow starts inside the slice of the turn. The end of a slice is outside, and a
            // turn without a length has nothing but its start.
            let spans = &recorded.threads[hand_over.from].spans;
            let over = spans.partition_point(|span| span.end <= hand_over.given);
            let turn = spans[..over].iter().rfind(|span| span.state == State::Run);
            let given = nanos(hand_over.given).saturating_sub(1);
            let given = turn.map_or(given, |turn| given.max(nanos(turn.start)));
            for (phase, thread, at) in
                [("s", hand_over.from, given), ("f", hand_over.to, nanos(hand_over.at))]
            {
                let (pid, tid, ts) = (pids[thread], thread + 1, Micros(at));
                // The number in hexadecimal text, as Chrome itself writes it: some readers take no
                // numbers. "bp": to the slice that begins here, not to the one before it.
                write(format_args!(
                    r#"{{"ph":"{phase}","name":"hand-over","cat":"lock","id":"{id:#x}","pid":{pid},"tid":{tid},"ts":{ts},"bp":"e"}}"#
                ))?;
            }
        }
        out.write_all(b"\n]}\n")?;
        out.flush()
    }
}

impl Recorded {
    /// What is known of a span of this thread besides its times.
    fn arguments(&self, thread: usize, span: &Span, requests: &[Request]) -> Value {
        let process = |thread: usize| &self.threads[thread].process;
        // A request at the very start of a turn was one to the turn before it.
        let after = requests.partition_point(|request| request.at <= span.start);
        let during = requests[after..].iter().take_while(|request| request.at <= span.end);
        let (mut asked, mut interval, mut by) = (0, None, Vec::new());
        for request in during {
            let own = request.by == thread;
            match span.state {
                State::WaitForLock if own => asked += 1,
                State::Run if !own && process(request.by) == process(thread) => {
                    let name = self.threads[request.by].name.as_str();
                    if !by.contains(&name) {
                        by.push(name);
                    }
                }
                _ => continue,
            }
            interval.get_or_insert(format!("{:?}", request.interval));
        }
        match interval {
            None => json!({}),
            Some(interval) if asked > 0 => json!({ "interval": interval, "asked": asked }),
            Some(interval) => json!({ "interval": interval, "asked_by": by.join(", ") }),
        }
    }
}

fn metadata(kind: &str, pid: usize, tid: usize, name: &str) -> Value {
    json!({ "ph": "M", "name": kind, "pid": pid, "tid": tid, "args": { "name": name } })
}

fn nanos(time: Duration) -> u64 {
    let most = i64::MAX.unsigned_abs();
    u64::try_from(time.as_nanos()).map_or(most, |nanos| nanos.min(most))
}

/// Nanoseconds, written as microseconds.
struct Micros(u64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0 / 1_000)?;
        match self.0 % 1_000 {
            0 => Ok(()),
            nanos => write!(f, ".{nanos:03}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HandOver, Lane};
    use std::collections::HashMap;
    use std::thread;

    fn written(timeline: &Timeline) -> Vec<Value> {
        let mut json = Vec::new();
        timeline.write_perfetto(&mut json).unwrap();
        let mut trace: Value = serde_json::from_slice(&json).unwrap();
        let Value::Array(events) = trace["traceEvents"].take() else {
            panic!("no array of events")
        };
        events
    }

    /// A time of an event, in nanoseconds.
    fn time(event: &Value, key: &str) -> u64 {
        let text = event[key].to_string();
        let (micros, nanos) = text.split_once('.').unwrap_or((&text, "0"));
        format!("{micros}{nanos:0<3}").parse().unwrap()
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
                    let (start, length) = (time(event, "ts"), time(event, "dur"));
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
                    let at = time(event, "ts");
                    assert!(in_a_turn(&turns, tid, at), "outside of a turn: {event}");
                    assert_eq!(flows.insert(event["id"].as_str(), at), None);
                }
                "f" => {
                    assert_eq!(threads[&tid].0, pid);
                    let at = time(event, "ts");
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
    fn times_are_exact_and_what_touches_does_so_in_the_file() {
        let timeline = Timeline::new();
        let mut lane = timeline.lane("p", "A");
        // The third is where a count of nanoseconds begins to need more than a double holds.
        let ends = [0, 1, 1_999, 2_001, 5_000_000_999, 9_007_199_254_740_993, u64::MAX / 4];
        for ends in ends.windows(2) {
            push(&mut lane, State::Run, ends[0], ends[1]);
        }
        drop(lane);
        let expected = [
            ("0", "0.001"),
            ("0.001", "1.998"),
            ("1.999", "0.002"),
            ("2.001", "4999998.998"),
            ("5000000.999", "9007194254739.994"),
            ("9007199254740.993", "4602678819172646.910"),
        ];
        assert_eq!(times(&timeline), expected.map(|(ts, dur)| (ts.into(), dur.into())));
    }

    /// When the spans begin and how long they are, digit by digit as it is written.
    fn times(timeline: &Timeline) -> Vec<(String, String)> {
        let mut json = Vec::new();
        timeline.write_perfetto(&mut json).unwrap();
        let json = String::from_utf8(json).unwrap();
        let number = |line: &str, key: &str| {
            let (_, rest) = line.split_once(&format!("\"{key}\":")).unwrap();
            rest.split(',').next().unwrap().to_owned()
        };
        let spans = json.lines().filter(|line| line.contains(r#""ph":"X""#));
        spans.map(|line| (number(line, "ts"), number(line, "dur"))).collect()
    }

    #[test]
    fn a_span_without_an_end_is_written() {
        let timeline = Timeline::new();
        let mut lane = timeline.lane("p", "A");
        let (start, end) = (Duration::from_nanos(1), Duration::MAX);
        lane.push(Span { state: State::Run, start, end });
        lane.push(Span { state: State::Io, start: end, end });
        drop(lane);
        let at = end;
        timeline.set_hand_overs(vec![HandOver { from: 0, to: 0, given: end, at }]);
        assert_eq!(written(&timeline).len(), 6, "it is JSON");
        let expected = [("0.001", "9223372036854775.806"), ("9223372036854775.807", "0")];
        assert_eq!(times(&timeline), expected.map(|(ts, dur)| (ts.into(), dur.into())));
    }

    #[test]
    fn a_request_is_an_argument_of_the_wait_and_of_the_turn_that_it_ends() {
        let timeline = Timeline::new();
        let [mut a, mut b, mut c] = ["A", "B", "C"].map(|name| timeline.lane("p", name));
        let mut elsewhere = timeline.lane("q", "D");
        push(&mut a, State::Run, 0, 10_000);
        push(&mut a, State::WaitForLock, 10_000, 20_000);
        push(&mut b, State::WaitForLock, 0, 10_000);
        push(&mut b, State::Run, 10_000, 20_000);
        push(&mut c, State::WaitForLock, 0, 20_000);
        push(&mut elsewhere, State::Run, 0, 20_000);
        let (us, interval) = (Duration::from_micros, Duration::from_micros(5));
        b.push_request(us(5), interval);
        b.push_request(us(10), interval);
        c.push_request(us(6), interval);
        drop((a, b, c, elsewhere));
        let events = written(&timeline);
        validated(&events);
        let args: Vec<_> =
            events.iter().filter(|event| event["ph"] == "X").map(|e| &e["args"]).collect();
        let asked = |times: u64| json!({ "interval": "5µs", "asked": times });
        let turn = json!({ "interval": "5µs", "asked_by": "B, C" });
        let nothing = json!({});
        assert_eq!(args, [&turn, &nothing, &asked(2), &nothing, &asked(1), &nothing]);
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
        let at = |flow: &Value| (flow["tid"].as_u64().unwrap(), time(flow, "ts"));
        let at: Vec<_> = flows.iter().map(|flow| at(flow)).collect();
        assert_eq!(at, [(1, 4_999), (2, 6_000)]);
    }

    #[test]
    fn the_flow_of_a_turn_without_a_length_starts_in_its_own_slice() {
        for (end, given) in [(5_200, 5_200), (5_201, 5_200), (5_700, 5_699)] {
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
            assert_eq!(time(start, "ts"), given);
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
        let mut trace: Value = serde_json::from_slice(&json).unwrap();
        // It reads the events, and of the two forms of a file the other one.
        let events: TraceJson = serde_json::from_value(trace["traceEvents"].take()).unwrap();

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
                (run, 1, 3, 7.0, Some(1.5))
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
        assert_eq!(flow(TraceEventType::FlowStart), [(Some("0x1"), 1, 4.999)]);
        assert_eq!(flow(TraceEventType::FlowEnd), [(Some("0x1"), 3, 7.0)]);
    }

    #[test]
    fn an_empty_timeline_has_no_events() {
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
