//! Both ends live in this process: an end that has travelled through a message is the same
//! whether a process or a thread holds it.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails with a bare panic")]

use std::thread;

use ipc::{Channel, Error, Packet, Pipe, pipe};
use serde::{Deserialize, Serialize};

#[test]
fn what_one_end_sends_the_other_receives() {
    let (mut a, mut b) = pipe::<String, u64>().unwrap();
    a.send(&"how many".into()).unwrap();
    assert_eq!(b.recv().unwrap(), "how many");
    b.send(&3).unwrap();
    assert_eq!(a.recv().unwrap(), 3);
}

#[test]
fn a_dropped_end_disconnects_the_other() {
    let (mut a, b) = pipe::<u64, u64>().unwrap();
    b.send(&1).unwrap();
    drop(b);
    assert_eq!(a.recv().unwrap(), 1, "what was sent before still arrives");
    assert!(matches!(a.recv(), Err(Error::Disconnected)));
    assert!(matches!(a.send(&2), Err(Error::Disconnected)));
}

#[test]
fn an_end_travels_and_takes_its_connection_along() {
    #[derive(Serialize, Deserialize)]
    struct Job {
        number: u8,
        reply_to: Pipe<String, ()>,
    }
    let (mut ours, theirs) = pipe::<(), String>().unwrap();
    let (sender, mut receiver) = Channel::pair().unwrap();
    sender.send(&Packet::encode(&Job { number: 7, reply_to: theirs }).unwrap()).unwrap();

    let job: Job = receiver.recv().unwrap().decode().unwrap();
    job.reply_to.send(&format!("job {}", job.number)).unwrap();
    drop(job);
    assert_eq!(ours.recv().unwrap(), "job 7");
    assert!(matches!(ours.recv(), Err(Error::Disconnected)), "no copy was left behind");
}

#[test]
fn an_end_that_is_never_delivered_disconnects() {
    let (mut ours, theirs) = pipe::<(), ()>().unwrap();
    let (sender, receiver) = Channel::pair().unwrap();
    sender.send(&Packet::encode(&theirs).unwrap()).unwrap();
    drop((theirs, sender, receiver));
    assert!(matches!(ours.recv(), Err(Error::Disconnected)));
}

#[test]
fn a_message_of_another_type_is_an_error_that_says_so() {
    let (sender, mut receiver) = Channel::pair().unwrap();
    sender.send(&Packet::encode(&0xffff_ffff_ffff_u64).unwrap()).unwrap();
    assert!(matches!(receiver.recv().unwrap().decode::<bool>(), Err(Error::Decode(_))));
    sender.send(&Packet::encode(&(true, true)).unwrap()).unwrap();
    assert!(matches!(receiver.recv().unwrap().decode::<bool>(), Err(Error::LeftOver(1))));
}

#[test]
fn a_large_message_arrives_whole() {
    let numbers: Vec<u64> = (0..2_000_000).collect();
    let (a, mut b) = pipe::<Vec<u64>, ()>().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| a.send(&numbers).unwrap());
        assert!(b.recv().unwrap() == numbers);
    });
}

#[test]
fn more_ends_than_one_message_carries_are_refused() {
    let ends: Vec<_> = (0..251).map(|_| pipe::<(), ()>().unwrap().0).collect();
    assert!(matches!(Packet::encode(&ends), Err(Error::TooManyEnds { ends: 251 })));
    assert!(Packet::encode(&ends[1..]).is_ok());
}

#[test]
fn an_end_that_has_read_ahead_does_not_travel() {
    let (mut a, b) = pipe::<(), u8>().unwrap();
    b.send(&1).unwrap();
    b.send(&2).unwrap();
    assert_eq!(a.recv().unwrap(), 1);
    let error = Packet::encode(&a).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a pipe in full use, or with messages left to receive, cannot travel"
    );
    assert_eq!(a.recv().unwrap(), 2);
    assert!(Packet::encode(&a).is_ok());
}
