//! The generated codecs, in their own languages, against the vectors. Needs `python3` (3.9) and
//! `node` (18); `SIM_SKIP_CLIENTS=1` leaves these tests out.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

/// Runs a program in a folder of `clients/` and demands that it succeeds.
fn run(folder: &str, program: &str, arguments: &[&str]) {
    if std::env::var_os("SIM_SKIP_CLIENTS").is_some() {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients").join(folder);
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("SIM_BIN")
        .output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; SIM_SKIP_CLIENTS=1 goes without"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{out}\n{err}", output.status);
}

#[test]
fn python_passes_the_vectors() {
    run("python", "python3", &["-m", "unittest", "test_protocol"]);
}

#[test]
fn the_python_client_keeps_its_rules() {
    // Those of its tests that need no server; `sim`'s own tests run the others.
    run("python", "python3", &["-m", "unittest", "test_sim_client"]);
}

#[test]
fn typescript_passes_the_vectors() {
    run("typescript", "node", &["--test", "test/vectors.test.js"]);
}

#[test]
fn the_typescript_timeline_keeps_its_rules() {
    run("typescript", "node", &["--test", "test/timeline.test.js"]);
}

#[test]
fn the_built_javascript_is_of_the_kept_typescript() {
    run("typescript", "node", &["--test", "test/build.test.js"]);
}
