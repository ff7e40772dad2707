//! Reading timelines and histories.
//!
//! A transaction writes rows and heads together, so what one read of the server shows is whole. But a
//! page takes two reads: the head, and the rows up to it. Rows may go between the two, by a trim or by
//! their age; then the rows do not begin where the head says that they do, and the page is read again
//! as a snapshot, both reads of one moment.

use std::sync::Arc;

use futures_util::TryStreamExt;
use im_proto::client::{Direction, Entry, Message};
use im_proto::limits::PAGE_BYTES_MAX;
use im_proto::{ConversationId, Seq, UserId};
use im_timeline::{ConversationHead, HistoryRange, SyncHead, SyncPage};
use mongodb::ClientSession;
use mongodb::bson::{Document, RawDocument, RawDocumentBuf, doc};

use crate::db::{Db, Rows, ascending, by_key, rows_between};
use crate::fault::Fault;
use crate::plan::{conversation_head, user_head};
use crate::rows::{bound, decode_message, is_reference, row_id, seq, unsigned};

/// Rows asked for at once; a page has no more anyway.
const ROWS_MAX: usize = 1000;

/// The head, and the floor as readers meet it: rows that the server has removed by their age have
/// raised it.
pub(crate) async fn head(db: Arc<Db>, user: UserId) -> Result<SyncHead, Fault> {
    let kept = db.head(&user_head(&user), None).await?;
    if kept.floor == kept.head || first_row(&db, &user, kept, None).await? == Some(kept.floor.next()) {
        return Ok(kept);
    }
    let mut session = db.client.start_session().with_options(Db::snapshot()).await?;
    let kept = db.head(&user_head(&user), Some(&mut session)).await?;
    let first = first_row(&db, &user, kept, Some(&mut session)).await?;
    Ok(SyncHead { floor: first.map_or(kept.head, |first| Seq(first.0.saturating_sub(1))), ..kept })
}

/// The place of the first row behind the floor.
async fn first_row(
    db: &Db,
    user: &UserId,
    kept: SyncHead,
    session: Option<&mut ClientSession>,
) -> Result<Option<Seq>, Fault> {
    let filter = rows_between(user.as_str(), bound(kept.floor.0), bound(kept.head.0));
    let found = find(&db.sync, filter, ascending(), 1, session).await?;
    found.first().map(|row| seq(row, "seq")).transpose()
}

pub(crate) async fn sync(db: Arc<Db>, user: UserId, after: Seq, limit: usize) -> Result<SyncPage, Fault> {
    if let Some(page) = sync_page(&db, &user, after, limit, None).await? {
        return Ok(page);
    }
    let mut session = db.client.start_session().with_options(Db::snapshot()).await?;
    match sync_page(&db, &user, after, limit, Some(&mut session)).await? {
        Some(page) => Ok(page),
        None => Err(Fault::Damaged(format!("the timeline of {user} does not reach its head"))),
    }
}

/// A page; `None` when rows are missing between the floor and the rows that are there, which only a
/// snapshot can tell apart from rows that went while the page was read.
async fn sync_page(
    db: &Arc<Db>,
    user: &UserId,
    after: Seq,
    limit: usize,
    mut session: Option<&mut ClientSession>,
) -> Result<Option<SyncPage>, Fault> {
    let is_snapshot = session.is_some();
    let mut page = SyncPage { head: db.head(&user_head(user), session.as_deref_mut()).await?, ..SyncPage::default() };
    let mut last = after.max(page.head.floor);
    if last >= page.head.head {
        return Ok(Some(page));
    }
    let filter = rows_between(user.as_str(), bound(last.0), bound(page.head.head.0));
    let found = find(&db.sync, filter, ascending(), limit, session).await?;
    if found.is_empty() || unsigned(&found[0], "seq")? != last.0 + 1 {
        if !is_snapshot {
            return Ok(None);
        }
        // In one view with the head, so they have grown old and the server has removed them.
        let first = found.first().map(|row| seq(row, "seq")).transpose()?;
        last = first.map_or(page.head.head, |first| Seq(first.0 - 1));
        page.head.floor = last;
    }
    let mut bytes_left = PAGE_BYTES_MAX;
    for row in found {
        let place = seq(&row, "seq")?;
        // Behind a row that grew old before the ones below it: the next page begins there.
        if bytes_left == 0 || place != last.next() {
            break;
        }
        last = place;
        let message = row.get_document("message")?;
        let message = if is_reference(message) {
            db.message(&crate::rows::conversation(message, "conversation")?, seq(message, "seq")?).await?
        } else {
            decode_message(message)?
        };
        bytes_left = bytes_left.saturating_sub(message.payload.len());
        page.entries.push(Entry { seq: place, message });
    }
    page.has_more = last < page.head.head;
    Ok(Some(page))
}

pub(crate) async fn history(
    db: Arc<Db>,
    conversation: ConversationId,
    range: HistoryRange,
) -> Result<ConversationHead, Fault> {
    if let Some(page) = history_page(&db, &conversation, range, None).await? {
        return Ok(page);
    }
    let mut session = db.client.start_session().with_options(Db::snapshot()).await?;
    match history_page(&db, &conversation, range, Some(&mut session)).await? {
        Some(page) => Ok(page),
        None => Err(Fault::Damaged(format!("the history of {conversation} has a hole"))),
    }
}

/// A page; `None` when a message is missing. Histories are never trimmed.
async fn history_page(
    db: &Arc<Db>,
    conversation: &ConversationId,
    range: HistoryRange,
    mut session: Option<&mut ClientSession>,
) -> Result<Option<ConversationHead>, Fault> {
    let head = db.head(&conversation_head(conversation), session.as_deref_mut()).await?.head;
    let mut page = ConversationHead { head, ..ConversationHead::default() };
    let is_backward = range.direction == Direction::Backward;
    // The places wanted: from `low` + 1 to `high`.
    let (low, high) = match (is_backward, range.from) {
        (true, Seq::ZERO) => (0, head.0),
        (true, from) => (0, head.0.min(from.0 - 1)),
        (false, from) => (from.0, head.0),
    };
    if low >= high {
        return Ok(Some(page));
    }
    let order = if is_backward {
        doc! { "_id": -1 }
    } else {
        ascending()
    };
    let filter = rows_between(conversation.as_str(), bound(low), bound(high));
    let found = find(&db.history, filter, order, range.limit, session).await?;
    let mut bytes_left = PAGE_BYTES_MAX;
    let mut due = if is_backward { high } else { low + 1 };
    let wanted = range.limit.clamp(1, ROWS_MAX).min(usize::try_from(high - low).unwrap_or(usize::MAX));
    if found.len() < wanted {
        return Ok(None);
    }
    for row in found {
        if bytes_left == 0 {
            page.has_more = true;
            return Ok(Some(page));
        }
        if unsigned(&row, "seq")? != due {
            return Ok(None);
        }
        let message = decode_message(row.get_document("message")?)?;
        bytes_left = bytes_left.saturating_sub(message.payload.len());
        page.messages.push(message);
        due = if is_backward { due - 1 } else { due + 1 };
    }
    page.has_more = if is_backward { due > low } else { due <= high };
    Ok(Some(page))
}

impl Db {
    /// The head and the floor of any timeline.
    pub(crate) async fn head(
        self: &Arc<Self>,
        timeline: &str,
        session: Option<&mut ClientSession>,
    ) -> Result<SyncHead, Fault> {
        let find = self.heads.find_one(doc! { "_id": timeline });
        let found = match session {
            Some(session) => find.session(session).await?,
            None => find.await?,
        };
        found.map_or_else(|| Ok(SyncHead::default()), |row| head_of(&row))
    }

    /// One message of a history.
    async fn message(&self, conversation: &ConversationId, place: Seq) -> Result<Message, Fault> {
        let found = self.history.find_one(doc! { "_id": row_id(conversation.as_str(), bound(place.0)) }).await?;
        let row = found.ok_or_else(|| Fault::Damaged(format!("{conversation} has no message {place}")))?;
        decode_message(row.get_document("message")?)
    }
}

/// A document of `chat_heads`.
pub(crate) fn head_of(row: &RawDocument) -> Result<SyncHead, Fault> {
    let floor = if row.get("floor")?.is_some() { seq(row, "floor")? } else { Seq::ZERO };
    Ok(SyncHead { head: seq(row, "head")?, floor })
}

async fn find(
    rows: &Rows,
    filter: Document,
    order: Document,
    limit: usize,
    session: Option<&mut ClientSession>,
) -> Result<Vec<RawDocumentBuf>, Fault> {
    let limit = limit.clamp(1, ROWS_MAX) as u32;
    let find = rows.find(filter).sort(order).hint(by_key()).limit(i64::from(limit)).batch_size(limit + 1);
    Ok(match session {
        None => find.await?.try_collect().await?,
        Some(session) => find.session(&mut *session).await?.stream(session).try_collect().await?,
    })
}
