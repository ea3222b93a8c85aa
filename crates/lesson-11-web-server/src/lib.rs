//! A web server of threads, what its threads do, and what asks it.
//!
//! - [`server`]: one thread waits for all connections, N threads answer.
//! - [`site`]: an answer is a wait and a sum, under one lock for all threads or one for each.
//! - [`load`]: clients that ask, check every answer and take its time.
//! - [`wrk`]: the same server asked by the tool that people use, where it is found.

pub mod load;
pub mod server;
pub mod site;
pub mod wrk;
