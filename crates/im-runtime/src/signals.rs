//! Signals: SIGTERM, SIGINT and SIGQUIT begin the shutdown, a second one ends the process at once;
//! SIGHUP (reload) and SIGUSR1 (diagnostics) reach whoever subscribed.

use std::io;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use crate::{Shutdown, exit_code};

/// Where a part of the tier subscribes. Clones share the source.
#[derive(Clone, Debug)]
pub struct Signals {
    reload: watch::Receiver<u64>,
    diagnostics: watch::Receiver<u64>,
}

/// Signals of one kind. Those that arrive while the last is still being handled count as one:
/// a reload that starts later reads everything the missed ones would have read.
#[derive(Debug)]
pub struct Pulses(watch::Receiver<u64>);

impl Pulses {
    /// Waits for the next signal. Cancellation-safe.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // The source is gone: the process is ending, and no signal will come.
            std::future::pending::<()>().await;
        }
    }
}

impl Signals {
    /// Takes over the signals of the process and feeds `shutdown`. Call it inside the runtime.
    pub fn install(shutdown: Shutdown) -> io::Result<Self> {
        let sources = Sources {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        };
        let (reload_source, reload) = watch::channel(0);
        let (diagnostics_source, diagnostics) = watch::channel(0);
        tokio::spawn(sources.listen(shutdown, reload_source, diagnostics_source));
        Ok(Self { reload, diagnostics })
    }

    /// A source that stays silent, for tests and for tiers inside another process.
    #[must_use]
    pub fn silent() -> Self {
        Self { reload: watch::channel(0).1, diagnostics: watch::channel(0).1 }
    }

    /// SIGHUP: read again what may change at run time. Signals from before the call do not count.
    #[must_use]
    pub fn reload(&self) -> Pulses {
        Self::from_now(&self.reload)
    }

    /// SIGUSR1: tell what is going on.
    #[must_use]
    pub fn diagnostics(&self) -> Pulses {
        Self::from_now(&self.diagnostics)
    }

    fn from_now(source: &watch::Receiver<u64>) -> Pulses {
        let mut pulses = source.clone();
        pulses.mark_unchanged();
        Pulses(pulses)
    }
}

struct Sources {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    user: Signal,
}

impl Sources {
    async fn listen(mut self, shutdown: Shutdown, reload: watch::Sender<u64>, diagnostics: watch::Sender<u64>) {
        loop {
            let name = tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.quit.recv() => "SIGQUIT",
                _ = self.hangup.recv() => {
                    tracing::info!("SIGHUP: reloading");
                    reload.send_modify(|count| *count += 1);
                    continue;
                }
                _ = self.user.recv() => {
                    diagnostics.send_modify(|count| *count += 1);
                    continue;
                }
            };
            if shutdown.is_begun() {
                tracing::warn!(signal = name, "second signal: ending without a drain");
                std::process::exit(exit_code::FAILURE.into());
            }
            tracing::info!(signal = name, "draining; a second signal ends at once");
            shutdown.begin();
        }
    }
}
