//! Starts processes, starts again what has died, and stops all of them, each by its own process id.
//!
//! Every process has `NAME.pid` and `NAME.log` in the folder. They are in process groups of their own: a
//! Ctrl-C on the terminal reaches the supervisor alone, which then ends them in their order.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::probe::Ready;
use super::remove;
use crate::process::{supervised, tail, without_settings};
use crate::{LOOK_EVERY, PATIENCE};

/// Before what has died is started again: time enough to see that the others go on without it.
const RESTART_AFTER: Duration = Duration::from_secs(3);
/// The same for what dies again and again.
const RESTART_AFTER_MAX: Duration = Duration::from_secs(30);
/// Whoever ran for so long did not die of its start.
const SETTLED_AFTER: Duration = Duration::from_secs(10);
/// A signal to go may take this long; a gate asks its clients to leave first.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// What to run.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) ready: Ready,
}

/// One process and its successors.
#[derive(Debug)]
struct Watched {
    server: Server,
    stage: usize,
    child: Option<Child>,
    started: Instant,
    /// When to start it again, while it is dead.
    due: Instant,
    /// How long it waits the next time that it dies.
    delay: Duration,
}

/// All processes of a folder.
#[derive(Debug)]
pub(super) struct Supervisor {
    folder: PathBuf,
    all: Vec<Watched>,
    stage: usize,
}

impl Supervisor {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, all: Vec::new(), stage: 0 }
    }

    /// Starts one more; it belongs to those who are started before the next [`wait_ready`](Self::wait_ready).
    pub(super) fn start(&mut self, server: Server) -> anyhow::Result<()> {
        let now = Instant::now();
        let child = Some(self.spawn(&server)?);
        let stage = self.stage;
        self.all.push(Watched { server, stage, child, started: now, due: now, delay: RESTART_AFTER });
        Ok(())
    }

    /// Waits until all that were started since the last time are ready.
    pub(super) async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        let (folder, stage) = (&self.folder, self.stage);
        for watched in self.all.iter_mut().filter(|watched| watched.stage == stage) {
            let name = &watched.server.name;
            let log = folder.join(format!("{name}.log"));
            while let Err(error) = watched.server.ready.ask().await {
                if let Some(child) = &mut watched.child
                    && let Some(status) = child.try_wait()?
                {
                    bail!("{name} ended with {status}; {} ends with\n{}", log.display(), tail(&log));
                }
                if Instant::now() > until {
                    return Err(error.context(format!("{name} is not ready; its log is {}", log.display())));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        self.stage += 1;
        Ok(())
    }

    /// Starts again what dies, for ever.
    pub(super) async fn watch(&mut self) -> anyhow::Result<()> {
        loop {
            self.look()?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn look(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        for place in 0..self.all.len() {
            let watched = &mut self.all[place];
            let name = watched.server.name.clone();
            if let Some(child) = &mut watched.child {
                let Some(status) = child.try_wait()? else { continue };
                watched.child = None;
                if now.duration_since(watched.started) >= SETTLED_AFTER {
                    watched.delay = RESTART_AFTER;
                }
                println!("{name} ended ({status}); it starts again in {:?}", watched.delay);
                watched.due = now + watched.delay;
                watched.delay = (watched.delay * 2).min(RESTART_AFTER_MAX);
            } else if now >= watched.due {
                let server = watched.server.clone();
                let child = self.spawn(&server)?;
                println!("{name} runs again as process {}", child.id());
                self.all[place].child = Some(child);
                self.all[place].started = now;
            }
        }
        Ok(())
    }

    /// Asks them to end, those who came last first, and waits for each stage before it asks the next.
    pub(super) async fn stop_all(&mut self) {
        for stage in (0..=self.stage).rev() {
            for watched in self.all.iter_mut().filter(|watched| watched.stage == stage) {
                if let Some(child) = &watched.child {
                    terminate(child);
                }
            }
            let until = Instant::now() + STOP_WITHIN;
            for place in 0..self.all.len() {
                if self.all[place].stage == stage {
                    self.wait_end(place, until).await;
                }
            }
        }
    }

    async fn wait_end(&mut self, place: usize, until: Instant) {
        let Watched { server: Server { name, .. }, child, .. } = &mut self.all[place];
        if let Some(running) = child {
            // An error would be one of the system's; the process is killed then.
            while matches!(running.try_wait(), Ok(None)) && Instant::now() < until {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            if !matches!(running.try_wait(), Ok(Some(_))) {
                println!("{name} did not end within {STOP_WITHIN:?} and is killed");
            }
        }
        kill(&self.folder, &mut self.all[place]);
    }

    /// Ends all at once.
    pub(super) fn kill_all(&mut self) {
        for watched in self.all.iter_mut().rev() {
            kill(&self.folder, watched);
        }
    }

    fn spawn(&self, server: &Server) -> anyhow::Result<Child> {
        let Server { name, program, arguments, environment, .. } = server;
        let log = self.folder.join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log).with_context(|| log.display().to_string())?;
        let mut command = supervised(program);
        command.args(arguments).process_group(0);
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        without_settings(&mut command);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let child = command.spawn().with_context(|| format!("start {name} ({})", program.display()))?;
        let pid = self.folder.join(format!("{name}.pid"));
        // Somebody may read it at any moment, and must not find it empty.
        let new = self.folder.join(format!("{name}.pid.new"));
        let written = fs::write(&new, format!("{}\n", child.id())).and_then(|()| fs::rename(&new, &pid));
        written.with_context(|| format!("write {}", pid.display()))?;
        Ok(child)
    }
}

impl Drop for Supervisor {
    /// Also when the start failed half-way.
    fn drop(&mut self) {
        self.kill_all();
    }
}

fn terminate(child: &Child) {
    let told = Command::new("sh").args(["-c", &format!("kill -TERM {}", child.id())]).stderr(Stdio::null()).status();
    // It may have ended this moment; one that is still there is killed when its time is over.
    drop(told);
}

fn kill(folder: &std::path::Path, watched: &mut Watched) {
    if let Some(mut child) = watched.child.take() {
        // It may be dead already.
        drop(child.kill());
        drop(child.wait());
    }
    // The worst that a file that stays could do is to name a process that is not ours any more.
    if let Err(error) = remove(&folder.join(format!("{}.pid", watched.server.name))) {
        println!("{error:#}");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener};
    use std::path::Path;

    use super::*;

    fn sleeper(name: &str, script: &str, port: u16) -> Server {
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        let ready = Ready::Http(port, "/");
        Server { name: name.into(), program: "/bin/sh".into(), arguments, environment: Vec::new(), ready }
    }

    /// Stands for what the processes would serve.
    fn says_ready() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _request = stream.read(&mut [0; 1024]).unwrap();
                stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n").unwrap();
            }
        });
        port
    }

    fn pid(folder: &Path, name: &str) -> String {
        fs::read_to_string(folder.join(format!("{name}.pid"))).unwrap().trim().to_owned()
    }

    fn lives(pid: &str) -> bool {
        Path::new("/proc").join(pid).exists()
    }

    #[tokio::test]
    async fn what_dies_comes_back_and_what_is_stopped_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let port = says_ready();
        let mut supervisor = Supervisor::new(folder.path().to_owned());
        supervisor.start(sleeper("first", "exec sleep 1000", port)).unwrap();
        supervisor.wait_ready().await.unwrap();
        supervisor
            .start(sleeper("second", "echo ready; trap 'exit 0' TERM; while :; do sleep 0.01; done", port))
            .unwrap();
        supervisor.wait_ready().await.unwrap();

        let first = pid(folder.path(), "first");
        assert!(Command::new("sh").args(["-c", &format!("kill -9 {first}")]).status().unwrap().success());
        let deadline = Instant::now() + PATIENCE;
        while pid(folder.path(), "first") == first {
            assert!(Instant::now() < deadline, "nobody starts it again");
            supervisor.look().unwrap();
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let pids = ["first", "second"].map(|name| pid(folder.path(), name));
        assert!(pids.iter().all(|pid| lives(pid)), "{pids:?}");

        supervisor.stop_all().await;
        assert!(!pids.iter().any(|pid| lives(pid)), "{pids:?}");
        assert!(!folder.path().join("first.pid").exists());
        assert_eq!(fs::read_to_string(folder.path().join("second.log")).unwrap(), "ready\n");
    }

    #[tokio::test]
    async fn a_start_that_fails_says_what_the_log_says_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut supervisor = Supervisor::new(folder.path().to_owned());
        supervisor.start(sleeper("stays", "exec sleep 1000", closed)).unwrap();
        supervisor.start(sleeper("fails", "echo no such thing >&2; exit 3", closed)).unwrap();
        let stays = pid(folder.path(), "stays");
        supervisor.all.swap(0, 1);
        let error = supervisor.wait_ready().await.unwrap_err().to_string();
        assert!(error.contains("fails ended with exit status: 3") && error.contains("no such thing"), "{error}");
        drop(supervisor);
        assert!(!lives(&stays));
    }
}
