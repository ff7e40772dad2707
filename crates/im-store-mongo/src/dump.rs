//! Every row out, every row in. The cursor is the last row's kind and key, so rows that come and go
//! meanwhile do not move the others.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use im_proto::{ClientMsgId, ConversationId, Seq, UserId};
use im_timeline::{DumpPage, DumpRow, Record, StoreError};
use mongodb::bson::raw::cstr;
use mongodb::bson::{DateTime, Document, RawArrayBuf, RawDocument, RawDocumentBuf, doc, rawdoc};

use crate::db::{Db, RECORDS, Rows, ascending, by_key, head_key};
use crate::fault::{Fault, write_error};
use crate::plan::{conversation_head, user_head};
use crate::read;
use crate::rows;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    History = 1,
    Floor,
    Inbox,
    Sent,
    Record,
}

const PHASES: [Phase; 5] = [Phase::History, Phase::Floor, Phase::Inbox, Phase::Sent, Phase::Record];
/// Rows of one page at most.
const ROWS_MAX: usize = 1000;
/// Statements of one command of an import.
const LOAD_PART: usize = 1000;

/// The cursor was not given by this store.
pub(crate) fn bad_cursor() -> StoreError {
    StoreError::Failed("the dump cursor is not one of this store".into())
}

pub(crate) fn decode_cursor(cursor: Option<&Bytes>) -> Result<(usize, Option<RawDocumentBuf>), StoreError> {
    let Some(cursor) = cursor else { return Ok((0, None)) };
    let (phase, key) = cursor.split_first().ok_or_else(bad_cursor)?;
    let index = PHASES.iter().position(|known| *known as u8 == *phase).ok_or_else(bad_cursor)?;
    let key = RawDocumentBuf::from_bytes(key.to_vec()).map_err(|_| bad_cursor())?;
    Ok((index, Some(key)))
}

fn encode_cursor(phase: Phase, key: &RawDocument) -> Bytes {
    [&[phase as u8], key.as_bytes()].concat().into()
}

pub(crate) async fn dump(
    db: Arc<Db>,
    (mut index, mut behind): (usize, Option<RawDocumentBuf>),
    limit: usize,
) -> Result<DumpPage, Fault> {
    let limit = limit.clamp(1, ROWS_MAX);
    let mut page = DumpPage::default();
    while let Some(phase) = PHASES.get(index).copied() {
        let wanted = limit - page.rows.len();
        let found = some(&db, phase, behind.take(), wanted).await?;
        let is_last = found.len() < wanted;
        // A key is kept as a document around it, whatever its type.
        let last = found.last().map(|row| row.get("_id")).transpose()?.flatten();
        if let Some(last) = last {
            let mut key = RawDocumentBuf::new();
            key.append(cstr!("_id"), last);
            page.next = Some(encode_cursor(phase, &key));
        }
        for row in &found {
            page.rows.extend(dump_row(&db, phase, row).await?);
        }
        if !is_last {
            return Ok(page);
        }
        index += 1;
    }
    page.next = None;
    Ok(page)
}

async fn some(
    db: &Db,
    phase: Phase,
    behind: Option<RawDocumentBuf>,
    limit: usize,
) -> Result<Vec<RawDocumentBuf>, Fault> {
    let collection: &Rows = match phase {
        Phase::History => &db.history,
        Phase::Floor => &db.heads,
        Phase::Inbox => &db.sync,
        Phase::Sent => &db.sent,
        Phase::Record => &db.records,
    };
    let mut filter = Document::new();
    if let Some(behind) = behind {
        let behind = Document::try_from(behind)?;
        filter.insert("_id", doc! { "$gt": behind.get("_id").cloned().unwrap_or_default() });
    } else if phase == Phase::Floor {
        filter.insert("_id", doc! { "$gt": "sync/" });
    }
    let find = collection.find(filter).sort(ascending()).hint(by_key()).limit(limit as i64);
    Ok(find.await?.try_collect().await?)
}

async fn dump_row(db: &Arc<Db>, phase: Phase, row: &RawDocument) -> Result<Option<DumpRow>, Fault> {
    Ok(Some(match phase {
        Phase::History => DumpRow::Message(rows::decode_message(row.get_document("message")?)?),
        Phase::Floor => {
            let Some(user) = row.get_str("_id")?.strip_prefix("sync/") else { return Ok(None) };
            let user: UserId = rows::parse(user)?;
            let floor = read::head(Arc::clone(db), user.clone()).await?.floor;
            if floor == Seq::ZERO {
                return Ok(None);
            }
            DumpRow::Floor { user, floor }
        }
        Phase::Inbox => {
            let message = row.get_document("message")?;
            DumpRow::Entry {
                user: rows::id(row, "id")?,
                seq: rows::seq(row, "seq")?,
                conversation: rows::conversation(message, "conversation")?,
                conversation_seq: rows::seq(message, "seq")?,
                time_ms: rows::time(message, "time")?,
            }
        }
        Phase::Sent => {
            let (sender, client_msg_id) = sent_names(row.get_str("_id")?)?;
            DumpRow::Sent {
                sender,
                client_msg_id,
                conversation: rows::conversation(row, "conversation")?,
                seq: rows::seq(row, "seq")?,
                sender_seq: rows::seq(row, "sender_seq")?,
                receiver_seq: rows::seq(row, "receiver_seq")?,
                time_ms: rows::time(row, "time")?,
            }
        }
        Phase::Record => {
            let key = row.get_document("_id")?;
            let record = Record { key: key.get_str("key")?.to_owned(), value: rows::bytes(row, "value")? };
            DumpRow::Record { table: rows::table(key.get_str("table")?)?, record }
        }
    }))
}

fn sent_names(key: &str) -> Result<(UserId, ClientMsgId), Fault> {
    let (sender, id) =
        key.split_once(':').ok_or_else(|| Fault::Damaged(format!("the idempotency row {key:?} has no colon")))?;
    Ok((rows::parse(sender)?, rows::parse(id)?))
}

/// Whether there is no row of any kind.
pub(crate) async fn is_empty(db: Arc<Db>) -> Result<bool, Fault> {
    for collection in [&db.history, &db.sync, &db.heads, &db.sent, &db.records] {
        if collection.find_one(Document::new()).await?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Rows of an import as statements, by collection.
#[derive(Default)]
struct Load {
    history: Vec<RawDocumentBuf>,
    sync: Vec<RawDocumentBuf>,
    sent: Vec<RawDocumentBuf>,
    records: Vec<RawDocumentBuf>,
    /// Timelines with the least that their head and their floor are.
    heads: BTreeMap<String, (u64, u64)>,
}

pub(crate) async fn load(db: Arc<Db>, rows: Vec<DumpRow>) -> Result<(), Fault> {
    let bodies = bodies(&db, &rows).await?;
    let mut load = Load::default();
    for row in rows {
        load.add(row, &bodies)?;
    }
    let heads = load.heads.iter().map(|(timeline, (head, floor))| {
        let mut raised = rawdoc! { "head": rows::number(*head)? };
        if *floor > 0 {
            raised.append(cstr!("floor"), rows::number(*floor)?);
        }
        Ok(rawdoc! { "q": head_key(timeline), "u": { "$max": raised }, "upsert": true })
    });
    let heads = heads.collect::<Result<Vec<_>, Fault>>()?;
    write(&db, db.history.name(), load.history).await?;
    write(&db, db.sync.name(), load.sync).await?;
    write(&db, db.sent.name(), load.sent).await?;
    write(&db, RECORDS, load.records).await?;
    write(&db, db.heads.name(), heads).await
}

/// The messages that entries refer to, as far as they are there or come in the same call.
async fn bodies(db: &Db, rows: &[DumpRow]) -> Result<HashMap<(ConversationId, Seq), RawDocumentBuf>, Fault> {
    let mut bodies = HashMap::new();
    let mut wanted = Vec::new();
    for row in rows {
        match row {
            DumpRow::Message(message) => {
                let key = (message.conversation.clone(), message.seq);
                bodies.insert(key, rows::encode_message(message)?);
            }
            DumpRow::Entry { conversation, conversation_seq, .. } => {
                wanted.push(rows::row_id(conversation.as_str(), rows::number(conversation_seq.0)?));
            }
            _ => {}
        }
    }
    for part in wanted.chunks(LOAD_PART) {
        let found: Vec<RawDocumentBuf> =
            db.history.find(doc! { "_id": { "$in": part.to_vec() } }).await?.try_collect().await?;
        for row in found {
            let message = row.get_document("message")?;
            let key = (rows::conversation(message, "conversation")?, rows::seq(message, "seq")?);
            bodies.insert(key, message.to_owned());
        }
    }
    Ok(bodies)
}

impl Load {
    fn add(&mut self, row: DumpRow, bodies: &HashMap<(ConversationId, Seq), RawDocumentBuf>) -> Result<(), Fault> {
        match row {
            DumpRow::Message(message) => {
                let row = rows::encode_message(&message)?;
                let row = rows::row(message.conversation.as_str(), rows::number(message.seq.0)?, &row);
                self.history.push(replace(&row)?);
                self.raise(conversation_head(&message.conversation), message.seq.0, 0);
            }
            DumpRow::Entry { user, seq, conversation, conversation_seq, time_ms } => {
                let reference = || rows::reference(&conversation, conversation_seq, time_ms);
                let known = bodies.get(&(conversation.clone(), conversation_seq));
                let body = known.cloned().map_or_else(reference, Ok)?;
                self.sync.push(replace(&rows::row(user.as_str(), rows::number(seq.0)?, &body))?);
                self.raise(user_head(&user), seq.0, 0);
            }
            DumpRow::Floor { user, floor } => self.raise(user_head(&user), floor.0, floor.0),
            DumpRow::Sent { sender, client_msg_id, conversation, seq, sender_seq, receiver_seq, time_ms } => {
                self.sent.push(replace(&rawdoc! {
                    "_id": format!("{sender}:{client_msg_id}"),
                    "conversation": conversation.as_str(),
                    "seq": rows::number(seq.0)?,
                    "sender_seq": rows::number(sender_seq.0)?,
                    "receiver_seq": rows::number(receiver_seq.0)?,
                    "time": DateTime::from_millis(rows::number(time_ms)?),
                })?);
            }
            DumpRow::Record { table, record } => self.records.push(replace(&rawdoc! {
                "_id": rows::record_key(table, &record.key),
                "value": rows::binary(&record.value),
            })?),
        }
        Ok(())
    }

    fn raise(&mut self, timeline: String, head: u64, floor: u64) {
        let least = self.heads.entry(timeline).or_default();
        *least = (least.0.max(head), least.1.max(floor));
    }
}

/// A statement that puts a row where its key says, over whatever is there.
fn replace(row: &RawDocument) -> Result<RawDocumentBuf, Fault> {
    let mut query = RawDocumentBuf::new();
    if let Some(key) = row.get("_id")? {
        query.append(cstr!("_id"), key);
    }
    Ok(rawdoc! { "q": query, "u": row.to_owned(), "upsert": true })
}

async fn write(db: &Db, collection: &str, statements: Vec<RawDocumentBuf>) -> Result<(), Fault> {
    for part in statements.chunks(LOAD_PART) {
        let mut updates = RawArrayBuf::new();
        for statement in part {
            updates.push(statement);
        }
        let mut command = rawdoc! { "update": collection, "writeConcern": { "w": "majority", "j": true } };
        command.append(cstr!("updates"), &updates);
        let reply = db.database.run_raw_command(command).await?;
        if let Some(fault) = write_error(&reply) {
            return Err(fault);
        }
    }
    Ok(())
}
