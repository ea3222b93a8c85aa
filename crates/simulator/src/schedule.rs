use std::fmt;

/// Who goes next, by name: `a,a,b,b`.
///
/// In a [`Scenario`](crate::Scenario) the choices are which waiter a release wakes; in the
/// [`explorer`](crate::explorer), which thread moves. A choice beyond the end of the schedule
/// is made without it, so that the first few are enough to steer a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schedule(pub Vec<String>);

impl From<&str> for Schedule {
    /// Names separated by commas. Whether they name anybody is seen where they are used.
    fn from(text: &str) -> Self {
        Schedule(text.split(',').map(|name| name.trim().to_owned()).collect())
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

impl Schedule {
    /// The threads by their numbers.
    pub(crate) fn resolve(&self, threads: &[&str]) -> Result<Vec<usize>, Error> {
        let number = |(entry, name): (usize, &String)| {
            threads.iter().position(|thread| thread == name).ok_or_else(|| {
                Error::NoSuchThread {
                    entry: entry + 1,
                    name: name.clone(),
                    threads: threads.join(", "),
                }
            })
        };
        self.0.iter().enumerate().map(number).collect()
    }
}

/// Why something cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No core to run on.
    #[error("0 cores: threads need at least one")]
    NoCores,
    /// Nothing to run.
    #[error("0 threads: there is nothing to run")]
    NoThreads,
    /// A turn on a core, or an instruction, would be over before it began.
    #[error("{0} of 0: it takes at least 1 ns")]
    NoTime(&'static str),
    /// A name must tell which thread is meant.
    #[error("two threads are named `{0}`")]
    SameName(String),
    /// The schedule names nobody.
    #[error("entry {entry} of the schedule names `{name}`, but the threads are {threads}")]
    NoSuchThread {
        /// Counted from 1.
        entry: usize,
        /// As it is in the schedule.
        name: String,
        /// All threads.
        threads: String,
    },
    /// The schedule names a thread that is no more.
    #[error("entry {entry} of the schedule names `{name}`, which has ended by then")]
    Ended {
        /// Counted from 1.
        entry: usize,
        /// As it is in the schedule.
        name: String,
    },
    /// The schedule names a thread that is not among those to choose from.
    #[error("entry {entry} of the schedule names `{name}`, but the choice is among {ready}")]
    NotReady {
        /// Counted from 1.
        entry: usize,
        /// As it is in the schedule.
        name: String,
        /// The threads to choose from.
        ready: String,
    },
}

/// Why a schedule cannot have its way: it names a thread that is not `ready`.
pub(crate) fn refused(place: usize, name: &str, ended: bool, ready: &[&str]) -> Error {
    let (entry, name) = (place + 1, name.to_owned());
    if ended {
        Error::Ended { entry, name }
    } else {
        Error::NotReady { entry, name, ready: ready.join(", ") }
    }
}

/// Refuses names that two threads share.
pub(crate) fn distinct(names: &[&str]) -> Result<(), Error> {
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::SameName(pair[0].to_owned())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_reads_as_it_prints() {
        let schedule = Schedule::from("a, b,a");
        assert_eq!(schedule.to_string(), "a,b,a");
        assert_eq!(schedule.resolve(&["a", "b"]), Ok(vec![0, 1, 0]));
    }

    #[test]
    fn a_name_of_nobody_is_an_error_that_says_so() {
        let error = Schedule::from("a,,b").resolve(&["a", "b"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "entry 2 of the schedule names ``, but the threads are a, b"
        );
    }
}
