#![allow(clippy::unwrap_used, reason = "a test fails with a bare panic")]

mod ends;
mod floods;
mod forks;
mod hangs;
mod harness;
mod kills;
mod parents;
mod poisons;
mod races;
mod sizes;
mod stalls;
mod work;

pub fn main() {
    process_pool::serve::<((work::Work, work::Share), (work::Bulk, hangs::Put), forks::Fork)>();
    parents::main();
    let trials = [
        kills::trials(),
        stalls::trials(),
        floods::trials(),
        poisons::trials(),
        races::trials(),
        ends::trials(),
        sizes::trials(),
        parents::trials(),
        hangs::trials(),
        forks::trials(),
    ];
    harness::run(trials.into_iter().flatten().collect());
}
