//! Transactions that nobody will end: those of a process that died half-way.
//!
//! MongoDB keeps such a transaction, and what it has written locked, for `transactionLifetimeLimitSeconds`,
//! a minute if nobody says otherwise. For that long every other process would be beaten at the same
//! timelines. So a batch that is beaten again and again looks for transactions in which nothing has
//! happened for [`INACTIVE_MAX`], and ends them. One that was only slow loses nothing by it: its batch
//! is told that the transaction is gone, and runs again.

use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};

use crate::db::{APP_NAME, Db};
use crate::fault::Fault;

/// A batch sends its commands one right after the other; one that has sent none for this long is dead,
/// or as good as dead.
pub(crate) const INACTIVE_MAX: Duration = Duration::from_secs(2);

/// Ends abandoned transactions and returns how many.
pub(crate) async fn end(db: &Db) -> Result<usize, Fault> {
    let inactive = INACTIVE_MAX.as_micros() as i64;
    let pipeline = [
        // Our own user's, which needs no privilege.
        doc! { "$currentOp": { "allUsers": false, "idleSessions": true } },
        doc! { "$match": {
            "type": "idleSession",
            "appName": { "$regex": format!("^{APP_NAME}") },
            "transaction.timeInactiveMicros": { "$gt": inactive },
        } },
        doc! { "$project": { "lsid": 1 } },
    ];
    let admin = db.client.database("admin");
    let found: Vec<Document> = admin.aggregate(pipeline).await?.try_collect().await?;
    let sessions: Vec<Bson> = found
        .iter()
        .filter_map(|operation| operation.get_document("lsid").ok()?.get("id"))
        .map(|id| Bson::from(doc! { "id": id.clone() }))
        .collect();
    if sessions.is_empty() {
        return Ok(0);
    }
    let count = sessions.len();
    tracing::warn!(count, "transactions of a process that died are ended");
    metrics::counter!("sim_store_transactions_abandoned_total").increment(count as u64);
    admin.run_command(doc! { "killSessions": sessions }).await?;
    Ok(count)
}
