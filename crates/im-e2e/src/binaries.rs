//! The binaries under test. They are built with the tests' own profile into the tests' own target
//! folder, once per test process; cargo knows whether there is anything to do, and its lock makes
//! test processes that start together wait for one build.
//!
//! `SIM_E2E_BINARIES=DIR` takes the binaries from there instead: release builds, what a package holds, or
//! what `scripts/test` has built with everything else, so that no test's time goes into a build.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A tier's binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binary {
    /// `sim-gate`.
    Gate,
    /// `sim-route`.
    Route,
    /// `sim-im-service`.
    ImService,
}

impl Binary {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gate, Self::Route, Self::ImService];

    /// The file's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gate => "sim-gate",
            Self::Route => "sim-route",
            Self::ImService => "sim-im-service",
        }
    }

    /// The table of the settings file, which is also the package's name.
    pub const fn section(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Route => "route",
            Self::ImService => "im-service",
        }
    }

    /// The key of the listener that answers `/readyz`.
    pub const fn admin_key(self) -> &'static str {
        match self {
            Self::Gate | Self::Route => "http_listen",
            Self::ImService => "admin_listen",
        }
    }

    /// Where the file is; built if it was not.
    ///
    /// # Panics
    /// When it cannot be built: no test can go on then.
    pub fn path(self) -> PathBuf {
        program(self.name())
    }
}

/// Packages whose programs tests of other packages run. One list, so that cargo resolves features once
/// and builds once.
const PACKAGES: [&str; 5] = ["gate", "route", "im-service", "im-servers", "sim"];

/// Where a program of this workspace is; built, with all others, if it was not. Those of the test's own
/// package are there, too: cargo has built them with the test.
///
/// # Panics
/// When it cannot be built: no test can go on then.
pub fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(build).join(name)
}

/// The folder of the profile that this test was built with, `target/debug` mostly.
pub fn profile_dir() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    // target/PROFILE/deps/TEST-HASH
    test.parent().and_then(Path::parent).expect("cargo puts tests two folders deep").to_owned()
}

fn build() -> PathBuf {
    if let Some(given) = std::env::var_os("SIM_E2E_BINARIES") {
        return given.into();
    }
    let dir = profile_dir();
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
    assert!(status.success(), "the programs under test do not build: {cargo:?}");
    dir
}
