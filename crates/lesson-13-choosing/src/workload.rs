//! What there is to do, and six examples.

use std::time::Duration;

use clap::ValueEnum;

/// Equal tasks that wait, then compute.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    pub name: &'static str,
    pub tasks: usize,
    /// How long a task waits for the world outside.
    pub io: Duration,
    /// How long it computes then.
    pub cpu: Duration,
    /// What it takes along to another process, in bytes.
    pub payload: usize,
    /// Whether a task may take its process down.
    pub may_crash: bool,
    /// Whether somebody looks at a window of the same program meanwhile.
    pub interface: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// Requests that wait for a database and compute a little
    WebServer,
    /// Pages that are fetched and hardly looked at
    Downloads,
    /// Pictures made smaller by a library that may crash
    ImageBatch,
    /// Pieces of a data set, each with its bytes
    MapReduce,
    /// Runs of a model that need numbers only
    Simulation,
    /// Long work while somebody looks at a window
    Interface,
}

impl Preset {
    pub fn workload(self) -> Workload {
        let (ms, us) = (Duration::from_millis, Duration::from_micros);
        let plain = Workload {
            name: "",
            tasks: 0,
            io: Duration::ZERO,
            cpu: Duration::ZERO,
            payload: 0,
            may_crash: false,
            interface: false,
        };
        match self {
            Self::WebServer => {
                Workload { name: "web server", tasks: 96, io: ms(5), cpu: us(500), ..plain }
            }
            Self::Downloads => {
                Workload { name: "downloads", tasks: 32, io: ms(30), cpu: us(200), ..plain }
            }
            Self::ImageBatch => Workload {
                name: "image batch",
                tasks: 24,
                cpu: ms(25),
                payload: 1 << 20,
                may_crash: true,
                ..plain
            },
            Self::MapReduce => Workload {
                name: "map-reduce",
                tasks: 16,
                io: ms(5),
                cpu: ms(30),
                payload: 256 << 10,
                ..plain
            },
            Self::Simulation => Workload { name: "simulation", tasks: 8, cpu: ms(60), ..plain },
            Self::Interface => {
                Workload { name: "interface", tasks: 2, cpu: ms(200), interface: true, ..plain }
            }
        }
    }
}
