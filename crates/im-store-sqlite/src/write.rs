//! Every change as SQL, within the transaction of a commit group that the committer holds.

use im_proto::{ConversationId, Seq, UserId};
use im_timeline::{
    Append, AppendError, Change, CommitError, DumpRow, Expect, Placed, SweepPolicy, Swept, SyncHead, Table, user_key,
};
use rusqlite::{Connection, params};

use crate::fault::Fault;
use crate::read;
use crate::values::{bound, bytes, conversation, number, rows, seq, unsigned};

/// Gives a message its places. A refusal is the inner error and leaves nothing behind.
pub(crate) fn append(tx: &Connection, append: &Append) -> Result<Result<Placed, AppendError>, Fault> {
    if let Some(known) = repeat(tx, append)? {
        return Ok(known);
    }
    let Append { conversation, sender, client_msg_id, content_type, payload, .. } = append;
    let (seq, time_ms) = (read::history_head(tx, conversation)?.next(), number(append.time_ms)?);
    tx.prepare_cached("INSERT INTO history VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(params![
        conversation.as_str(),
        number(seq.0)?,
        sender.as_str(),
        client_msg_id.as_str(),
        time_ms,
        content_type.number(),
        &payload[..],
    ])?;
    let mut places = Vec::with_capacity(append.recipients.len());
    let mut entry = tx.prepare_cached("INSERT INTO inbox VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for user in append.recipients.iter() {
        let place = read::head(tx, user)?.head.next();
        entry.execute(params![user.as_str(), number(place.0)?, conversation.as_str(), number(seq.0)?, time_ms])?;
        places.push((user.clone(), place));
    }
    let place_of = |user: &UserId| places.iter().find(|place| place.0 == *user).map_or(Seq::ZERO, |place| place.1);
    let sender_seq = place_of(sender);
    let receiver_seq = conversation.peer_of(sender).map_or(Seq::ZERO, |peer| place_of(&peer));
    tx.prepare_cached("INSERT INTO sent VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(params![
        sender.as_str(),
        client_msg_id.as_str(),
        conversation.as_str(),
        number(seq.0)?,
        number(sender_seq.0)?,
        number(receiver_seq.0)?,
        time_ms,
    ])?;
    if seq == Seq::ZERO.next() {
        list_conversation(tx, conversation)?;
    }
    Ok(Ok(Placed { seq, sender_seq, receiver_seq, time_ms: append.time_ms, places, repeated: false }))
}

fn list_conversation(tx: &Connection, conversation: &ConversationId) -> Result<(), Fault> {
    let Some((a, b)) = conversation.users() else { return Ok(()) };
    for user in [a, b] {
        put_record(tx, Table::Conversation, &user_key(&user, conversation.as_str()), &[])?;
    }
    Ok(())
}

fn repeat(tx: &Connection, append: &Append) -> Result<Option<Result<Placed, AppendError>>, Fault> {
    let mut query = tx.prepare_cached(
        "SELECT s.conversation, s.seq, s.sender_seq, s.receiver_seq, s.time_ms, h.content_type, h.payload
         FROM sent s LEFT JOIN history h ON h.conversation = s.conversation AND h.seq = s.seq
         WHERE s.sender = ?1 AND s.client_msg_id = ?2",
    )?;
    let mut found = query.query([append.sender.as_str(), append.client_msg_id.as_str()])?;
    let Some(row) = found.next()? else { return Ok(None) };
    let first = conversation(row, 0)?;
    let Some(content_type) = row.get::<_, Option<u16>>(5)? else {
        return Err(Fault::Damaged(format!("{first} has no message {}", seq(row, 1)?)));
    };
    let same = first == append.conversation
        && content_type == append.content_type.number()
        && bytes(row, 6)? == append.payload;
    if !same {
        return Ok(Some(Err(AppendError::IdReused)));
    }
    Ok(Some(Ok(Placed {
        seq: seq(row, 1)?,
        sender_seq: seq(row, 2)?,
        receiver_seq: seq(row, 3)?,
        time_ms: unsigned(row, 4)?,
        places: Vec::new(),
        repeated: true,
    })))
}

pub(crate) fn trim(tx: &Connection, user: &UserId, through: Seq) -> Result<Seq, Fault> {
    let SyncHead { head, floor } = read::head(tx, user)?;
    let wanted = through.min(head);
    if wanted <= floor {
        return Ok(floor);
    }
    raise_floor(tx, user.as_str(), number(wanted.0)?)?;
    Ok(wanted)
}

fn raise_floor(tx: &Connection, user: &str, floor: i64) -> Result<(), Fault> {
    tx.prepare_cached("DELETE FROM inbox WHERE user = ?1 AND seq <= ?2")?.execute(params![user, floor])?;
    tx.prepare_cached("INSERT OR REPLACE INTO floor VALUES (?1, ?2)")?.execute(params![user, floor])?;
    Ok(())
}

/// Where a sweep goes on. Kept in memory: after reopening it starts at the beginning.
#[derive(Clone, Debug)]
pub(crate) enum SweepCursor {
    /// At this user, or the next one there is.
    Entries(String),
    /// Behind this idempotency row.
    Sent(String, String),
}

impl Default for SweepCursor {
    fn default() -> Self {
        Self::Entries(String::new())
    }
}

pub(crate) fn sweep(tx: &Connection, policy: SweepPolicy, cursor: &mut SweepCursor) -> Result<Swept, Fault> {
    let mut swept = Swept::default();
    let mut budget = policy.rows_max.max(1);
    while let SweepCursor::Entries(from) = cursor {
        if budget == 0 {
            return Ok(swept);
        }
        let user: Option<String> = tx
            .prepare_cached("SELECT min(user) FROM inbox WHERE user >= ?1")?
            .query_row([from.as_str()], |row| row.get(0))?;
        let Some(user) = user else {
            *cursor = SweepCursor::Sent(String::new(), String::new());
            break;
        };
        let run = old_run(tx, &user, policy.entries_before_ms, budget)?;
        if let Some(last) = run.last() {
            raise_floor(tx, &user, *last)?;
        }
        swept.entries += run.len() as u64;
        let all_looked_at_were_old = run.len() == budget;
        budget -= run.len().max(1);
        if !all_looked_at_were_old {
            // No id has a NUL, so nothing sorts between the user and this.
            *cursor = SweepCursor::Entries(user + "\0");
        }
    }
    if let SweepCursor::Sent(sender, id) = cursor {
        let mut query = tx.prepare_cached(
            "SELECT sender, client_msg_id, time_ms < ?3 FROM sent
             WHERE (sender, client_msg_id) > (?1, ?2) ORDER BY sender, client_msg_id LIMIT ?4",
        )?;
        let mut found = query.query(params![&*sender, &*id, bound(policy.sent_before_ms), rows(budget)])?;
        let mut looked_at: Vec<(String, String, bool)> = Vec::new();
        while let Some(row) = found.next()? {
            looked_at.push((row.get(0)?, row.get(1)?, row.get(2)?));
        }
        let mut delete = tx.prepare_cached("DELETE FROM sent WHERE sender = ?1 AND client_msg_id = ?2")?;
        for (sender, id, _) in looked_at.iter().filter(|row| row.2) {
            swept.sent += delete.execute([sender, id])? as u64;
        }
        swept.done = looked_at.len() < budget;
        *cursor = match looked_at.pop() {
            Some((sender, id, _)) if !swept.done => SweepCursor::Sent(sender, id),
            _ => SweepCursor::default(),
        };
    }
    Ok(swept)
}

/// The places at the beginning of a timeline, at most `limit`, whose messages are older.
fn old_run(tx: &Connection, user: &str, before_ms: u64, limit: usize) -> Result<Vec<i64>, Fault> {
    let mut query = tx.prepare_cached("SELECT seq, time_ms < ?2 FROM inbox WHERE user = ?1 ORDER BY seq LIMIT ?3")?;
    let mut found = query.query(params![user, bound(before_ms), rows(limit)])?;
    let mut run = Vec::new();
    while let Some(row) = found.next()? {
        if !row.get::<_, bool>(1)? {
            break;
        }
        run.push(row.get(0)?);
    }
    Ok(run)
}

/// Changes records one after another. On a conflict the caller rolls back to where it began.
pub(crate) fn commit(tx: &Connection, changes: &[Change]) -> Result<Result<(), CommitError>, Fault> {
    for (index, change) in changes.iter().enumerate() {
        let (table, key) = match change {
            Change::Put { table, key, .. } | Change::Delete { table, key, .. } | Change::Raise { table, key, .. } => {
                (*table, key.as_str())
            }
        };
        let before = read::record(tx, table, key)?;
        let holds = match change {
            Change::Put { expect, .. } | Change::Delete { expect, .. } => match expect {
                Expect::Any => true,
                Expect::Absent => before.is_none(),
                Expect::Value(value) => before.as_ref() == Some(value),
            },
            Change::Raise { .. } => true,
        };
        if !holds {
            return Ok(Err(CommitError::Conflict(index)));
        }
        match change {
            Change::Put { value, .. } => put_record(tx, table, key, value)?,
            Change::Delete { .. } => {
                tx.prepare_cached("DELETE FROM record WHERE kind = ?1 AND key = ?2")?
                    .execute(params![table as u8, key.as_bytes()])?;
            }
            Change::Raise { to, .. } => raise(tx, table, key, before.as_deref(), *to)?,
        }
    }
    Ok(Ok(()))
}

fn raise(tx: &Connection, table: Table, key: &str, before: Option<&[u8]>, to: u64) -> Result<(), Fault> {
    let to = to.to_be_bytes();
    match before {
        Some(before) if before.len() != to.len() => {
            Err(Fault::Damaged(format!("record {key:?} of {table:?} is no number of eight bytes")))
        }
        // Big-endian numbers of one length compare as their bytes do.
        Some(before) if before >= to.as_slice() => Ok(()),
        _ => put_record(tx, table, key, &to),
    }
}

fn put_record(tx: &Connection, table: Table, key: &str, value: &[u8]) -> Result<(), Fault> {
    tx.prepare_cached("INSERT OR REPLACE INTO record VALUES (?1, ?2, ?3)")?.execute(params![
        table as u8,
        key.as_bytes(),
        value
    ])?;
    Ok(())
}

pub(crate) fn is_empty(tx: &Connection) -> Result<bool, Fault> {
    let any: bool = tx.query_row(
        "SELECT EXISTS (SELECT 1 FROM history) OR EXISTS (SELECT 1 FROM inbox) OR EXISTS (SELECT 1 FROM floor)
             OR EXISTS (SELECT 1 FROM sent) OR EXISTS (SELECT 1 FROM record)",
        [],
        |row| row.get(0),
    )?;
    Ok(!any)
}

pub(crate) fn load(tx: &Connection, row: &DumpRow) -> Result<(), Fault> {
    match row {
        DumpRow::Message(message) => {
            tx.prepare_cached("INSERT OR REPLACE INTO history VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(
                params![
                    message.conversation.as_str(),
                    number(message.seq.0)?,
                    message.sender.as_str(),
                    message.client_msg_id.as_str(),
                    number(message.time_ms)?,
                    message.content_type.number(),
                    &message.payload[..],
                ],
            )?;
        }
        DumpRow::Entry { user, seq, conversation, conversation_seq, time_ms } => {
            tx.prepare_cached("INSERT OR REPLACE INTO inbox VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
                user.as_str(),
                number(seq.0)?,
                conversation.as_str(),
                number(conversation_seq.0)?,
                number(*time_ms)?,
            ])?;
        }
        DumpRow::Floor { user, floor } => raise_floor(tx, user.as_str(), number(floor.0)?)?,
        DumpRow::Sent { sender, client_msg_id, conversation, seq, sender_seq, receiver_seq, time_ms } => {
            tx.prepare_cached("INSERT OR REPLACE INTO sent VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(params![
                sender.as_str(),
                client_msg_id.as_str(),
                conversation.as_str(),
                number(seq.0)?,
                number(sender_seq.0)?,
                number(receiver_seq.0)?,
                number(*time_ms)?,
            ])?;
        }
        DumpRow::Record { table, record } => put_record(tx, *table, &record.key, &record.value)?,
    }
    Ok(())
}
