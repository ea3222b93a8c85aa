//! A framed, two-way connection between two processes.
//!
//! Each direction is a socket, and a ring in memory that the two processes share. A short message
//! goes into the ring when it has room, a long one, or one with open handles, through the socket;
//! frames in both say what came before them, so the order stays. The socket also rings the bell
//! for a reader that sleeps, and its end of file says that the other process is gone: what that
//! one wrote before is still received, from the socket and from the ring.

use std::sync::Arc;
use std::time::Duration;

use crate::os::Socket;
use crate::{Error, Packet, RecvHalf, SendHalf, Waitable};

/// The largest message, in bytes. A corrupt length must not make the reader wait for the rest
/// of four gigabytes.
pub const MAX_MESSAGE: usize = 1 << 30;

/// The most handles in one message: what Linux carries at once (SCM_MAX_FD) fits.
const MAX_HANDLES: u8 = 250;

/// A framed, two-way connection between two processes.
///
/// Messages arrive in the order in which they were sent, each whole or not at all. A short message
/// to a process that is awake costs no system call. Of several channels over clones of one
/// [`Socket`], only one may send and only one receive.
#[derive(Debug)]
pub struct Channel {
    sending: SendHalf,
    receiving: RecvHalf,
}

impl Packet {
    /// Length and number of handles as the header has them.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::TooManyEnds`] for a packet that no channel takes.
    pub(crate) fn measure(&self) -> Result<(u32, u8), Error> {
        let (size, ends) = (self.bytes.len(), self.handles.len());
        let length = u32::try_from(size).ok().filter(|_| size <= MAX_MESSAGE);
        let handles = u8::try_from(ends).ok().filter(|&handles| handles <= MAX_HANDLES);
        let length = length.ok_or(Error::TooLarge { size })?;
        Ok((length, handles.ok_or(Error::TooManyEnds { ends })?))
    }
}

impl From<Socket> for Channel {
    fn from(socket: Socket) -> Self {
        let socket = Arc::new(socket);
        Self { sending: SendHalf::over(socket.clone()), receiving: RecvHalf::over(socket) }
    }
}

impl Channel {
    /// Two connected ends.
    ///
    /// # Errors
    /// [`Error::Io`] when the operating system has no more descriptors, or no such sockets.
    pub fn pair() -> Result<(Self, Self), Error> {
        let (a, b) = Socket::pair()?;
        Ok((a.into(), b.into()))
    }

    /// The connection under the frames.
    pub fn socket(&self) -> &Socket {
        self.sending.socket()
    }

    /// The two directions, for two threads. The other side sees the end when both are dropped, or
    /// the [`socket`](Self::socket) is shut down.
    pub fn split(self) -> (SendHalf, RecvHalf) {
        (self.sending, self.receiving)
    }

    /// Whether another holder of the socket could go on where this one stopped.
    pub(crate) fn is_fresh(&self) -> bool {
        self.sending.is_fresh() && self.receiving.is_fresh()
    }

    /// As [`SendHalf::send`].
    ///
    /// # Errors
    /// As there.
    pub fn send(&self, packet: &Packet) -> Result<(), Error> {
        self.sending.send(packet)
    }

    /// As [`SendHalf::send_timeout`].
    ///
    /// # Errors
    /// As there.
    pub fn send_timeout(&self, packet: &Packet, time_out: Duration) -> Result<(), Error> {
        self.sending.send_timeout(packet, time_out)
    }

    /// As [`RecvHalf::recv`].
    ///
    /// # Errors
    /// As there.
    pub fn recv(&mut self) -> Result<Packet, Error> {
        self.receiving.recv()
    }

    /// As [`RecvHalf::recv_timeout`].
    ///
    /// # Errors
    /// As there.
    pub fn recv_timeout(&mut self, time_out: Duration) -> Result<Packet, Error> {
        self.receiving.recv_timeout(time_out)
    }
}

impl Waitable for Channel {
    fn receiving(&mut self) -> &mut RecvHalf {
        &mut self.receiving
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::atomic::Ordering::Relaxed;
    use std::thread;
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::frame::HEADER;
    use crate::{SharedSlice, ring};

    const SOON: Duration = Duration::from_millis(1);

    /// A channel that receives `bytes` and then the end.
    fn receiving(bytes: &[u8]) -> Channel {
        let (writer, reader) = Socket::pair().unwrap();
        writer.send(&[bytes], &[], true).unwrap();
        reader.into()
    }

    fn frame(message: &str) -> Vec<u8> {
        let (sender, receiver) = Channel::pair().unwrap();
        sender.send(&Packet::encode(message).unwrap()).unwrap();
        let mut bytes = vec![0; 1000];
        let got = receiver.socket().receive(&mut bytes, &mut VecDeque::new()).unwrap();
        bytes.truncate(got);
        bytes
    }

    fn packet(size: usize) -> Packet {
        Packet { bytes: vec![7; size], handles: Vec::new() }
    }

    /// Two ends that have talked enough to have rings, of `room` bytes each.
    fn with_rings(room: usize) -> (Channel, Channel) {
        let (mut a, mut b) = Channel::pair().unwrap();
        let settle = |from: &mut Channel, to: &mut Channel| {
            from.sending.room = room;
            (0..20).for_each(|_| from.send(&packet(1)).unwrap());
            (0..20).for_each(|_| drop(to.recv().unwrap()));
        };
        settle(&mut a, &mut b);
        settle(&mut b, &mut a);
        (a, b)
    }

    #[test]
    fn a_frame_cut_short_anywhere_is_truncated() {
        let whole = frame("a message");
        for cut in 1..whole.len() {
            let error = receiving(&whole[..cut]).recv().unwrap_err();
            assert!(matches!(error, Error::Truncated { got } if got == cut), "{cut}: {error}");
        }
        assert!(matches!(receiving(&[]).recv(), Err(Error::Disconnected)));
    }

    #[test]
    fn frames_that_arrive_together_come_out_one_by_one() {
        let mut channel = receiving(&[frame("one"), frame("two")].concat());
        for expected in ["one", "two"] {
            assert_eq!(channel.recv().unwrap().decode::<String>().unwrap(), expected);
        }
        assert!(matches!(channel.recv(), Err(Error::Disconnected)));
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_it_is_waited_for() {
        let error = receiving(&[&[1][..], &[0xff; HEADER - 1]].concat()).recv().unwrap_err();
        assert!(matches!(error, Error::TooLarge { size: 0xffff_ffff }), "{error}");
    }

    #[test]
    fn a_time_out_inside_a_frame_loses_nothing() {
        let (writer, reader) = Socket::pair().unwrap();
        let (first, second) = (frame("a message"), frame("another"));
        let mut channel = Channel::from(reader);
        writer.send(&[&first[..7]], &[], true).unwrap();
        assert!(matches!(channel.recv_timeout(SOON), Err(Error::TimedOut)));
        writer.send(&[&first[7..], &second], &[], true).unwrap();
        for expected in ["a message", "another"] {
            assert_eq!(channel.recv().unwrap().decode::<String>().unwrap(), expected);
        }
    }

    #[test]
    fn a_message_whose_time_ran_out_never_arrives() {
        let (sender, mut receiver) = with_rings(4096);
        let long = packet(10 << 20);
        let begun = Instant::now();
        for _ in 0..2 {
            let sent = sender.sending.send_timeout(&long, SOON);
            assert!(matches!(sent, Err(Error::TimedOut)));
        }
        assert!(begun.elapsed() >= 2 * SOON);
        assert!(matches!(receiver.recv_timeout(SOON), Err(Error::TimedOut)));
        thread::scope(|scope| {
            scope.spawn(|| sender.send(&Packet::encode("the next").unwrap()).unwrap());
            assert_eq!(receiver.recv().unwrap().decode::<String>().unwrap(), "the next");
        });
    }

    /// What a sleeping reader is told, and what it finds out itself.
    #[test]
    fn a_short_message_to_one_that_is_awake_leaves_the_socket_alone() {
        let (sender, mut receiver) = with_rings(4096);
        assert!(receiver.receiving.try_recv().unwrap().is_none());
        for _ in 0..3 {
            sender.send(&packet(9)).unwrap();
        }
        let now = Instant::now();
        assert!(!receiver.socket().wait_readable(now).unwrap(), "no bell");
        for _ in 0..3 {
            assert_eq!(receiver.receiving.try_recv().unwrap().unwrap().bytes, [7; 9]);
        }
        assert!(matches!(receiver.recv_timeout(SOON), Err(Error::TimedOut)));
    }

    #[test]
    fn messages_keep_their_order_whichever_way_they_take() {
        let (sender, mut receiver) = with_rings(1024);
        let memory = SharedSlice::<u8>::zeroed(1).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..3000_u32 {
                    // Short, long, and with a handle.
                    let packet = match n % 5 {
                        0 => Packet::encode(&(n, vec![0_u64; 200])),
                        1 => Packet::encode(&(n, &memory)),
                        _ => Packet::encode(&n),
                    };
                    sender.send(&packet.unwrap()).unwrap();
                }
            });
            for n in 0..3000 {
                let (received, _) = receiver.recv().unwrap().split_first::<u32>().unwrap();
                assert_eq!(received, n);
            }
        });
    }

    #[test]
    fn what_was_sent_before_the_end_is_received_after_it() {
        let (sender, mut receiver) = with_rings(4096);
        // More than the ring has room for.
        for n in 0..200_u32 {
            sender.send(&Packet::encode(&[n; 10]).unwrap()).unwrap();
        }
        drop(sender);
        for n in 0..200_u32 {
            assert_eq!(receiver.recv().unwrap().decode::<[u32; 10]>().unwrap(), [n; 10]);
        }
        assert!(matches!(receiver.recv(), Err(Error::Disconnected)));
        assert!(matches!(receiver.recv(), Err(Error::Disconnected)));
    }

    #[test]
    fn a_reader_that_left_is_noticed_at_the_next_short_message() {
        let (sender, receiver) = with_rings(4096);
        drop(receiver);
        for _ in 0..2 {
            assert!(matches!(sender.send(&packet(1)), Err(Error::Disconnected)));
        }
    }

    #[test]
    fn shutting_down_wakes_both_directions() {
        let (a, b) = with_rings(4096);
        let stop = a.socket().try_clone().unwrap();
        let (sending, mut receiving) = a.split();
        thread::scope(|scope| {
            // One waits for a reader that does not read, one for a message that does not come.
            let sends = scope.spawn(move || (0..).find_map(|_| sending.send(&packet(1)).err()));
            let receives = scope.spawn(move || receiving.recv());
            stop.shut_down();
            assert!(matches!(sends.join().unwrap(), Some(Error::Disconnected)));
            assert!(matches!(receives.join().unwrap(), Err(Error::Disconnected)));
        });
        drop(b);
    }

    /// Whoever else holds the other end: a child that was forked, say.
    #[test]
    fn what_had_arrived_is_received_after_this_side_has_shut_down() {
        let (sender, mut receiver) = with_rings(4096);
        let holds = sender.socket().try_clone().unwrap();
        for n in 0..200_u32 {
            // Short, through the ring while that has room; and long, through the socket.
            let words = if n % 5 == 0 { 200 } else { 10 };
            sender.send(&Packet::encode(&vec![n; words]).unwrap()).unwrap();
        }
        drop(sender);
        receiver.socket().shut_down();
        for n in 0..200_u32 {
            let words = if n % 5 == 0 { 200 } else { 10 };
            assert_eq!(receiver.recv().unwrap().decode::<Vec<u32>>().unwrap(), vec![n; words]);
        }
        assert!(matches!(receiver.recv(), Err(Error::Disconnected)));
        drop(holds);
    }

    /// Rings that are full and empty all the time, readers and writers that sleep and wake.
    #[test]
    fn a_million_messages_of_any_size_arrive_in_order() {
        for (room, count) in [(256, 200_000), (4096, 400_000), (64 << 10, 400_000)] {
            let (mut sender, mut receiver) = Channel::pair().unwrap();
            sender.sending.room = room;
            // The same numbers on both sides: sizes, and what is in the messages.
            let sizes = |mut seed: u64| {
                std::iter::from_fn(move || {
                    seed ^= seed << 13;
                    seed ^= seed >> 7;
                    seed ^= seed << 17;
                    Some((seed, (seed >> 32) as usize % (room / 7)))
                })
                .take(count)
            };
            thread::scope(|scope| {
                scope.spawn(move || {
                    for (seed, size) in sizes(1) {
                        let [.., byte] = seed.to_be_bytes();
                        let bytes = vec![byte; size];
                        sender.send(&Packet { bytes, handles: Vec::new() }).unwrap();
                    }
                });
                for (seed, size) in sizes(1) {
                    let [.., byte] = seed.to_be_bytes();
                    let packet = receiver.recv().unwrap();
                    let bytes = packet.bytes();
                    assert!(bytes.len() == size && bytes.iter().all(|&b| b == byte));
                }
                assert!(matches!(receiver.recv(), Err(Error::Disconnected)));
            });
        }
    }

    proptest! {
        /// No panic, no wait for bytes that never come, no memory for lengths that lie.
        #[test]
        fn any_bytes_end_in_messages_and_one_error(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200),
            kind in 0_u8..4,
        ) {
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            let mut channel = receiving(&bytes);
            while let Ok(packet) = channel.recv() {
                let _ = packet.decode::<(String, Vec<u64>, Option<bool>)>();
            }
        }

        /// The same for what a reader finds in its ring, wherever its counters stand.
        #[test]
        fn any_words_in_a_ring_end_in_messages_and_one_error(
            words in prop::collection::vec((0_usize..48 + 16, any::<u64>()), 0..20),
            small in any::<bool>(),
        ) {
            let (sender, receiver) = Socket::pair().unwrap();
            let (sender, mut receiver) = (Channel::from(sender), Channel::from(receiver));
            let memory = ring::memory(128).unwrap();
            receiver.receiving.ring = Some(ring::Reader::over(memory.clone()).unwrap());
            for (at, mut word) in words {
                if small {
                    word %= 20;
                }
                memory.cells()[at].store(word, Relaxed);
            }
            drop(sender);
            let mut messages = 0;
            while let Ok(packet) = receiver.recv() {
                messages += 1;
                prop_assert!(packet.bytes.len() <= 128);
            }
            prop_assert!(messages <= 16);
        }

        /// And for what a writer finds.
        #[test]
        fn any_counters_in_a_ring_end_in_messages_or_an_error(
            words in prop::collection::vec((0_usize..48, any::<u64>()), 0..20),
            small in any::<bool>(),
        ) {
            let memory = ring::memory(128).unwrap();
            let mut writer = ring::Writer::over(memory.clone()).unwrap();
            for (at, mut word) in words {
                if small {
                    word %= 20;
                }
                memory.cells()[at].store(word, Relaxed);
                let _ = writer.push(0, &[1; 9]);
                let _ = writer.reader_sleeps();
            }
        }
    }

    #[test]
    fn impossible_counters_name_themselves() {
        let memory = ring::memory(128).unwrap();
        let mut writer = ring::Writer::over(memory.clone()).unwrap();
        let mut reader = ring::Reader::over(memory.clone()).unwrap();
        memory.cells().iter().for_each(|cell| cell.store(1 << 40, Relaxed));
        assert!(matches!(reader.pop(0), Err(Error::Corrupt(_))));
        let pushed = (0..17).find_map(|_| writer.push(0, &[]).err());
        assert!(matches!(pushed, Some(Error::Corrupt(_))));
        assert!(ring::Writer::over(SharedSlice::zeroed(60).unwrap()).is_err());
    }
}
