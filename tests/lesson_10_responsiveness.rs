//! Lesson 10: what its screen promises on any machine.

mod common;
mod limits;
use common::{assert_transcript, run};

const LESSON: &str = env!("CARGO_BIN_EXE_lesson-10-responsiveness");

#[test]
fn what_keeps_the_lock_or_the_loop_freezes_the_interface_and_nothing_else_does() {
    assert_transcript("default", &[run(LESSON, &[])]);
}

#[test]
fn a_longer_interval_and_longer_slices_drop_frames() {
    let sizes = [
        &["--virtual-work", "500ms", "--interval", "20ms", "--slice", "40ms", "--seed", "1"][..],
        &["--work", "10ms", "--quiet"],
    ];
    let small = run(LESSON, &sizes.concat());
    assert_eq!(small.stderr, "", "--quiet leaves the measurements out");
    assert_transcript("sizes", &[small]);
}

#[test]
fn a_limit_of_the_system_is_said_in_one_line() {
    limits::are_said_in_one_line(LESSON, &["--work", "10ms", "--quiet"]);
}

#[test]
fn bad_arguments_are_named_in_one_line() {
    let errors = [
        ["--work", "0s"],
        ["--work", "1m"],
        ["--virtual-work", "2"],
        ["--interval", "0s"],
        ["--slice", "500us"],
        ["--seed", "-1"],
        ["--watch", "window"],
        ["--watch", "loop"],
        ["--frames", "60"],
    ];
    let errors = errors.map(|flags| run(LESSON, &flags));
    assert_transcript("errors", &errors);
}

/// A terminal of the test's own, to look at the view.
#[cfg(unix)]
mod on_a_terminal {
    use std::fs::File;
    use std::io::Read;
    use std::process::{Child, Command, Stdio};

    use nix::pty::openpty;
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::LESSON;
    use super::common::skipped;

    /// A small container may lack them.
    fn there_are_terminals() -> bool {
        let why_not = |error: &_| skipped(&format!("no terminal can be had here: {error}"));
        openpty(None, None).inspect_err(why_not).is_ok()
    }

    fn start(flags: &[&str]) -> (Child, File) {
        start_with("", flags)
    }

    fn start_with(no_color: &str, flags: &[&str]) -> (Child, File) {
        let terminal = openpty(None, None).expect("the system has terminals");
        let lesson = Command::new(LESSON)
            .args(flags)
            .envs([("TERM", "xterm"), ("NO_COLOR", no_color)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(terminal.slave)
            .spawn()
            .expect("cargo built it");
        (lesson, terminal.master.into())
    }

    /// All that is drawn until nobody draws any more: Linux calls that an error.
    fn rest(mut terminal: File) -> String {
        let mut screen = Vec::new();
        let _ = terminal.read_to_end(&mut screen);
        String::from_utf8(screen).expect("the lesson draws text")
    }

    #[test]
    fn the_view_freezes_as_long_as_the_work_is_in_the_loop() {
        if !there_are_terminals() {
            return;
        }
        let (mut lesson, terminal) = start(&["--watch", "loop", "--work", "100ms"]);
        let screen = rest(terminal);
        assert!(lesson.wait().expect("our child").success(), "{screen}");
        let views: Vec<_> = screen.split("\x1b[A").skip(1).collect();
        let with = |stage: &str| views.iter().filter(|view| view.contains(stage)).count();
        let counts = [with("idle"), with("working"), with("answered")];
        assert_eq!((counts, views.len()), ([60, 0, 60], 120), "{screen}");

        // So many squares take about 100 ms: less where the machine was slow as it counted.
        let last = views[119];
        let gap =
            last.split("longest gap").nth(1).and_then(|gap| gap.split_whitespace().next());
        let gap: u64 = gap.and_then(|gap| gap.parse().ok()).expect("the view tells the gap");
        assert!(gap >= 17, "{last}");
        let end = "\x1b[K\r\n\x1b[?7h";
        assert!(last.ends_with(end), "the cursor is where the next prompt begins");
        // Else a narrow terminal would break each into two and show a new one below.
        let unbroken = screen.matches("\x1b[?7l\x1b[A\r").count();
        assert_eq!(unbroken, 120, "no line is drawn that a terminal may break");
    }

    #[test]
    fn ctrl_c_leaves_the_terminal_in_good_order() {
        if !there_are_terminals() {
            return;
        }
        let (mut lesson, mut terminal) = start(&["--watch", "slices", "--work", "10s"]);
        let mut screen = Vec::new();
        while !String::from_utf8_lossy(&screen).contains("working") {
            let mut bytes = [0; 4096];
            let read = terminal.read(&mut bytes).expect("it draws");
            screen.extend_from_slice(&bytes[..read]);
        }
        let pid = lesson.id().try_into().expect("a process number");
        kill(Pid::from_raw(pid), Signal::SIGINT).expect("it runs");
        let screen = rest(terminal);
        assert_eq!(lesson.wait().expect("our child").code(), Some(130), "{screen}");
        assert!(screen.contains("interrupted\r\n"), "{screen}");
    }

    #[test]
    fn a_measurement_shows_how_far_it_is_where_that_can_be_seen() {
        if !there_are_terminals() {
            return;
        }
        let small = ["--work", "10ms", "--virtual-work", "10ms"];
        let quiet = [&small[..], &["--quiet"]].concat();
        for (no_color, flags, shown) in
            [("", &small[..], true), ("1", &small, false), ("", &quiet, false)]
        {
            let (mut lesson, terminal) = start_with(no_color, flags);
            let screen = rest(terminal);
            assert!(lesson.wait().expect("our child").success(), "{screen}");
            assert_eq!(screen.contains("designs on real threads: 0 of 6"), shown, "{screen}");
        }
    }

    #[test]
    fn a_view_that_shows_nothing_is_refused() {
        if !there_are_terminals() {
            return;
        }
        let (mut lesson, terminal) = start(&["--watch", "loop", "--quiet"]);
        let screen = rest(terminal);
        assert_eq!(lesson.wait().expect("our child").code(), Some(2), "{screen}");
        assert_eq!(screen.lines().count(), 1, "{screen}");
    }
}
