//! `sim-gate`: one gate.

use std::process::ExitCode;

use im_runtime::Tier;

fn main() -> ExitCode {
    let tier = Tier {
        name: "sim-gate",
        about: "Holds client connections and brings their requests to a route",
        version: env!("CARGO_PKG_VERSION"),
        known_sections: &["gate", "route", "im-service"],
    };
    tier.run(gate::server::serve)
}
