//! The pages show what the sources and the snapshots say. `just bless` makes them equal again.

#[test]
fn every_page_is_equal_to_what_it_shows() {
    let problems = xtask::pages::check(xtask::root());
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}
