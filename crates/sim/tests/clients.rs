//! Clients in other languages: what `sim codegen` writes is what `clients/` keeps, and the clients
//! work against real servers. Needs `node` (18) and `python3` (3.9); `SIM_SKIP_CLIENTS=1` leaves the
//! latter out.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use im_e2e::binaries::Binary;

const SIM: &str = env!("CARGO_BIN_EXE_sim");

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients")
}

#[test]
fn codegen_writes_what_is_kept() {
    for (lang, kept) in [("python", "python/sim_protocol.py"), ("typescript", "typescript/src/protocol.ts")] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("new");
        let written =
            Command::new(SIM).args(["codegen", "--json", "--lang", lang, "--out"]).arg(&out).output().unwrap();
        assert!(written.status.success(), "{written:?}");
        let kept = clients().join(kept);
        let path = out.join(kept.file_name().unwrap());
        let told: serde_json::Value = serde_json::from_slice(&written.stdout).unwrap();
        assert_eq!(Path::new(told["wrote"].as_str().unwrap()), path);
        assert_eq!(fs::read_to_string(path).unwrap(), fs::read_to_string(kept).unwrap());
    }
}

/// Runs a client's own tests against this build, and demands that they succeed.
fn run(folder: &str, program: &str, arguments: &[&str]) {
    if std::env::var_os("SIM_SKIP_CLIENTS").is_some() {
        return;
    }
    let mut command = Command::new(program);
    command.args(arguments).current_dir(clients().join(folder)).env("SIM_BIN", SIM);
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; SIM_SKIP_CLIENTS=1 goes without"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{out}\n{err}", output.status);
}

/// Runs one class of the Python client's tests.
fn python(class: &str) {
    run("python", "python3", &["-m", "unittest", &format!("test_sim_client.{class}")]);
}

#[test]
fn the_typescript_client_works_against_a_gate() {
    run("typescript", "node", &["--test", "test/gate.test.js"]);
}

#[test]
fn the_python_client_talks_in_every_codec() {
    python("Talk");
}

#[test]
fn the_python_client_works_from_the_command_line() {
    python("Commands");
}

#[test]
fn the_python_client_loses_and_doubles_nothing() {
    python("Faults");
}

#[test]
fn the_python_client_is_let_in_kicked_and_refused() {
    python("Doors");
}

#[test]
fn the_python_client_encrypts_is_redirected_and_limited() {
    if std::env::var_os("SIM_SKIP_CLIENTS").is_some() {
        return;
    }
    // The tiers' binaries, which these tests start beside `sim`.
    let beside = Path::new(SIM).parent().unwrap();
    for binary in Binary::ALL {
        assert_eq!(binary.path(), beside.join(binary.name()));
    }
    python("Tiers");
}
