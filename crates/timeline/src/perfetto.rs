use crate::{Recorded, Request, Span, State, Thread, Timeline};
use serde_json::{Value, json};
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
    /// Times are microseconds with eighths, each rounded down. Viewers add a start and a length
    /// as floating point numbers: eighths are the finest parts that are exact there and a whole
    /// number of nanoseconds, so that spans that touch do so in every viewer. Nanoseconds, of
    /// which the sum can be too long by the last bit, would overlap in some. What is later than
    /// 292 years is written as that, which is where the clocks of the viewers end.
    ///
    /// # Errors
    ///
    /// Whatever `out` fails with.
    pub fn write_perfetto(&self, out: impl Write) -> io::Result<()> {
        let mut out = BufWriter::new(out);
        out.write_all(b"{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
        let mut separator = "\n";
        let mut write = |event: Value| {
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
                write(metadata("process_name", pid, tid, process))?;
            }
            write(metadata("thread_name", pid, tid, name))?;
            for span in spans {
                let (start, end) = (eighths(span.start), eighths(span.end));
                let mut event = json!({
                    "ph": "X", "name": span.state.name(), "pid": pid, "tid": tid,
                    "ts": micros(start), "dur": micros(end - start),
                });
                if let Some(args) = recorded.arguments(tid - 1, span, &requests) {
                    event["args"] = args;
                }
                write(event)?;
            }
        }
        for (hand_over, id) in recorded.hand_overs().iter().zip(1_usize..) {
            // A flow starts inside the slice of the turn. The end of a slice is outside, and a
            // turn within an eighth has nothing but its start.
            let spans = &recorded.threads[hand_over.from].spans;
            let over = spans.partition_point(|span| span.end <= hand_over.given);
            let turn = spans[..over].iter().rfind(|span| span.state == State::Run);
            let given = eighths(hand_over.given).saturating_sub(1);
            let given = turn.map_or(given, |turn| given.max(eighths(turn.start)));
            for (phase, thread, at) in
                [("s", hand_over.from, given), ("f", hand_over.to, eighths(hand_over.at))]
            {
                write(json!({
                    "ph": phase, "name": "hand-over", "cat": "lock",
                    // In hexadecimal text, as Chrome itself writes it: some readers take no numbers.
                    "id": format!("{id:#x}"),
                    "pid": pids[thread], "tid": thread + 1, "ts": micros(at),
                    // To the slice that begins here, not to the one before it.
                    "bp": "e",
                }))?;
            }
        }
        out.write_all(b"\n]}\n")?;
        out.flush()
    }
}

impl Recorded {
    /// What is known of a span of this thread besides its times.
    fn arguments(&self, thread: usize, span: &Span, requests: &[Request]) -> Option<Value> {
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
        let interval = interval?;
        Some(match asked {
            0 => json!({ "interval": interval, "asked_by": by.join(", ") }),
            _ => json!({ "interval": interval, "asked": asked }),
        })
    }
}

fn metadata(kind: &str, pid: usize, tid: usize, name: &str) -> Value {
    json!({ "ph": "M", "name": kind, "pid": pid, "tid": tid, "args": { "name": name } })
}

/// Eighths of a microsecond, at most as many as there are nanoseconds for in an `i64`.
fn eighths(time: Duration) -> u64 {
    let nanos = time.as_nanos().min(i64::MAX.unsigned_abs().into());
    u64::try_from(nanos / 125).expect("it fits before the division")
}

fn micros(eighths: u64) -> f64 {
    eighths as f64 / 8.0
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
        let nanos = event[key].as_f64().unwrap() * 1_000.0;
        assert!(nanos.fract() == 0.0, "{event}");
        Duration::from_secs_f64(nanos).as_secs()
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
    fn what_touches_does_so_however_a_viewer_adds() {
        let timeline = Timeline::new();
        let mut lane = timeline.lane("p", "A");
        let mut random = 1_u64;
        let mut start = 0;
        for _ in 0..10_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let end = start + (random >> (28 + random % 36));
            push(&mut lane, State::Run, start, end);
            start = end;
        }
        assert!(start > 3_600_000_000_000, "it lasts for an hour");
        drop(lane);
        let events = written(&timeline);
        validated(&events);
        for events in events[2..].windows(2) {
            let number = |event: &Value, key: &str| event[key].as_f64().unwrap();
            let end = number(&events[0], "ts") + number(&events[0], "dur");
            assert!(end == number(&events[1], "ts"), "{events:?}");
            assert_eq!(
                time(&events[0], "ts") + time(&events[0], "dur"),
                time(&events[1], "ts")
            );
        }
    }

    #[test]
    fn times_are_eighths_of_a_microsecond_and_may_last_for_ever() {
        let timeline = Timeline::new();
        let mut lane = timeline.lane("p", "A");
        push(&mut lane, State::Run, 0, 1_999);
        push(&mut lane, State::Io, 1_999, 2_001);
        push(&mut lane, State::Run, 2_001, 5_000_000_999);
        let (start, end) = (Duration::from_nanos(5_000_000_999), Duration::MAX);
        lane.push(Span { state: State::Io, start, end });
        lane.push(Span { state: State::Run, start: end, end });
        drop(lane);
        timeline.set_hand_overs(vec![HandOver { from: 0, to: 0, given: end, at: end }]);
        let number = |event: &Value, key: &str| event[key].as_f64();
        let events = written(&timeline);
        let times: Vec<_> =
            events[2..].iter().map(|e| (number(e, "ts").unwrap(), number(e, "dur"))).collect();
        assert_eq!(
            times,
            [
                (0.0, Some(1.875)),
                (1.875, Some(0.125)),
                (2.0, Some(4_999_998.875)),
                (5_000_000.875, Some(9_223_372_031_854_774.875)),
                (9_223_372_036_854_775.75, Some(0.0)),
                (9_223_372_036_854_775.75, None),
                (9_223_372_036_854_775.75, None),
            ]
        );
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
        let nothing = Value::Null;
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
        assert_eq!(at, [(1, 4_875), (2, 6_000)]);
    }

    #[test]
    fn the_flow_of_a_turn_without_a_length_starts_in_its_own_slice() {
        for (end, given) in [(5_200, 5_125), (5_249, 5_125), (5_700, 5_500)] {
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
        assert_eq!(flow(TraceEventType::FlowStart), [(Some("0x1"), 1, 4.875)]);
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
