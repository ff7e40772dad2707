//! Clients in other languages: what `sim codegen` writes is what `clients/` keeps, and the TypeScript
//! client works against a real gate. Needs `node`; `SIM_SKIP_CLIENTS=1` leaves the latter out.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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

#[test]
fn the_typescript_client_works_against_a_gate() {
    if std::env::var_os("SIM_SKIP_CLIENTS").is_some() {
        return;
    }
    let folder = clients().join("typescript");
    let output =
        Command::new("node").args(["--test", "test/gate.test.js"]).env("SIM_BIN", SIM).current_dir(folder).output();
    let output = output.unwrap_or_else(|error| panic!("node: {error}; SIM_SKIP_CLIENTS=1 goes without"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
}
