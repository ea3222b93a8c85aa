//! A whole runtime: a queue of tasks that can go on, and for each task a waker that puts it
//! there. What tokio adds is the world: clocks, sockets, threads for blocking calls.

use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::task::{Context, Poll, Wake, Waker};

/// A future without a name: it runs for its effect.
pub type Task<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Polls the tasks on this thread, in the order in which they were woken, until all have ended.
/// At the start each is woken once, the first one first.
///
/// A task that nobody wakes is waited for without end.
pub fn run(tasks: Vec<Task>) {
    let (queue, woken) = mpsc::channel();
    let mut left = tasks.len();
    let mut tasks: Vec<_> = (0..)
        .zip(tasks)
        .map(|(number, task)| {
            let waker = Waker::from(Arc::new(Ticket { number, queue: queue.clone() }));
            waker.wake_by_ref();
            (waker, Some(task))
        })
        .collect();
    while left > 0 {
        let number: usize = woken.recv().expect("this function has a sender itself");
        let (waker, task) = &mut tasks[number];
        // No clock here and no check points: until `poll` comes back, nobody else runs.
        let polled =
            task.as_mut().map(|task| task.as_mut().poll(&mut Context::from_waker(waker)));
        if let Some(Poll::Ready(())) = polled {
            *task = None;
            left -= 1;
        }
    }
}

/// The way back into the queue.
struct Ticket {
    number: usize,
    queue: Sender<usize>,
}

impl Wake for Ticket {
    fn wake(self: Arc<Self>) {
        // An end of the queue that is gone has no task left to wake.
        let _ = self.queue.send(self.number);
    }
}

/// Goes to the end of the queue. tokio's function of this name promises no order.
pub async fn yield_now() {
    let mut was_here = false;
    poll_fn(|context| {
        if mem::replace(&mut was_here, true) {
            return Poll::Ready(());
        }
        // Without this line the task would never be polled again.
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
