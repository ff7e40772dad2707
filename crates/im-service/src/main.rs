//! `sim-im-service`: one im-service.

use std::process::ExitCode;

use im_runtime::Tier;

fn main() -> ExitCode {
    let tier = Tier {
        name: "sim-im-service",
        about: "Keeps timelines, groups and accounts",
        version: env!("CARGO_PKG_VERSION"),
        known_sections: &["gate", "route", "im-service"],
    };
    tier.run(im_service::server::serve)
}
