//! What waits in the parent: plain state under the lock of the pool.

use std::collections::VecDeque;

use crate::job::Job;

/// Urgent jobs, and behind them the others, each in the order in which they came.
#[derive(Default)]
pub(crate) struct Queue {
    urgent: VecDeque<Job>,
    others: VecDeque<Job>,
    /// Cancelled tasks that still have their places. They are taken out when more than half of the
    /// places are theirs: to cancel costs the same however many wait, and the queue is never
    /// longer than twice what waits.
    cancelled: usize,
}

impl Queue {
    /// Tasks and chunks that wait.
    pub(crate) fn len(&self) -> usize {
        (self.urgent.len() + self.others.len()).saturating_sub(self.cancelled)
    }

    /// Nothing is here, not even something cancelled.
    pub(crate) fn is_empty(&self) -> bool {
        self.front().is_none()
    }

    pub(crate) fn front(&self) -> Option<&Job> {
        self.urgent.front().or_else(|| self.others.front())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Job> {
        self.urgent.iter().chain(&self.others)
    }

    pub(crate) fn push_back(&mut self, job: Job) {
        self.of(&job).push_back(job);
    }

    /// In front of all others; unless it has ended, since it could not be sent.
    pub(crate) fn push_front(&mut self, job: Job) {
        if !job.is_over() {
            self.of(&job).push_front(job);
        }
    }

    fn of(&mut self, job: &Job) -> &mut VecDeque<Job> {
        if job.is_urgent() { &mut self.urgent } else { &mut self.others }
    }

    /// The first job, marked as sent; none when it was cancelled.
    pub(crate) fn pop(&mut self) -> Option<Job> {
        let job = self.urgent.pop_front().or_else(|| self.others.pop_front())?;
        if job.begin() {
            return Some(job);
        }
        // One that could not be sent, and was taken back at that moment, was not counted.
        let counted = usize::from(matches!(job, Job::Task(_)));
        self.cancelled = self.cancelled.saturating_sub(counted);
        None
    }

    /// One of the tasks here was cancelled.
    pub(crate) fn task_cancelled(&mut self) {
        self.cancelled += 1;
        if self.cancelled > self.len() {
            self.retain(|job| !job.is_over());
            self.cancelled = 0;
        }
    }

    /// Takes the chunks out that were cancelled.
    pub(crate) fn chunks_cancelled(&mut self) {
        self.retain(|job| !job.is_cancelled_chunk());
    }

    fn retain(&mut self, stays: impl Fn(&Job) -> bool) {
        for jobs in [&mut self.urgent, &mut self.others] {
            jobs.retain(&stays);
            jobs.shrink_to(2 * jobs.len());
        }
    }

    /// Takes everything out that waits, marked as sent.
    pub(crate) fn drain(&mut self) -> Vec<Job> {
        self.cancelled = 0;
        let jobs = self.urgent.drain(..).chain(self.others.drain(..));
        jobs.filter(Job::begin).collect()
    }
}
