//! Every row, in the order of the tables' keys. The cursor is the last row's table and key, so rows
//! that come and go meanwhile do not move the others.

use bytes::Bytes;
use im_timeline::{DumpPage, DumpRow, Record};
use rusqlite::{Connection, Row, params};

use crate::fault::Fault;
use crate::values::{MESSAGE, bytes, conversation, id, message, number, rows, seq, table, unsigned};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    History = 1,
    Floor,
    Inbox,
    Sent,
    Record,
}

const PHASES: [Phase; 5] = [Phase::History, Phase::Floor, Phase::Inbox, Phase::Sent, Phase::Record];

/// Behind which key of a phase: a text and a number, or two texts, as the phase has it.
#[derive(Default)]
struct Key {
    first: Vec<u8>,
    second: Vec<u8>,
    number: i64,
}

pub(crate) fn dump(connection: &Connection, after: Option<Bytes>, limit: usize) -> Result<DumpPage, Fault> {
    let (mut index, mut key) = after.as_deref().map_or(Ok((0, Key::default())), decode)?;
    let limit = limit.max(1);
    let mut found: Vec<DumpRow> = Vec::new();
    while let Some(phase) = PHASES.get(index) {
        let wanted = limit - found.len();
        let some = phase_rows(connection, *phase, &key, wanted)?;
        let exhausted = some.len() < wanted;
        found.extend(some);
        if !exhausted {
            let next = found.last().map(encode).transpose()?;
            return Ok(DumpPage { rows: found, next });
        }
        index += 1;
        key = Key::default();
    }
    Ok(DumpPage { rows: found, next: None })
}

fn phase_rows(connection: &Connection, phase: Phase, key: &Key, limit: usize) -> Result<Vec<DumpRow>, Fault> {
    let sql = match phase {
        Phase::History => &format!(
            "SELECT {MESSAGE} FROM history h WHERE (h.conversation, h.seq) > (CAST(?1 AS TEXT), ?3) AND ?2 IS NOT NULL
                 ORDER BY h.conversation, h.seq LIMIT ?4"
        ),
        Phase::Floor => {
            "SELECT user, floor FROM floor WHERE user > CAST(?1 AS TEXT) AND ?2 IS NOT NULL AND ?3 IS NOT NULL
             ORDER BY user LIMIT ?4"
        }
        Phase::Inbox => {
            "SELECT user, seq, conversation, conversation_seq, time_ms FROM inbox
             WHERE (user, seq) > (CAST(?1 AS TEXT), ?3) AND ?2 IS NOT NULL ORDER BY user, seq LIMIT ?4"
        }
        Phase::Sent => {
            "SELECT sender, client_msg_id, conversation, seq, sender_seq, receiver_seq, time_ms FROM sent
             WHERE (sender, client_msg_id) > (CAST(?1 AS TEXT), CAST(?2 AS TEXT)) AND ?3 IS NOT NULL
             ORDER BY sender, client_msg_id LIMIT ?4"
        }
        Phase::Record => {
            "SELECT kind, key, value FROM record WHERE (kind, key) > (?3, ?1) AND ?2 IS NOT NULL
             ORDER BY kind, key LIMIT ?4"
        }
    };
    let mut query = connection.prepare_cached(sql)?;
    let mut found = query.query(params![key.first, key.second, key.number, rows(limit)])?;
    let mut result = Vec::new();
    while let Some(row) = found.next()? {
        result.push(dump_row(phase, row)?);
    }
    Ok(result)
}

fn dump_row(phase: Phase, row: &Row<'_>) -> Result<DumpRow, Fault> {
    Ok(match phase {
        Phase::History => DumpRow::Message(message(row, 0)?),
        Phase::Floor => DumpRow::Floor { user: id(row, 0)?, floor: seq(row, 1)? },
        Phase::Inbox => DumpRow::Entry {
            user: id(row, 0)?,
            seq: seq(row, 1)?,
            conversation: conversation(row, 2)?,
            conversation_seq: seq(row, 3)?,
            time_ms: unsigned(row, 4)?,
        },
        Phase::Sent => DumpRow::Sent {
            sender: id(row, 0)?,
            client_msg_id: id(row, 1)?,
            conversation: conversation(row, 2)?,
            seq: seq(row, 3)?,
            sender_seq: seq(row, 4)?,
            receiver_seq: seq(row, 5)?,
            time_ms: unsigned(row, 6)?,
        },
        Phase::Record => {
            let key = String::from_utf8(row.get(1)?).map_err(|_| Fault::Damaged("a record's key is no text".into()))?;
            DumpRow::Record { table: table(row, 0)?, record: Record { key, value: bytes(row, 2)? } }
        }
    })
}

/// Phase, number, length of the first text, both texts.
fn encode(row: &DumpRow) -> Result<Bytes, Fault> {
    let (phase, number, first, second): (Phase, i64, &str, &str) = match row {
        DumpRow::Message(message) => (Phase::History, number(message.seq.0)?, message.conversation.as_str(), ""),
        DumpRow::Floor { user, .. } => (Phase::Floor, 0, user.as_str(), ""),
        DumpRow::Entry { user, seq, .. } => (Phase::Inbox, number(seq.0)?, user.as_str(), ""),
        DumpRow::Sent { sender, client_msg_id, .. } => (Phase::Sent, 0, sender.as_str(), client_msg_id.as_str()),
        DumpRow::Record { table, record } => (Phase::Record, i64::from(*table as u8), &record.key, ""),
    };
    let len = first.len() as u64;
    let parts: [&[u8]; 5] =
        [&[phase as u8], &number.to_be_bytes(), &len.to_be_bytes(), first.as_bytes(), second.as_bytes()];
    Ok(parts.concat().into())
}

fn decode(cursor: &[u8]) -> Result<(usize, Key), Fault> {
    let parse = || {
        let (phase, rest) = cursor.split_first()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first_chunk::<8>()?;
        let (first, second) = rest.split_at_checked(usize::try_from(u64::from_be_bytes(*len)).ok()?)?;
        let index = PHASES.iter().position(|known| *known as u8 == *phase)?;
        let key = Key { first: first.into(), second: second.into(), number: i64::from_be_bytes(*number) };
        Some((index, key))
    };
    parse().ok_or(Fault::Cursor)
}
