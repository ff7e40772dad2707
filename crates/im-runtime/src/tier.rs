//! The `main` of a tier, in order: flags, settings, logs, build line, runtime, signals, the tier's
//! own work; then wait, drain, exit.

use std::{ffi::OsString, io::Write, pin::pin, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Command;
use tokio::time::{Instant, timeout_at};

use crate::{
    Ending, Readiness, SettingsSource, Shutdown, Signals, diagnostics,
    logging::{self, LogFilter, LogFormat, LogHandle},
    metrics::{self, Metrics},
    settings::{Environment, Loaded, Loader, Sections, SettingsError},
};

/// What a process says with its last number.
pub mod exit_code {
    /// Drained and done.
    pub const OK: u8 = 0;
    /// Something failed while starting or running, or the drain did not end in time.
    pub const FAILURE: u8 = 1;
    /// The command line or the settings are wrong; nothing was started (`EX_USAGE`).
    pub const USAGE: u8 = 64;
}

crate::settings! {
    /// Settings of the process itself; every tier has them.
    pub struct RuntimeSettings("runtime") {
        /// What is logged: a level, or directives such as "info,gate=debug".
        /// SIGHUP reads it again.
        pub log: LogFilter = "info" env "SIM_LOG",
        /// Shape of the log lines on stderr: text or json.
        pub log_format: LogFormat = "text",
        /// Threads that run async work; 0 means one per processor.
        pub worker_threads: usize = "0" in 0..=1024,
        /// How long a SIGTERM may take. Keep it below what the service manager waits before it
        /// kills: nothing acked is lost then either, but clients notice.
        pub drain_deadline: Duration = "25s",
    }
}

/// What a tier is called and which tables a shared settings file may hold.
#[derive(Clone, Copy, Debug)]
pub struct Tier {
    /// The binary's name.
    pub name: &'static str,
    /// One sentence for `--help`.
    pub about: &'static str,
    /// Usually `env!("CARGO_PKG_VERSION")`.
    pub version: &'static str,
    /// All tables of all tiers; `runtime` is added.
    pub known_sections: &'static [&'static str],
}

/// What the tier's own code is given.
#[derive(Clone)]
pub struct Context {
    pub shutdown: Shutdown,
    pub readiness: Readiness,
    pub signals: Signals,
    pub metrics: Metrics,
    /// For what the tier reads again on SIGHUP.
    pub source: SettingsSource,
}

impl Tier {
    /// Runs the tier with the arguments and environment of this process.
    ///
    /// `run` binds, serves, and returns once the shutdown has begun and its own work is flushed;
    /// tasks it started through [`Shutdown::spawn`] are waited for here. Returning before the
    /// shutdown has begun counts as a failure: a server does not end by itself.
    pub fn run<S, F>(self, run: impl FnOnce(S, Context) -> F) -> ExitCode
    where
        S: Sections + Send + 'static,
        F: Future<Output = anyhow::Result<()>>,
    {
        ExitCode::from(self.run_from(std::env::args_os(), &Environment::of_process(), run))
    }

    /// As [`Self::run`], with arguments and environment passed in.
    pub fn run_from<S, F>(
        self,
        arguments: impl IntoIterator<Item = OsString>,
        environment: &Environment,
        run: impl FnOnce(S, Context) -> F,
    ) -> u8
    where
        S: Sections,
        F: Future<Output = anyhow::Result<()>>,
    {
        let loader = self.loader();
        let matches = match self.command::<S>(&loader).try_get_matches_from(arguments) {
            Ok(matches) => matches,
            Err(asked) => {
                // `--help` and `--version` come as errors too, but go to stdout and are none.
                let _ = asked.print();
                return if asked.use_stderr() { exit_code::USAGE } else { exit_code::OK };
            }
        };
        let loaded = match loader.load::<(RuntimeSettings, S)>(&matches, environment) {
            Ok(loaded) => loaded,
            Err(problems) => return self.refuse(&problems),
        };
        if loaded.print_only {
            let printed = std::io::stdout().write_all(loaded.printed.as_bytes());
            return if printed.is_ok() { exit_code::OK } else { exit_code::FAILURE };
        }
        let source = SettingsSource::new(loader, matches, environment.clone());
        match self.start(loaded, source, run) {
            Ok(code) => code,
            Err(error) => {
                // Logs may not have started; stderr always works.
                eprintln!("{}: {error:#}", self.name);
                exit_code::FAILURE
            }
        }
    }

    fn loader(&self) -> Loader {
        let mut known = self.known_sections.to_vec();
        known.push("runtime");
        Loader::new(self.name, &known)
    }

    fn command<S: Sections>(&self, loader: &Loader) -> Command {
        let command = Command::new(self.name).about(self.about).version(self.version);
        loader.arguments::<(RuntimeSettings, S)>(command)
    }

    fn refuse(&self, problems: &SettingsError) -> u8 {
        for problem in problems.problems() {
            eprintln!("{}: {problem}", self.name);
        }
        exit_code::USAGE
    }

    fn start<S, F>(
        self,
        loaded: Loaded<(RuntimeSettings, S)>,
        source: SettingsSource,
        run: impl FnOnce(S, Context) -> F,
    ) -> anyhow::Result<u8>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let (process, settings) = loaded.settings;
        let log = logging::init(process.log_format, &process.log).context("cannot start logging")?;
        let threads = match process.worker_threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        tracing::info!(
            name = self.name,
            version = self.version,
            profile = if cfg!(debug_assertions) { "debug" } else { "release" },
            pid = std::process::id(),
            threads,
            config = loaded.file.as_deref().map(|path| path.display().to_string()),
            "starting"
        );
        let metrics = metrics::install().context("cannot install the metrics recorder")?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name(self.name)
            .enable_all()
            .build()
            .context("cannot start the async runtime")?;
        let code = runtime.block_on(async {
            let shutdown = Shutdown::with_patience(process.drain_deadline);
            let signals = Signals::install(shutdown.clone()).context("cannot take signals")?;
            tokio::spawn(metrics.clone().sweep());
            let readiness = Readiness::default();
            tokio::spawn(reload_log(signals.clone(), source.clone(), log));
            tokio::spawn(diagnostics::tell(signals.clone(), readiness.clone()));
            let context = Context { shutdown: shutdown.clone(), readiness, signals, metrics, source };
            anyhow::Ok(supervise(run(settings, context.clone()), &context).await)
        })?;
        // A blocking call that hangs (a disk, mostly) must not keep a drained process alive.
        runtime.shutdown_timeout(Duration::from_secs(1));
        tracing::info!(code, "ended");
        Ok(code)
    }
}

/// On SIGHUP reads the log filter again. Settings that have become wrong change nothing but are
/// complained about.
async fn reload_log(signals: Signals, source: SettingsSource, log: LogHandle) {
    let mut reload = signals.reload();
    loop {
        reload.next().await;
        match source.read::<RuntimeSettings>().await {
            Some(Ok(settings)) => {
                log.set(&settings.log);
                tracing::info!("settings read again");
            }
            Some(Err(problems)) => tracing::warn!(%problems, "settings not reloaded"),
            None => break, // the runtime is ending
        }
    }
}

/// Waits for the tier's work to end or the shutdown to begin, then gives both the work and the
/// tasks it started the same deadline.
async fn supervise(run: impl Future<Output = anyhow::Result<()>>, context: &Context) -> u8 {
    let shutdown = &context.shutdown;
    let running = context.readiness.condition("running");
    running.ready();
    let mut run = pin!(run);
    let early = tokio::select! {
        biased;
        () = shutdown.begun() => None,
        result = &mut run => Some(result),
    };
    running.not_ready("draining");
    shutdown.begin();
    let deadline = shutdown.time_left();
    let expiry = Instant::now() + deadline;
    let by_itself = early.is_some();
    let ended = match early {
        Some(result) => Ok(result),
        None => timeout_at(expiry, run).await,
    };
    let sound = match ended {
        Ok(Ok(())) if by_itself => {
            tracing::error!("the tier ended by itself");
            false
        }
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::error!(error = format!("{error:#}"), "the tier failed");
            false
        }
        Err(_) => {
            tracing::warn!(?deadline, "the tier's own work did not end before the drain deadline");
            false
        }
    };
    let ending = shutdown.drain(expiry.saturating_duration_since(Instant::now())).await;
    if sound && ending == Ending::Drained && shutdown.failed().is_none() { exit_code::OK } else { exit_code::FAILURE }
}
