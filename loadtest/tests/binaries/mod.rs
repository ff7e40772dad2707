//! The tiers' binaries, built with the tests' own profile into the tests' own target folder. Cargo
//! knows whether there is anything to do, and its lock makes tests that start together wait for one
//! build. `SIM_E2E_BINARIES=DIR` takes them from there instead, as the end-to-end tests do.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Packages with a binary that the tool starts.
const PACKAGES: [&str; 4] = ["gate", "route", "im-service", "sim"];

/// The folder that has all of them, and `sim-loadtest`.
pub(crate) fn folder() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build)
}

fn build() -> PathBuf {
    if let Some(given) = std::env::var_os("SIM_E2E_BINARIES") {
        return given.into();
    }
    let tool = Path::new(env!("CARGO_BIN_EXE_sim-loadtest"));
    let dir = tool.parent().expect("cargo puts binaries into a folder");
    let profile = match dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["build", "--quiet", "--bins", "--profile", profile])
        .args(PACKAGES.iter().flat_map(|package| ["-p", package]));
    if let Some(target) = dir.parent() {
        cargo.arg("--target-dir").arg(target);
    }
    let status = cargo.status().expect("cargo, which built this test, can be run");
    assert!(status.success(), "the tiers' binaries do not build: {cargo:?}");
    dir.to_owned()
}
