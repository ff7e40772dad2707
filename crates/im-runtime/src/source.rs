//! Where a process's settings came from, so that they can be read again.

use std::sync::Arc;

use clap::ArgMatches;

use crate::settings::{Environment, Loader, Sections, SettingsError};

/// Flags, environment and the settings file of this process. Clones share them. A tier inside another
/// process has none: whoever started it chose its settings.
#[derive(Clone, Default)]
pub struct SettingsSource(Option<Arc<Layers>>);

struct Layers {
    loader: Loader,
    matches: ArgMatches,
    environment: Environment,
}

impl SettingsSource {
    pub(crate) fn new(loader: Loader, matches: ArgMatches, environment: Environment) -> Self {
        Self(Some(Arc::new(Layers { loader, matches, environment })))
    }

    /// Goes through all layers again; a flag still wins over the file. `None` where there are none, or
    /// when the runtime is ending.
    pub async fn read<S: Sections + Send + 'static>(&self) -> Option<Result<S, SettingsError>> {
        let layers = Arc::clone(self.0.as_ref()?);
        // Reads a file, hence off the async workers.
        let read = tokio::task::spawn_blocking(move || layers.loader.load::<S>(&layers.matches, &layers.environment));
        Some(read.await.ok()?.map(|loaded| loaded.settings))
    }
}
