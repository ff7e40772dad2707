//! The database: its collections, its indexes, and how a driver's future is waited for.
//!
//! A driver's future that is dropped half-way may leave a connection in a state that nobody knows. So
//! every operation runs in a task of its own, to its end; who asked waits on the task's handle, for
//! as long as the store's patience.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use im_proto::Epoch;
use mongodb::bson::{Document, RawDocumentBuf, doc, rawdoc};
use mongodb::options::{
    Acknowledgment, ClientOptions, DatabaseOptions, ReadConcern, SelectionCriteria, SessionOptions, TransactionOptions,
    WriteConcern,
};
use mongodb::{Client, Collection, Database};
use tokio::sync::Semaphore;

use crate::fault::Fault;
use crate::{MongoOptions, OpenError};

const SYNC: &str = "chat_sync";
const HISTORY: &str = "chat_history";
pub(crate) const HEADS: &str = "chat_heads";
const SENT: &str = "chat_sent";
pub(crate) const RECORDS: &str = "chat_records";
const STORE: &str = "chat_store";

/// How our processes are known to the server. An address may give another name; it should begin so.
pub(crate) const APP_NAME: &str = "sim";

/// The layout of documents that this version writes.
const FORMAT: i32 = 1;

/// Connections to one member. Each operation under way takes one.
const POOL_MAX: u32 = 64;
/// Operations under way at one moment, batches of appends not counted: beyond the pool they would
/// only wait there without a deadline.
const OPERATIONS_MAX: usize = 48;

/// Batches under way at one moment. One is enough while the server answers; the others are for
/// those that it has not answered.
const TRANSACTIONS_MAX: usize = 8;

/// Rows of either kind, as they are: read without a type between.
pub(crate) type Rows = Collection<RawDocumentBuf>;

pub(crate) struct Db {
    pub(crate) client: Client,
    pub(crate) database: Database,
    pub(crate) sync: Rows,
    pub(crate) history: Rows,
    pub(crate) heads: Rows,
    pub(crate) sent: Rows,
    pub(crate) records: Rows,
    pub(crate) epoch: Epoch,
    pub(crate) patience: Duration,
    operations: Arc<Semaphore>,
    /// Batches under way, those among them that nobody waits for any more.
    pub(crate) transactions: Arc<Semaphore>,
}

/// Written by a majority, each with its journal on disk: what survives the loss of any one member.
pub(crate) fn durable(patience: Duration) -> WriteConcern {
    WriteConcern::builder().w(Acknowledgment::Majority).journal(true).w_timeout(patience).build()
}

impl Db {
    pub(crate) async fn open(options: &MongoOptions) -> Result<Self, OpenError> {
        let mut client_options =
            ClientOptions::parse(&options.uri).await.map_err(|error| OpenError::Uri(error.kind.to_string()))?;
        let name = options
            .database
            .clone()
            .or_else(|| client_options.default_database.clone())
            .unwrap_or_else(|| crate::DATABASE_DEFAULT.into());
        client_options.app_name.get_or_insert_with(|| APP_NAME.into());
        client_options.max_pool_size = Some(POOL_MAX);
        client_options.max_connecting = Some(8);
        client_options.connect_timeout = Some(options.patience);
        client_options.server_selection_timeout = Some(options.patience);
        // How long a primary that has gone is believed in when it cannot say so itself.
        client_options.heartbeat_freq = Some(Duration::from_secs(2));
        let client = Client::with_options(client_options).map_err(|error| OpenError::Uri(error.kind.to_string()))?;
        let database_options = DatabaseOptions::builder()
            // What was not written by a majority may be taken back; a number read from it would
            // leave a hole.
            .read_concern(ReadConcern::majority())
            .write_concern(durable(options.patience))
            .selection_criteria(SelectionCriteria::ReadPreference(mongodb::options::ReadPreference::Primary))
            .build();
        let database = client.database_with_options(&name, database_options);
        let mut db = Self {
            sync: database.collection(SYNC),
            history: database.collection(HISTORY),
            heads: database.collection(HEADS),
            sent: database.collection(SENT),
            records: database.collection(RECORDS),
            epoch: Epoch(0),
            patience: options.patience,
            operations: Arc::new(Semaphore::new(OPERATIONS_MAX)),
            transactions: Arc::new(Semaphore::new(TRANSACTIONS_MAX)),
            client,
            database,
        };
        db.prepare(options).await?;
        Ok(db)
    }

    /// Makes collections and indexes, and the store's name for its life. Several processes may do
    /// so at once.
    async fn prepare(&mut self, options: &MongoOptions) -> Result<(), OpenError> {
        let failed = |error: mongodb::error::Error| match Fault::from(error) {
            fault if fault.is_passing() => OpenError::Unreachable(fault.to_string()),
            fault => OpenError::Failed(fault.to_string()),
        };
        let there = self.database.list_collection_names().await.map_err(failed)?;
        for name in [SYNC, HISTORY, HEADS, SENT, RECORDS, STORE] {
            if !there.iter().any(|known| known == name)
                && let Err(error) = self.database.create_collection(name).await
                && !is_there_already(&error)
            {
                return Err(failed(error));
            }
        }
        self.expire(SYNC, "message.time", options.keep_entries).await.map_err(failed)?;
        self.expire(SENT, "time", options.keep_sent).await.map_err(failed)?;

        let store: Collection<Document> = self.database.collection(STORE);
        // Drawn here and kept by whoever is first. 63 bits, because BSON has no more.
        let fresh = (rand::random::<u64>() >> 1).max(1);
        store
            .update_one(doc! { "_id": "store" }, doc! { "$setOnInsert": { "epoch": fresh as i64, "format": FORMAT } })
            .upsert(true)
            .await
            .map(drop)
            .or_else(
                |error| if Fault::from(error.clone()) == Fault::Duplicate { Ok(()) } else { Err(failed(error)) },
            )?;
        let known = store.find_one(doc! { "_id": "store" }).await.map_err(failed)?;
        let known = known.ok_or_else(|| OpenError::Damaged("chat_store has lost its document".into()))?;
        let format = known.get_i32("format").map_err(|error| OpenError::Damaged(error.to_string()))?;
        if format > FORMAT {
            return Err(OpenError::NewerFormat { found: format, known: FORMAT });
        }
        let epoch = known.get_i64("epoch").map_err(|error| OpenError::Damaged(error.to_string()))?;
        if epoch <= 0 {
            return Err(OpenError::Damaged(format!("the epoch {epoch} is no positive number")));
        }
        self.epoch = Epoch(epoch as u64);
        Ok(())
    }

    /// An index by time whose rows the server itself removes some time after.
    async fn expire(&self, collection: &str, field: &str, after: Option<Duration>) -> mongodb::error::Result<()> {
        // The greatest that the server takes, 68 years, stands for never.
        let seconds = after.map_or(i32::MAX, |after| i32::try_from(after.as_secs()).unwrap_or(i32::MAX));
        let index = doc! { "key": { field: 1 }, "name": "time", "expireAfterSeconds": seconds };
        let made = self.database.run_command(doc! { "createIndexes": collection, "indexes": [index] }).await;
        match made {
            Ok(_) => Ok(()),
            // It is there with another age: 85 is IndexOptionsConflict, 86 IndexKeySpecsConflict.
            Err(error) if matches!(&*error.kind, mongodb::error::ErrorKind::Command(c) if c.code == 85 || c.code == 86) =>
            {
                let change = doc! { "name": "time", "expireAfterSeconds": seconds };
                self.database.run_command(doc! { "collMod": collection, "index": change }).await.map(drop)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether there is a primary that answers.
    pub(crate) async fn ping(&self) -> Result<(), Fault> {
        let admin = self.client.database("admin");
        self.run(async move { Ok(admin.run_command(doc! { "ping": 1 }).await.map(drop)?) }).await
    }

    /// Runs an operation to its end and waits for it, no longer than the patience.
    pub(crate) async fn run<T, F>(&self, operation: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        self.run_within(self.patience, operation).await
    }

    /// The same with a patience of its own.
    pub(crate) async fn run_within<T, F>(&self, patience: Duration, operation: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let operations = Arc::clone(&self.operations);
        let task = tokio::spawn(async move {
            // Never closed.
            let _place = operations.acquire_owned().await;
            operation.await
        });
        match tokio::time::timeout(patience, task).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => Err(Fault::Refused(format!("an operation ended: {panic}"))),
            Err(_) => Err(Fault::Unreachable(format!("no answer within {patience:?}"))),
        }
    }

    pub(crate) fn transaction(&self) -> TransactionOptions {
        TransactionOptions::builder()
            .read_concern(ReadConcern::snapshot())
            .write_concern(durable(self.patience))
            .selection_criteria(SelectionCriteria::ReadPreference(mongodb::options::ReadPreference::Primary))
            .build()
    }

    /// All reads of one moment.
    pub(crate) fn snapshot() -> SessionOptions {
        SessionOptions::builder().snapshot(true).build()
    }
}

fn is_there_already(error: &mongodb::error::Error) -> bool {
    // 48 is NamespaceExists.
    matches!(&*error.kind, mongodb::error::ErrorKind::Command(command) if command.code == 48)
}

/// A filter for the rows of one timeline behind `after`, up to `through`. The embedded key is
/// compared field by field, so this is one range of the index.
pub(crate) fn rows_between(id: &str, after: i64, through: i64) -> Document {
    doc! { "_id": { "$gt": { "id": id, "seq": after }, "$lte": { "id": id, "seq": through } } }
}

/// The rows' order.
pub(crate) fn ascending() -> Document {
    doc! { "_id": 1 }
}

/// Rows need nothing else of their index.
pub(crate) fn by_key() -> mongodb::options::Hint {
    mongodb::options::Hint::Name("_id_".into())
}

pub(crate) fn head_key(name: &str) -> RawDocumentBuf {
    rawdoc! { "_id": name }
}
