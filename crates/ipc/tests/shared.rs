//! In one process: what travels through a message is mapped anew, as in another process.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails with a bare panic")]

use std::thread;

use ipc::{Error, Packet, SharedSlice};

#[test]
fn two_holders_see_the_same_memory() {
    let ours = SharedSlice::<f64>::zeroed(3).unwrap();
    let theirs: SharedSlice<f64> = Packet::encode(&ours).unwrap().decode().unwrap();
    theirs.set(1, 2.5);
    assert_eq!(ours.to_vec(), [0.0, 2.5, 0.0]);
    ours.write(&[1.0]);
    assert_eq!(theirs.get(0), 1.0);
}

#[test]
fn parts_are_disjoint_windows() {
    let all = SharedSlice::<u64>::zeroed(10).unwrap();
    thread::scope(|scope| {
        for start in [0, 5] {
            let part = all.part(start..start + 5);
            let part: SharedSlice<u64> = Packet::encode(&part).unwrap().decode().unwrap();
            scope.spawn(move || (0..part.len()).for_each(|i| part.set(i, (start + i) as u64)));
        }
    });
    assert_eq!(all.to_vec(), Vec::from_iter(0..10));
    assert_eq!(all.part(5..10).part(1..3).to_vec(), [6, 7]);
}

#[test]
fn counters_lose_no_update_and_a_word_is_claimed_once() {
    let all = SharedSlice::<u64>::zeroed(2).unwrap();
    let claims: u64 = thread::scope(|scope| {
        let threads: Vec<_> = (1..=2)
            .map(|me| {
                let all: SharedSlice<u64> = Packet::encode(&all).unwrap().decode().unwrap();
                scope.spawn(move || {
                    for _ in 0..10_000 {
                        all.fetch_add(0, 1);
                    }
                    u64::from(all.compare_exchange(1, 0, me).is_ok())
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!((all.get(0), claims), (20_000, 1));
    let winner = all.get(1);
    assert_eq!(all.compare_exchange(1, 0, 7), Err(winner));
    assert_eq!(all.swap(1, 7), winner);
}

#[test]
fn a_slice_may_be_empty_and_not_larger_than_memory() {
    assert!(SharedSlice::<u8>::zeroed(0).unwrap().is_empty());
    assert!(matches!(SharedSlice::<u64>::zeroed(usize::MAX), Err(Error::Io(_))));
}

#[test]
fn a_message_that_promises_more_than_its_memory_is_refused() {
    let small = SharedSlice::<u8>::zeroed(8).unwrap();
    let read_as_u64 = Packet::encode(&small).unwrap().decode::<SharedSlice<u64>>();
    assert!(matches!(read_as_u64, Err(Error::Decode(_))));
}
