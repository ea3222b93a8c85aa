//! wrk, a load that others have written, where it is found.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::Command;

/// Asks for a second, with so many connections. One line: what wrk says, or why it says nothing.
pub fn measure(server: SocketAddr, below: u64, connections: usize) -> String {
    let wrk = Command::new("wrk")
        .args(["--threads", "1", "--duration", "1s", "--latency"])
        .args(["--connections", &connections.to_string()])
        .arg(format!("http://{server}/{below}"))
        .output();
    match wrk {
        Err(error) if error.kind() == ErrorKind::NotFound => "not found, left out".into(),
        Err(error) => format!("does not run: {error}"),
        Ok(ended) => figures(&String::from_utf8_lossy(&ended.stdout))
            .unwrap_or_else(|| format!("{}, and no figures", ended.status)),
    }
}

/// Its report has a line for each: `    50%    5.53ms`, `Requests/sec:   1817.41`.
fn figures(report: &str) -> Option<String> {
    let figure = |name: &str| {
        report.lines().find_map(|line| Some(line.trim().strip_prefix(name)?.trim().to_owned()))
    };
    let [rate, p50, p99] = ["Requests/sec:", "50%", "99%"].map(figure);
    Some(format!("{} requests/s, p50 {}, p99 {}", rate?, p50?, p99?))
}
