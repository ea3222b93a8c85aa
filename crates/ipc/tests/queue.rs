//! An end that has travelled through a message (`remote`) talks to the owner over a connection,
//! whether a process or a thread of this one holds it.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails with a bare panic")]

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use ipc::{Error, Packet, Receiver, Sender, bounded};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn remote<End: Serialize + DeserializeOwned>(end: &End) -> End {
    Packet::encode(end).unwrap().decode().unwrap()
}

fn all_four_ways(check: impl Fn(Sender<u64>, Receiver<u64>)) {
    for (remote_sender, remote_receiver) in
        [(false, false), (false, true), (true, false), (true, true)]
    {
        let (mut sender, mut receiver) = bounded(2).unwrap();
        if remote_sender {
            sender = remote(&sender);
        }
        if remote_receiver {
            receiver = remote(&receiver);
        }
        check(sender, receiver);
    }
}

#[test]
fn messages_come_out_in_order() {
    all_four_ways(|sender, receiver| {
        thread::scope(|scope| {
            scope.spawn(move || (0..100).for_each(|n| sender.send(&n).unwrap()));
            let received: Vec<_> = receiver.iter().map(Result::unwrap).collect();
            assert_eq!(received, Vec::from_iter(0..100));
        });
    });
}

#[test]
fn a_full_queue_takes_nothing_more() {
    all_four_ways(|sender, receiver| {
        sender.send(&1).unwrap();
        sender.send(&2).unwrap();
        let (start, wait) = (Instant::now(), Duration::from_millis(5));
        assert!(matches!(sender.send_timeout(&3, wait), Err(Error::TimedOut)));
        assert!(start.elapsed() >= wait);
        assert_eq!(receiver.recv().unwrap(), 1);
        sender.send_timeout(&4, Duration::from_secs(60)).unwrap();
        assert_eq!((receiver.recv().unwrap(), receiver.recv().unwrap()), (2, 4));
    });
}

#[test]
fn an_empty_queue_gives_nothing() {
    all_four_ways(|sender, receiver| {
        let (start, wait) = (Instant::now(), Duration::from_millis(5));
        assert!(matches!(receiver.recv_timeout(wait), Err(Error::TimedOut)));
        assert!(start.elapsed() >= wait);
        sender.send(&1).unwrap();
        assert_eq!(receiver.recv_timeout(Duration::from_secs(60)).unwrap(), 1);
    });
}

#[test]
fn receivers_get_the_rest_and_then_learn_that_the_senders_are_gone() {
    all_four_ways(|sender, receiver| {
        let another = sender.clone();
        sender.send(&1).unwrap();
        drop(sender);
        another.send(&2).unwrap();
        drop(another);
        assert_eq!(receiver.iter().map(Result::unwrap).collect::<Vec<_>>(), [1, 2]);
        assert!(matches!(receiver.recv(), Err(Error::Disconnected)));
    });
}

#[test]
fn a_sender_that_waits_learns_that_the_receivers_are_gone() {
    all_four_ways(|sender, receiver| {
        sender.send(&1).unwrap();
        sender.send(&2).unwrap();
        thread::scope(|scope| {
            let waits = scope.spawn(move || sender.send(&3));
            drop(receiver);
            assert!(matches!(waits.join().unwrap(), Err(Error::Disconnected)));
        });
    });
}

#[test]
fn every_message_is_received_once_by_someone() {
    const EACH: u64 = 500;
    let (sender, receiver) = bounded::<u64>(8).unwrap();
    let senders = [sender.clone(), remote(&sender), remote(&sender)];
    let receivers = [receiver.clone(), remote(&receiver), remote(&receiver)];
    drop((sender, receiver));
    let (count, sum) = thread::scope(|scope| {
        for (n, sender) in (0..).zip(senders) {
            scope.spawn(move || {
                (n * EACH..(n + 1) * EACH).for_each(|message| sender.send(&message).unwrap());
            });
        }
        let receive = |receiver: Receiver<u64>| {
            receiver.iter().map(Result::unwrap).fold((0, 0), |(n, sum), m| (n + 1, sum + m))
        };
        let threads = receivers.map(|receiver| scope.spawn(move || receive(receiver)));
        let received = threads.map(|thread| thread.join().unwrap());
        received.into_iter().fold((0, 0), |(n, sum), (m, part)| (n + m, sum + part))
    });
    assert_eq!((count, sum), (3 * EACH, (0..3 * EACH).sum()));
}

#[test]
fn a_remote_receiver_that_goes_away_while_it_waits_is_noticed() {
    let (sender, receiver) = bounded::<u64>(1).unwrap();
    let gone = remote(&receiver);
    drop(receiver);
    let (waiting, stay) = (Barrier::new(2), Duration::from_millis(1));
    thread::scope(|scope| {
        scope.spawn(|| {
            assert!(matches!(gone.recv_timeout(stay), Err(Error::TimedOut)));
            waiting.wait();
            drop(gone);
        });
        waiting.wait();
    });
    // Fills the queue, then waits until the owner has noticed.
    let error = (0..).find_map(|n| sender.send(&n).err()).unwrap();
    assert!(matches!(error, Error::Disconnected));
}

#[test]
fn a_message_of_another_type_is_lost_alone() {
    let (sender, receiver) = bounded::<u64>(2).unwrap();
    let receiver: Receiver<(u8, u8)> = Packet::encode(&receiver).unwrap().decode().unwrap();
    sender.send(&1).unwrap();
    sender.send(&(1 << 8)).unwrap();
    assert!(matches!(receiver.recv(), Err(Error::Decode(_))));
    assert_eq!(receiver.recv().unwrap(), (0x80, 0x02), "256 in postcard's varint");
}

#[test]
fn a_message_that_no_connection_carries_is_refused_where_it_is_sent() {
    let (sender, receiver) = bounded::<Vec<ipc::SharedSlice<u8>>>(2).unwrap();
    let receiver = remote(&receiver);
    let slice = ipc::SharedSlice::<u8>::zeroed(1).unwrap();
    let error = sender.send(&vec![slice.clone(); 251]).unwrap_err();
    assert!(matches!(error, Error::TooManyEnds { ends: 251 }));
    sender.send(&vec![slice; 250]).unwrap();
    assert_eq!(receiver.recv().unwrap().len(), 250);
}

#[test]
fn a_queue_without_room_is_refused() {
    assert!(matches!(bounded::<u64>(0), Err(Error::NoCapacity)));
}

#[test]
fn an_end_travels_only_from_its_owner_and_only_in_a_message() {
    let (sender, _receiver) = bounded::<u64>(1).unwrap();
    let error = Packet::encode(&remote(&sender)).unwrap_err();
    assert_eq!(error.to_string(), "only the process that made a queue hands out its ends");
    assert!(postcard::to_stdvec(&sender).is_err());
}
