use std::time::Duration;

/// What a pool has done so far, at one moment.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Metrics {
    /// Tasks and chunks that wait in this process.
    pub queued: usize,
    /// Messages (tasks or chunks) that workers have and have not answered.
    pub under_way: usize,
    /// Workers that died, by themselves or for a time-out, and were replaced.
    pub replaced: usize,
    /// Processes that ended as they were told to: after as many tasks as one may run, for want of
    /// work, or because the pool became smaller.
    pub retired: usize,
    /// The time that `submit` took to encode tasks, estimated from every sixteenth.
    pub encoding: Duration,
    /// By worker; those too that the pool had before it became smaller.
    pub workers: Vec<WorkerMetrics>,
}

/// What a worker, and those that it replaced, have done so far.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct WorkerMetrics {
    /// Its process; none while it is replaced, or has ended for want of work, or for good.
    pub pid: Option<u32>,
    /// Tasks that it has answered.
    pub tasks: u64,
    /// Bytes of tasks sent to it.
    pub sent: u64,
    /// Bytes of its answers.
    pub received: u64,
    /// How long it has had work and said nothing: since its last answer, or since it got work.
    /// None while it idles. In one that hangs it grows.
    pub silent: Option<Duration>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) tasks: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Tasks sent to the present process.
    pub(crate) since_start: u64,
}
