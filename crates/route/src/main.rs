//! `sim-route`: one route.

use std::process::ExitCode;

use im_runtime::Tier;

fn main() -> ExitCode {
    let tier = Tier {
        name: "sim-route",
        about: "The rendezvous of a region: knows who is online where, and passes requests and notifies on",
        version: env!("CARGO_PKG_VERSION"),
        known_sections: &["gate", "route", "im-service"],
    };
    tier.run(route::server::serve)
}
