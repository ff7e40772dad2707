//! `store check | export | import`: works on a folder that no server has open.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use im_store_embedded::EmbeddedStore;
use im_store_sqlite::{SqliteOptions, SqliteStore};
use im_timeline::{Store, check, export};
use serde_json::json;
use tokio::fs::File;
use tokio::io::{AsyncWriteExt, BufReader, BufWriter};

use super::output::Output;
use super::{Failure, Kind};

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Read every row and report what breaks a rule; exit code 5 if anything does.
    Check(Folder),
    /// Write every row to a file.
    Export {
        #[command(flatten)]
        folder: Folder,
        /// The file; it must not exist yet.
        file: PathBuf,
    },
    /// Load an export into a folder that holds no store yet.
    Import {
        #[command(flatten)]
        folder: Folder,
        /// An export.
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct Folder {
    /// The store's folder.
    dir: PathBuf,
    /// Which kind of store it is.
    #[arg(long, value_enum, default_value_t = Backend::Embedded)]
    backend: Backend,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Backend {
    /// The default store.
    Embedded,
    /// SQLite.
    Sqlite,
}

impl Folder {
    /// Opens a store that is there. Opening would make one, which nobody wants to check or export.
    async fn open_existing(&self) -> Result<Arc<dyn Store>, Failure> {
        if is_vacant(&self.dir) {
            return Err(Failure::new(Kind::Usage, format!("{} holds no store", self.dir.display()))
                .with_hint("name the folder that the server was given, with a store in it"));
        }
        self.open().await
    }

    /// Makes a store where there is none.
    async fn create(&self) -> Result<Arc<dyn Store>, Failure> {
        if !is_vacant(&self.dir) {
            return Err(Failure::new(Kind::Usage, format!("{} is not empty", self.dir.display()))
                .with_hint("an import makes a new store: name a folder that is empty or does not exist"));
        }
        self.open().await
    }

    async fn open(&self) -> Result<Arc<dyn Store>, Failure> {
        let (dir, backend) = (self.dir.clone(), self.backend);
        let opened = tokio::task::spawn_blocking(move || open(backend, &dir)).await;
        opened.map_err(|error| Failure::new(Kind::Failed, error.to_string()))?
    }
}

fn open(backend: Backend, dir: &Path) -> Result<Arc<dyn Store>, Failure> {
    match backend {
        Backend::Embedded => match EmbeddedStore::open(dir, &im_store_embedded::Options::default()) {
            Ok(store) => Ok(Arc::new(store)),
            Err(error) => Err(failed(error)),
        },
        Backend::Sqlite => match SqliteStore::open(dir, SqliteOptions::default()) {
            Ok(store) => Ok(Arc::new(store)),
            Err(error) => Err(failed(error)),
        },
    }
}

fn is_vacant(dir: &Path) -> bool {
    std::fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none())
}

pub(super) async fn run(command: StoreCommand, output: &Output) -> Result<(), Failure> {
    match command {
        StoreCommand::Check(folder) => {
            let store = folder.open_existing().await?;
            let report = check::check(&*store).await;
            store.close().await;
            show(output, &report.map_err(failed)?)
        }
        StoreCommand::Export { folder, file } => {
            let store = folder.open_existing().await?;
            let done = write_export(&*store, &file).await;
            store.close().await;
            let rows = done?.rows;
            output.note(|| format!("exported {rows} rows"));
            Ok(())
        }
        StoreCommand::Import { folder, file } => {
            let read = || async { File::open(&file).await.map(BufReader::new).map_err(failed) };
            // All of it is read once before a store is touched: a bad export makes no half of a store.
            export::verify(&mut read().await?).await.map_err(failed)?;
            let store = folder.create().await?;
            let done = export::import(&*store, &mut read().await?).await;
            store.close().await;
            let rows = done.map_err(failed)?.rows;
            output.line(|| format!("imported {rows} rows"), || json!({ "rows": rows }))
        }
    }
}

async fn write_export(store: &dyn Store, file: &Path) -> Result<export::Summary, Failure> {
    let created = File::create_new(file).await;
    let created = created.map_err(|error| Failure::new(Kind::Failed, format!("{}: {error}", file.display())))?;
    let mut writer = BufWriter::new(created);
    let summary = export::export(store, &mut writer).await.map_err(failed)?;
    writer.flush().await?;
    // An export is a backup: it is there when this command says so.
    writer.get_ref().sync_all().await?;
    Ok(summary)
}

fn show(output: &Output, report: &check::Report) -> Result<(), Failure> {
    let rows = &report.rows;
    for finding in &report.findings {
        output.line(|| finding.to_string(), || json!({ "finding": finding.to_string() }))?;
    }
    output.line(
        || {
            format!(
                "{} messages, {} timeline entries, {} trimmed timelines, {} sent marks, {} records",
                rows.messages, rows.entries, rows.floors, rows.sent, rows.records
            )
        },
        || {
            json!({
                "clean": report.is_clean(),
                "messages": rows.messages,
                "entries": rows.entries,
                "floors": rows.floors,
                "sent": rows.sent,
                "records": rows.records,
            })
        },
    )?;
    if report.is_clean() {
        return Ok(());
    }
    let findings = report.findings.len() as u64 + report.omitted;
    Err(Failure::new(Kind::NotClean, format!("the store breaks its rules in {findings} places"))
        .with_hint("restore it from a backup, or export what can be read and import it into a new folder"))
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(Kind::Failed, error.to_string())
}
