use clap::ValueEnum;

/// Where the work is, beside the event loop.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Design {
    /// In the loop: no frame before the answer
    Loop,
    /// In a thread under the GIL, which is asked for the lock
    Thread,
    /// In a thread whose native call keeps the lock
    KeepsLock,
    /// In a thread whose native call gives the lock up
    GivesLock,
    /// In a process
    Process,
    /// In the loop, cut into slices between the frames
    Slices,
}

impl Design {
    pub fn all() -> impl Iterator<Item = Design> {
        Design::value_variants().iter().copied()
    }

    /// As `--watch` takes it.
    pub fn name(self) -> String {
        let value = self.to_possible_value().expect("no design is hidden");
        value.get_name().to_owned()
    }

    pub fn words(self) -> &'static str {
        match self {
            Design::Loop => "in the loop",
            Design::Thread => "a thread under the GIL",
            Design::KeepsLock => "native, keeps the lock",
            Design::GivesLock => "native, gives it up",
            Design::Process => "a process",
            Design::Slices => "in the loop, in slices",
        }
    }
}
