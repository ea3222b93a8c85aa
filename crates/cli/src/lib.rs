//! The command line that every lesson shares.
//!
//! - [`parse`] reads the flags. A bad one ends the program with one line on stderr and status 2.
//! - [`Result`] is what `main` returns. A failure ends it with one line and status 1.
//! - [`Output`] knows `--quiet`: facts go to stdout with `println!`, measurements through
//!   [`Output::measured`] to stderr; [`Output::progress`] shows there how far they are.
//! - Ctrl-C ends the program at once with status 130. A reader that goes away (`| head`)
//!   ends it quietly. A thread or memory that the operating system refuses ends it with one
//!   line and status 1, though `thread::spawn` panics then, and `Vec::push` aborts.
//! - What whoever starts the program does with its own signals changes nothing: none is blocked
//!   here, SIGCHLD has its default (else nobody could tell how a process has ended), and SIGINT
//!   ends the program, though shells start what a script has in the background with it ignored.
//!   The other signals that were ignored stay so: `nohup` does that.

use std::any::TypeId;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::iter;
use std::ops::RangeInclusive;
use std::process;
use std::time::Duration;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Command};

mod inherited;
mod memory;
mod progress;
mod refused;

pub use memory::room_for_a_thread;
pub use progress::Progress;

/// Exit status of a program that could not do its work.
pub const FAILED: i32 = 1;
/// Exit status of a program that was given bad arguments.
pub const BAD_ARGUMENTS: i32 = 2;
/// Exit status of a program that was interrupted: 128 + SIGINT, as shells count.
pub const INTERRUPTED: i32 = 130;

/// What a lesson's `main` returns: nothing, or the one line that says what failed.
pub type Result<T = ()> = std::result::Result<T, Failure>;

/// Any error, shown in one line with its causes.
///
/// `anyhow::Result` as the type of `main` would spread the causes over several lines.
pub struct Failure(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

/// The standard library prints a failed `main` with `Debug`.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line(&format!("{:#}", self.0)))
    }
}

/// The flags that every lesson has.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Output {
    /// Leave the measurements out: only what is true on every machine
    #[arg(long)]
    pub quiet: bool,
}

impl Output {
    /// Writes a measurement to stderr, unless `--quiet`.
    pub fn measured(self, measurement: impl Display) {
        if !self.quiet {
            to_stderr(measurement);
        }
    }
}

/// Writes a line to stderr.
///
/// `eprintln!` panics when stderr takes nothing. That is no reason to keep the facts back, to
/// end with another status, or not to end on Ctrl-C.
pub fn to_stderr(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Ends the program for bad arguments that show only together, with one line and status 2.
pub fn refuse(error: impl Display) -> ! {
    to_stderr(format_args!("error: {error}"));
    process::exit(BAD_ARGUMENTS);
}

/// Reads the command line, and makes Ctrl-C, a closed stdout and a refused thread or allocation
/// end the program in good order. To be called before the first thread and the first process are
/// started.
///
/// Never returns when the arguments are bad or ask for help.
pub fn parse<Args: clap::Parser>() -> Args {
    // Before there is a thread: it would inherit which signals are blocked.
    inherited::put_right();
    refused::end_in_one_line();
    memory::end_in_one_line();
    end_at_once_on_ctrl_c();
    read::<Args>(env::args_os()).unwrap_or_else(|error| {
        if error.use_stderr() {
            to_stderr(in_one_line(&error));
            process::exit(BAD_ARGUMENTS);
        }
        print!("{error}");
        process::exit(0);
    })
}

/// `-1` and `-5ms` are bad values, to be named as such, and not unknown flags.
fn read<Args: clap::Parser>(
    arguments: impl IntoIterator<Item = OsString>,
) -> std::result::Result<Args, clap::Error> {
    let mut command = Args::command().mut_args(|arg| {
        let time = arg.get_value_parser().type_id() == TypeId::of::<Duration>();
        match arg.get_action().takes_values() {
            true => arg.allow_negative_numbers(true).allow_hyphen_values(time),
            false => arg,
        }
    });
    let matches = command.try_get_matches_from_mut(arguments)?;
    Args::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// A flag's value that is a whole number in `allowed`; `100_000_000` may be written with
/// underscores.
pub fn number(allowed: RangeInclusive<u64>) -> impl TypedValueParser<Value = u64> {
    let range = format!("{}-{}", allowed.start(), allowed.end());
    let expected = format!("a whole number from {} to {}", allowed.start(), allowed.end());
    let parse = move |text: &str| match text.replace('_', "").parse() {
        Ok(number) if allowed.contains(&number) => Ok(number),
        _ => Err(expected.clone()),
    };
    Ranged { parse, range }
}

/// The same for what is counted in memory: workers, tasks, threads.
pub fn count(allowed: RangeInclusive<u16>) -> impl TypedValueParser<Value = usize> {
    number((*allowed.start()).into()..=(*allowed.end()).into())
        .map(|n| usize::try_from(n).expect("it came from a u16"))
}

/// A flag's value that is a time in `allowed`, written `50ms` or `2s`.
pub fn duration(allowed: RangeInclusive<Duration>) -> impl TypedValueParser<Value = Duration> {
    let [least, most] = [*allowed.start(), *allowed.end()].map(humantime::format_duration);
    let range = format!("{least}-{most}");
    let expected = format!("a time with its unit, from {least} to {most}");
    let parse = move |text: &str| match humantime::parse_duration(text) {
        Ok(time) if allowed.contains(&time) => Ok(time),
        _ => Err(expected.clone()),
    };
    Ranged { parse, range }
}

/// A parser whose range `--help` shows.
#[derive(Clone)]
struct Ranged<P> {
    parse: P,
    range: String,
}

impl<P: TypedValueParser> TypedValueParser for Ranged<P> {
    type Value = P::Value;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> std::result::Result<P::Value, clap::Error> {
        self.parse.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(iter::once(PossibleValue::new(&self.range))))
    }
}

/// clap explains an error in several lines; the first paragraph says what is wrong.
fn in_one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = one_line(text.split("\n\n").next().unwrap_or(&text));
    match error.kind() {
        clap::error::ErrorKind::UnknownArgument => format!("{first}; --help lists the flags"),
        _ => first,
    }
}

/// What stands in an argument or comes from another program may give orders to a terminal: they
/// are replaced.
fn one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.replace(char::is_control, "\u{fffd}")
}

/// Worker processes see the end of their channel when this process is gone, and end too.
fn end_at_once_on_ctrl_c() {
    let handler = || {
        to_stderr("interrupted");
        process::exit(INTERRUPTED);
    };
    // Without it, which is when no thread can be started, Ctrl-C still ends the program.
    let _ = ctrlc::set_handler(handler);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_names_what_is_allowed() {
        assert_eq!(value(number(1..=64), "6_4"), Ok(64));
        assert_eq!(value(count(1..=64), "6_4"), Ok(64));
        for bad in ["0", "65", "-1", "four", "", "1e3"] {
            let error = value(number(1..=64), bad).unwrap_err();
            assert!(error.ends_with(": a whole number from 1 to 64"), "{bad}: {error}");
        }
    }

    fn value<P: TypedValueParser>(
        parser: P,
        text: &str,
    ) -> std::result::Result<P::Value, String> {
        parser
            .parse_ref(&Command::new("program"), None, OsStr::new(text))
            .map_err(|error| in_one_line(&error))
    }

    #[test]
    fn a_time_has_a_unit_and_a_range() {
        let interval = || duration(Duration::from_micros(1)..=Duration::from_secs(10));
        assert_eq!(value(interval(), "5ms"), Ok(Duration::from_millis(5)));
        for bad in ["0s", "5", "-5ms", "11s", "soon"] {
            let error = value(interval(), bad).unwrap_err();
            let expected = ": a time with its unit, from 1us to 10s";
            assert!(error.ends_with(expected), "{bad}: {error}");
        }
    }

    #[test]
    fn a_negative_value_is_named_and_an_unknown_flag_too() {
        #[derive(clap::Parser, Debug)]
        struct Args {
            #[arg(long, value_parser = number(1..=64))]
            workers: Option<u64>,
            #[arg(long, value_parser = duration(Duration::ZERO..=Duration::from_secs(1)))]
            delay: Option<Duration>,
        }
        for (flags, line) in [
            ("--workers -1", "'-1' for '--workers <WORKERS>': a whole number from 1 to 64"),
            (
                "--delay -5ms",
                "'-5ms' for '--delay <DELAY>': a time with its unit, from 0s to 1s",
            ),
            (
                "--delay=-5ms",
                "'-5ms' for '--delay <DELAY>': a time with its unit, from 0s to 1s",
            ),
        ] {
            let error =
                read::<Args>(["program"].into_iter().chain(flags.split(' ')).map(Into::into));
            let expected = format!("error: invalid value {line}");
            assert_eq!(in_one_line(&error.unwrap_err()), expected, "{flags}");
        }
        let error = read::<Args>(["program", "-5ms"].map(Into::into)).unwrap_err();
        assert_eq!(error.kind(), clap::error::ErrorKind::UnknownArgument);
        let args = read::<Args>(["program", "--delay", "5ms"].map(Into::into)).unwrap();
        assert_eq!((args.workers, args.delay), (None, Some(Duration::from_millis(5))));
        let help = <Args as clap::CommandFactory>::command().render_help().to_string();
        assert!(help.contains(" 1-64]") && help.contains(" 0s-1s]"), "{help}");
    }

    #[test]
    fn a_failure_is_one_line_with_its_causes() {
        let cause = anyhow::anyhow!("no such\nfile").context("cannot start worker 1");
        assert_eq!(
            format!("{:?}", Failure::from(cause)),
            "cannot start worker 1: no such file"
        );
        let order = anyhow::anyhow!("no file \x1b[2J\u{9b}");
        assert_eq!(format!("{:?}", Failure::from(order)), "no file \u{fffd}[2J\u{fffd}");
    }
}
