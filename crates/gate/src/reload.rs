//! What a gate reads again on SIGHUP: its certificates towards clients and routes, the keys that tokens
//! may be signed with, its limits, and how it would drain. Everything is read before anything is
//! replaced, so that a mistake in one file leaves all as it was. Whoever is connected stays connected.

use std::sync::Arc;

use anyhow::Context as _;
use im_auth::Verifier;
use im_link::{CertSlot, Certificate};
use im_runtime::{SettingsSource, Signals};
use parking_lot::Mutex;

use crate::app::Gate;
use crate::drain::DrainConfig;
use crate::limits::Limits;
use crate::server::GateSettings;

/// What is replaced.
pub(crate) struct Reloader {
    pub(crate) gate: Arc<Gate>,
    pub(crate) client_cert: Arc<CertSlot>,
    pub(crate) link_cert: Arc<CertSlot>,
    pub(crate) drain: Arc<Mutex<DrainConfig>>,
    /// What the gate was started with.
    pub(crate) started_with: GateSettings,
}

/// What was read.
struct Fresh {
    client_cert: Certificate,
    link_cert: Certificate,
    verifier: Verifier,
    limits: Limits,
    drain: DrainConfig,
}

impl Fresh {
    fn load(settings: &GateSettings) -> anyhow::Result<Self> {
        Ok(Self {
            client_cert: Certificate::load(&settings.client_files()).context("load the client certificate")?,
            link_cert: Certificate::load(&settings.link_files()).context("load the link certificate")?,
            verifier: Verifier::from_files(&settings.token_keys).context("load token keys")?,
            limits: settings.limits(),
            drain: settings.drain()?,
        })
    }
}

impl Reloader {
    /// Reads again each time it is asked for.
    pub(crate) async fn run(self, signals: Signals, source: SettingsSource) {
        let mut asked = signals.reload();
        loop {
            asked.next().await;
            match source.read::<GateSettings>().await {
                Some(Ok(settings)) => self.reload(settings).await,
                Some(Err(problems)) => failed(&problems),
                // Settings that came from nowhere, or the runtime is ending.
                None => return,
            }
        }
    }

    async fn reload(&self, settings: GateSettings) {
        let needs_restart = settings.without_reloadable() != self.started_with.without_reloadable();
        // Reads files, hence off the async workers.
        let Ok(read) = tokio::task::spawn_blocking(move || Fresh::load(&settings)).await else { return };
        match read {
            Ok(Fresh { client_cert, link_cert, verifier, limits, drain }) => {
                self.client_cert.replace(client_cert);
                self.link_cert.replace(link_cert);
                self.gate.reload(verifier, limits);
                *self.drain.lock() = drain;
                metrics::counter!("sim_gate_reloads_total", "outcome" => "done").increment(1);
                tracing::info!("certificates, token keys and limits are read again");
                if needs_restart {
                    tracing::info!("other settings have changed too; those take a restart");
                }
            }
            Err(error) => failed(&format_args!("{error:#}")),
        }
    }
}

fn failed(why: &dyn std::fmt::Display) {
    metrics::counter!("sim_gate_reloads_total", "outcome" => "failed").increment(1);
    tracing::warn!(%why, "nothing was reloaded; what was there stays");
}
