//! A tier as a real process: exit codes, output, signals.
//!
//! The process is this test binary itself: the "test" [`child`] runs a tier when the variable
//! [`CHILD`] holds its arguments, and does nothing otherwise.
#![allow(clippy::unwrap_used)]

use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use im_runtime::{Context, Tier, settings::Environment};

const CHILD: &str = "IM_RUNTIME_TEST_CHILD";
const SOON: Duration = Duration::from_secs(20);

im_runtime::settings! {
    /// Settings of the kiln.
    struct Kiln("kiln") {
        /// What it does: wait, return, fail, panic, or linger after it was told to stop.
        mode: String = "wait",
    }
}

const TIER: Tier = Tier { name: "sim-kiln", about: "Fires pots.", version: "1.2.3", known_sections: &["kiln"] };

async fn fire(kiln: Kiln, context: Context) -> anyhow::Result<()> {
    let mut reload = context.signals.reload();
    let mut diagnostics = context.signals.diagnostics();
    let lingers = kiln.mode == "linger";
    let begun = context.shutdown.begun();
    context.shutdown.spawn(async move {
        tokio::pin!(begun);
        loop {
            tokio::select! {
                () = reload.next() => eprintln!("kiln: reload"),
                () = diagnostics.next() => {
                    tracing::debug!("burning");
                    eprintln!("kiln: diagnostics");
                }
                () = &mut begun => break,
            }
        }
        if lingers {
            std::future::pending::<()>().await;
        }
    });
    eprintln!("kiln: up");
    match kiln.mode.as_str() {
        "return" => return Ok(()),
        "fail" => anyhow::bail!("the chimney is blocked"),
        "panic" => {
            context.shutdown.spawn_vital("fire", async { panic!("on purpose") });
        }
        _ => {}
    }
    context.shutdown.begun().await;
    Ok(())
}

#[test]
fn child() {
    let Some(arguments) = std::env::var_os(CHILD) else { return };
    let arguments = arguments.into_string().unwrap();
    let arguments = std::iter::once(TIER.name).chain(arguments.split_whitespace());
    let code = TIER.run_from(arguments.map(OsString::from), &Environment::of_process(), fire);
    std::process::exit(code.into());
}

/// A running child and the lines of its stderr as they come. Killed on drop.
struct Kilned {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Drop for Kilned {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(arguments: &str, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child", "--nocapture", "--quiet"])
        .env(CHILD, arguments)
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs to the end: code, stdout, stderr.
fn run(arguments: &str, environment: &[(&str, &str)]) -> (i32, String, String) {
    let output = command(arguments, environment).output().unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

impl Kilned {
    fn start(arguments: &str) -> Self {
        let mut child = command(arguments, &[]).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        // Holds the few dozen lines that a child writes.
        let (sender, lines) = mpsc::sync_channel(1024);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut kiln = Self { child, lines, seen: Vec::new() };
        kiln.wait_for("kiln: up");
        kiln
    }

    fn wait_for(&mut self, wanted: &str) {
        loop {
            match self.lines.recv_timeout(SOON) {
                Ok(line) => {
                    let found = line.contains(wanted);
                    self.seen.push(line);
                    if found {
                        return;
                    }
                }
                Err(error) => panic!("{error} while waiting for {wanted:?}: {:#?}", self.seen),
            }
        }
    }

    fn heard_burning(&self) -> bool {
        self.seen.iter().any(|line| line.contains("burning"))
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// The code, once stderr has ended.
    fn code(mut self) -> i32 {
        while let Ok(line) = self.lines.recv_timeout(SOON) {
            self.seen.push(line);
        }
        let mut rest = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
        self.child.wait().unwrap().code().unwrap()
    }
}

#[test]
fn wrong_settings_end_with_64_and_all_problems_before_anything_starts() {
    let environment = [("SIM_KILN_MODUS", "x"), ("SIM_RUNTIME_DRAIN_DEADLINE", "soon")];
    let (code, _, stderr) = run("--log-format xml", &environment);
    assert_eq!(code, 64);
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(
        lines,
        [
            "sim-kiln: environment SIM_KILN_MODUS: no such setting; did you mean SIM_KILN_MODE?",
            "sim-kiln: flag --log-format: [runtime] log_format: \"xml\" is not one of text json",
            "sim-kiln: environment SIM_RUNTIME_DRAIN_DEADLINE: [runtime] drain_deadline: \"soon\" \
             is not a duration such as 500ms, 30s, 5m, 12h or 7d",
        ]
    );
}

#[test]
fn unknown_flags_end_with_64_and_help_with_0() {
    assert_eq!(run("--mood good", &[]).0, 64);
    let (code, stdout, _) = run("--help", &[]);
    assert_eq!(code, 0);
    assert!(stdout.contains("--drain-deadline <VALUE>"), "{stdout}");
    assert!(run("--version", &[]).1.contains("sim-kiln 1.2.3"));
}

#[test]
fn print_config_prints_a_file_that_can_be_given_back() {
    let (code, stdout, _) = run("--print-config --mode return", &[]);
    assert_eq!(code, 0);
    // The test harness writes a line of its own in front.
    let printed = &stdout[stdout.find("# Settings of sim-kiln").unwrap()..];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kiln.toml");
    std::fs::write(&path, printed).unwrap();
    let (code, again, stderr) = run(&format!("--print-config --config {}", path.display()), &[]);
    assert_eq!(code, 0, "{stderr}");
    assert!(again.contains("mode = \"return\""), "{again}");
}

#[test]
fn a_tier_that_ends_by_itself_or_fails_ends_with_1() {
    for (mode, told) in [
        ("return", "the tier ended by itself"),
        ("fail", "the chimney is blocked"),
        ("panic", "a task that must not end has ended"),
    ] {
        let (code, _, stderr) = run(&format!("--mode {mode}"), &[]);
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.contains(told), "{mode}: {stderr}");
    }
}

#[test]
fn a_signal_drains_and_ends_with_0() {
    for signal in ["TERM", "INT", "QUIT"] {
        let mut kiln = Kilned::start("");
        assert!(kiln.seen.iter().any(|line| line.contains("starting name=\"sim-kiln\"")));
        kiln.signal(signal);
        kiln.wait_for(": draining;");
        kiln.wait_for(": drained");
        assert_eq!(kiln.code(), 0);
    }
}

#[test]
fn a_drain_that_takes_too_long_ends_with_1() {
    let mut kiln = Kilned::start("--mode linger --drain-deadline 50ms");
    kiln.signal("TERM");
    kiln.wait_for("drain deadline passed, tasks are left left=1");
    assert_eq!(kiln.code(), 1);
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut kiln = Kilned::start("--mode linger --drain-deadline 1h");
    kiln.signal("TERM");
    kiln.wait_for(": draining;");
    kiln.signal("INT");
    kiln.wait_for("second signal");
    assert_eq!(kiln.code(), 1);
}

#[test]
fn reload_and_diagnostics_reach_their_subscribers() {
    let mut kiln = Kilned::start("");
    kiln.signal("HUP");
    kiln.wait_for("kiln: reload");
    kiln.signal("USR1");
    kiln.wait_for("kiln: diagnostics");
    kiln.signal("HUP");
    kiln.wait_for("kiln: reload");
}

#[test]
fn a_reload_changes_the_log_filter_unless_a_flag_holds_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kiln.toml");
    for (flag, heard) in [("", true), ("--log info", false)] {
        std::fs::write(&path, "[runtime]\nlog = \"info\"\n").unwrap();
        let mut kiln = Kilned::start(&format!("--config {} {flag}", path.display()));
        kiln.signal("USR1");
        kiln.wait_for("kiln: diagnostics");
        assert!(!kiln.heard_burning());
        std::fs::write(&path, "[runtime]\nlog = \"debug\"\n").unwrap();
        kiln.signal("HUP");
        kiln.wait_for("settings read again");
        kiln.signal("USR1");
        kiln.wait_for("kiln: diagnostics");
        assert_eq!(kiln.heard_burning(), heard, "{:#?}", kiln.seen);
        // A file that has become wrong is complained about and changes nothing.
        std::fs::write(&path, "[runtime]\nlog = 5\n").unwrap();
        kiln.signal("HUP");
        kiln.wait_for("settings not reloaded");
    }
}
