//! Both ends live in this process: an end that has travelled through a message is the same
//! whether a process or a thread holds it.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails with a bare panic")]

use std::thread;
use std::time::Duration;

use ipc::{Channel, Error, Packet, Pipe, pipe, wait};
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

#[test]
fn polling_says_whether_receiving_would_wait() {
    let (mut a, b) = pipe::<(), Vec<u8>>().unwrap();
    let soon = Duration::from_millis(1);
    // Through the socket at first, then through the ring.
    for n in 0..50 {
        assert!(!a.poll(soon).unwrap());
        b.send(&vec![n; 3]).unwrap();
        assert!(a.poll(Duration::from_secs(60)).unwrap());
        assert!(a.poll(Duration::ZERO).unwrap(), "looking takes nothing away");
        assert_eq!(a.recv().unwrap(), [n; 3]);
    }
    drop(b);
    assert!(a.poll(Duration::from_secs(60)).unwrap(), "the end does not keep one waiting");
    assert!(matches!(a.recv(), Err(Error::Disconnected)));
    assert!(a.poll(Duration::ZERO).unwrap());
}

#[test]
fn of_many_pipes_those_that_have_something_are_named() {
    let (mut numbers, to_numbers) = pipe::<(), u64>().unwrap();
    let (mut texts, to_texts) = pipe::<(), String>().unwrap();
    let (mut silent, _to_silent) = pipe::<(), ()>().unwrap();
    assert!(wait(&mut [&mut numbers, &mut silent], Some(Duration::ZERO)).unwrap().is_empty());
    thread::scope(|scope| {
        scope.spawn(|| (0..100).for_each(|n| to_numbers.send(&n).unwrap()));
        scope.spawn(|| (0..100).for_each(|n| to_texts.send(&n.to_string()).unwrap()));
        let (mut next_number, mut next_text) = (0, 0);
        while next_number + next_text < 200 {
            let ready = wait(&mut [&mut numbers, &mut silent, &mut texts], None).unwrap();
            assert!(!ready.is_empty() && !ready.contains(&1));
            if ready.contains(&0) {
                assert_eq!(numbers.recv().unwrap(), next_number);
                next_number += 1;
            }
            if ready.contains(&2) {
                assert_eq!(texts.recv().unwrap(), next_text.to_string());
                next_text += 1;
            }
        }
    });
}
