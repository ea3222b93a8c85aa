//! The articles' workloads, with known answers, and what it takes to watch them.
//!
//! Nothing here knows a concurrency model: a lesson picks the model, the work stays the same.
//!
//! - [`cpu`]: sums that keep a processor busy, and the formulas that check them.
//! - [`measure`]: a stopwatch for wall time and processor time, and a table of measurements.
//! - [`grouped`]: `4 999 999 950 000 000`, a number that a person can read.
//!
//! Both halves of the I/O task are features, so that a lesson that fetches nothing compiles
//! neither HTTP nor TLS:
//!
//! - `fetch`: an HTTP or HTTPS GET with time-outs, whose failures are one line each.
//! - `web`: the local web server, which answers after a delay and counts its requests.

pub mod cpu;
#[cfg(feature = "fetch")]
pub mod fetch;
pub mod measure;
#[cfg(feature = "web")]
pub mod web;

/// The number in groups of three digits: `4 999 999 950 000 000`.
pub fn grouped(n: u128) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_in_groups_of_three() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1 000");
        assert_eq!(grouped(100_000), "100 000");
        assert_eq!(grouped(4_999_999_950_000_000), "4 999 999 950 000 000");
        let most = "340 282 366 920 938 463 463 374 607 431 768 211 455";
        assert_eq!(grouped(u128::MAX), most);
    }
}
