//! The stored format: every key and value of the tree, and nothing else.
//!
//! Keys sort by their bytes. A key is one tag byte and then ids, each ended by a NUL (an id has no
//! control characters), and numbers in an order-preserving short form: one byte that says how many
//! bytes follow, then that many, big-endian, without leading zeros.
//!
//! | tag | key                            | value                                                  |
//! |-----|--------------------------------|--------------------------------------------------------|
//! | `h` | conversation NUL seq           | history: the message itself, the one copy of its bytes |
//! | `m` | name                           | what the store knows of itself                         |
//! | `r` | table, key                     | a record's value as it is                              |
//! | `s` | sender NUL client message id   | sent: where the message went, so that a repeat finds it |
//! | `t` | user NUL                       | floor: the greatest trimmed place                      |
//! | `t` | user NUL seq                   | timeline entry: conversation, place there, time        |
//!
//! The floor of a timeline sorts right before its entries, so that one scan meets it first. There
//! are no rows for heads: a head is the greater of the last entry's place and the floor.
//!
//! A value begins with one byte: the format of this row in the high half, its shape in the low half.
//! Golden bytes below pin all of it; a change needs a new row format and keeps the old one readable.

use bytes::{BufMut, Bytes};
use im_proto::client::{ContentType, Message};
use im_proto::{ClientMsgId, ConversationId, Seq, UserId};
use im_timeline::{Record, StoreError, Table};

const HISTORY: u8 = b'h';
const META: u8 = b'm';
const RECORD: u8 = b'r';
const SENT: u8 = b's';
const TIMELINE: u8 = b't';

/// Ends an id inside a key.
const NUL: u8 = 0;
/// Marks a client message id that is a UUID in its usual spelling: 16 bytes instead of 36.
/// No id begins with this byte, since it is a control character.
const UUID_MARK: u8 = 1;

/// The only row format so far, in the high half of a value's first byte.
const ROW_FORMAT: u8 = 0x10;

/// Shapes of a history row: who of a pair's two users sent it, or the sender's id spelled out.
const SENDER_SMALLER: u8 = 0;
const SENDER_BIGGER: u8 = 1;
const SENDER_SPELLED: u8 = 2;

/// Shapes of a reference to a conversation, seen from one of its users: the other one of a pair, or
/// the conversation's id spelled out.
const PEER: u8 = 0;
const CONVERSATION_SPELLED: u8 = 1;

/// The row that repeats the folder's epoch inside the tree, so that the two cannot be mixed up.
pub(crate) fn epoch_key() -> Vec<u8> {
    [&[META], &b"epoch"[..]].concat()
}

/// The row with the last record of the commit log that the tree has; see [`crate::log`].
pub(crate) fn applied_key() -> Vec<u8> {
    [&[META], &b"applied"[..]].concat()
}

/// A place in a user's timeline refers to its message by this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntryRow {
    pub(crate) conversation: ConversationId,
    pub(crate) conversation_seq: Seq,
    pub(crate) time_ms: u64,
}

/// Where a message of a sender went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SentRow {
    pub(crate) conversation: ConversationId,
    pub(crate) seq: Seq,
    pub(crate) sender_seq: Seq,
    pub(crate) receiver_seq: Seq,
    pub(crate) time_ms: u64,
}

/// What a key names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    History(ConversationId, Seq),
    Meta,
    Record(Table, String),
    Sent(UserId, ClientMsgId),
    Floor(UserId),
    Entry(UserId, Seq),
}

/// Writes keys into a buffer that is used again and again.
#[derive(Debug, Default)]
pub(crate) struct KeyBuf(Vec<u8>);

impl KeyBuf {
    pub(crate) fn history(&mut self, conversation: &ConversationId, seq: Seq) -> &[u8] {
        self.start(HISTORY, conversation.as_str());
        put_ordered(&mut self.0, seq.0);
        &self.0
    }

    pub(crate) fn entry(&mut self, user: &UserId, seq: Seq) -> &[u8] {
        self.start(TIMELINE, user.as_str());
        put_ordered(&mut self.0, seq.0);
        &self.0
    }

    pub(crate) fn floor(&mut self, user: &UserId) -> &[u8] {
        self.start(TIMELINE, user.as_str());
        &self.0
    }

    pub(crate) fn sent(&mut self, sender: &UserId, id: &ClientMsgId) -> &[u8] {
        self.start(SENT, sender.as_str());
        match uuid_bytes(id.as_str()) {
            Some(uuid) => {
                self.0.push(UUID_MARK);
                self.0.extend_from_slice(&uuid);
            }
            None => self.0.extend_from_slice(id.as_str().as_bytes()),
        }
        &self.0
    }

    pub(crate) fn record(&mut self, table: Table, key: &str) -> &[u8] {
        self.0.clear();
        self.0.extend_from_slice(&[RECORD, table as u8]);
        self.0.extend_from_slice(key.as_bytes());
        &self.0
    }

    fn start(&mut self, tag: u8, id: &str) {
        self.0.clear();
        self.0.push(tag);
        self.0.extend_from_slice(id.as_bytes());
        self.0.push(NUL);
    }
}

/// First key, and the key behind the last, of a family of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyRange {
    pub(crate) start: Vec<u8>,
    pub(crate) end: Vec<u8>,
}

impl KeyRange {
    /// A conversation's history.
    pub(crate) fn history(conversation: &ConversationId) -> Self {
        Self::of_id(HISTORY, conversation.as_str())
    }

    /// A user's floor and entries.
    pub(crate) fn timeline(user: &UserId) -> Self {
        Self::of_id(TIMELINE, user.as_str())
    }

    /// All floors and entries.
    pub(crate) fn timelines() -> Self {
        Self { start: vec![TIMELINE], end: vec![TIMELINE + 1] }
    }

    /// All idempotency rows.
    pub(crate) fn sent() -> Self {
        Self { start: vec![SENT], end: vec![SENT + 1] }
    }

    /// A sender's idempotency rows of ids that are UUIDs, in the order of those.
    pub(crate) fn sent_uuids(sender: &UserId) -> Self {
        let mut start = KeyBuf::default();
        start.start(SENT, sender.as_str());
        let (mut start, mut end) = (start.0.clone(), start.0);
        start.push(UUID_MARK);
        end.push(UUID_MARK + 1);
        Self { start, end }
    }

    /// Records of a table whose key begins with a prefix.
    pub(crate) fn records(table: Table, prefix: &str) -> Self {
        let start = KeyBuf::default().record(table, prefix).to_vec();
        let mut end = start.clone();
        // No byte of a UTF-8 text is 0xFF and no table has that number, so the last byte can be raised.
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        Self { start, end }
    }

    /// Every row that the store was given; what it knows of itself is left out.
    pub(crate) fn data() -> [Self; 2] {
        [Self { start: vec![0], end: vec![META] }, Self { start: vec![META + 1], end: vec![0xFF] }]
    }

    fn of_id(tag: u8, id: &str) -> Self {
        let mut start = Vec::with_capacity(id.len() + 2);
        start.push(tag);
        start.extend_from_slice(id.as_bytes());
        let mut end = start.clone();
        start.push(NUL);
        end.push(NUL + 1);
        Self { start, end }
    }
}

impl Key {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let (&tag, rest) = bytes.split_first().ok_or_else(|| damaged("an empty key"))?;
        match tag {
            HISTORY => {
                let (id, mut rest) = split_id(rest)?;
                let conversation = ConversationId::new(id).map_err(|_| damaged("a conversation id in a key"))?;
                let seq = take_ordered(&mut rest)?;
                end(rest)?;
                Ok(Self::History(conversation, Seq(seq)))
            }
            META => Ok(Self::Meta),
            RECORD => {
                let (&number, key) = rest.split_first().ok_or_else(|| damaged("a record key without table"))?;
                let table = Table::ALL
                    .into_iter()
                    .find(|table| *table as u8 == number)
                    .ok_or_else(|| damaged("an unknown table"))?;
                Ok(Self::Record(table, text(key)?.to_owned()))
            }
            SENT => {
                let (id, rest) = split_id(rest)?;
                let sender = UserId::new(id).map_err(|_| damaged("a sender in a key"))?;
                let id = match rest.split_first() {
                    Some((&UUID_MARK, uuid)) => {
                        let uuid = uuid.try_into().map_err(|_| damaged("a UUID in a key"))?;
                        ClientMsgId::new(uuid_text(uuid))
                    }
                    _ => ClientMsgId::new(text(rest)?),
                };
                Ok(Self::Sent(sender, id.map_err(|_| damaged("a client message id in a key"))?))
            }
            TIMELINE => {
                let (id, mut rest) = split_id(rest)?;
                let user = UserId::new(id).map_err(|_| damaged("a user id in a key"))?;
                if rest.is_empty() {
                    return Ok(Self::Floor(user));
                }
                let seq = take_ordered(&mut rest)?;
                end(rest)?;
                Ok(Self::Entry(user, Seq(seq)))
            }
            _ => Err(damaged("an unknown kind of key")),
        }
    }
}

/// The place at the end of a history or timeline key; [`Seq::ZERO`] for a floor. Cheaper than
/// [`Key::decode`] where the id is known already: `prefix_len` bytes are the tag, the id and its NUL.
pub(crate) fn seq_of(key: &[u8], prefix_len: usize) -> Result<Seq, StoreError> {
    let mut rest = key.get(prefix_len..).ok_or_else(|| damaged("a short key"))?;
    if rest.is_empty() {
        return Ok(Seq::ZERO);
    }
    let seq = take_ordered(&mut rest)?;
    end(rest)?;
    Ok(Seq(seq))
}

pub(crate) struct HistoryRow<'a> {
    pub(crate) conversation: &'a ConversationId,
    pub(crate) sender: &'a UserId,
    pub(crate) client_msg_id: &'a ClientMsgId,
    pub(crate) time_ms: u64,
    pub(crate) content_type: ContentType,
    pub(crate) payload: &'a [u8],
}

impl HistoryRow<'_> {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        match self.conversation.as_str().split_once(':') {
            Some((smaller, _)) if smaller == self.sender.as_str() => out.push(ROW_FORMAT | SENDER_SMALLER),
            Some((_, bigger)) if bigger == self.sender.as_str() => out.push(ROW_FORMAT | SENDER_BIGGER),
            _ => {
                out.push(ROW_FORMAT | SENDER_SPELLED);
                put_text(out, self.sender.as_str());
            }
        }
        match uuid_bytes(self.client_msg_id.as_str()) {
            Some(uuid) => {
                out.push(0);
                out.extend_from_slice(&uuid);
            }
            None => put_text(out, self.client_msg_id.as_str()),
        }
        put_varint(out, self.time_ms);
        put_varint(out, u64::from(self.content_type.number()));
        out.extend_from_slice(self.payload);
    }

    /// The message of a history row.
    pub(crate) fn decode(conversation: ConversationId, seq: Seq, mut row: &[u8]) -> Result<Message, StoreError> {
        let sender = match take_shape(&mut row)? {
            SENDER_SPELLED => UserId::new(take_text(&mut row)?),
            shape => {
                let (smaller, bigger) =
                    conversation.as_str().split_once(':').ok_or_else(|| damaged("a group's row without sender"))?;
                UserId::new(match shape {
                    SENDER_SMALLER => smaller,
                    SENDER_BIGGER => bigger,
                    _ => return Err(damaged("the shape of a history row")),
                })
            }
        }
        .map_err(|_| damaged("a sender in a history row"))?;
        let client_msg_id = if row.first() == Some(&0) {
            let uuid = row.get(1..17).and_then(|uuid| uuid.try_into().ok());
            row = row.get(17..).unwrap_or_default();
            ClientMsgId::new(uuid_text(uuid.ok_or_else(|| damaged("a UUID in a history row"))?))
        } else {
            ClientMsgId::new(take_text(&mut row)?)
        }
        .map_err(|_| damaged("a client message id in a history row"))?;
        let time_ms = take_varint(&mut row)?;
        let code = u16::try_from(take_varint(&mut row)?).map_err(|_| damaged("a content type"))?;
        Ok(Message {
            conversation,
            seq,
            sender,
            client_msg_id,
            time_ms,
            content_type: ContentType::from_number(code),
            payload: Bytes::copy_from_slice(row),
        })
    }
}

impl EntryRow {
    pub(crate) fn encode(user: &UserId, conversation: &ConversationId, seq: Seq, time_ms: u64, out: &mut Vec<u8>) {
        out.clear();
        put_conversation(out, user, conversation);
        put_varint(out, seq.0);
        put_varint(out, time_ms);
    }

    pub(crate) fn decode(user: &UserId, mut row: &[u8]) -> Result<Self, StoreError> {
        let conversation = take_conversation(&mut row, user)?;
        let conversation_seq = Seq(take_varint(&mut row)?);
        let time_ms = take_varint(&mut row)?;
        end(row)?;
        Ok(Self { conversation, conversation_seq, time_ms })
    }
}

impl SentRow {
    pub(crate) fn encode(&self, sender: &UserId, out: &mut Vec<u8>) {
        out.clear();
        put_conversation(out, sender, &self.conversation);
        put_varint(out, self.seq.0);
        put_varint(out, self.sender_seq.0);
        put_varint(out, self.receiver_seq.0);
        put_varint(out, self.time_ms);
    }

    pub(crate) fn decode(sender: &UserId, mut row: &[u8]) -> Result<Self, StoreError> {
        let conversation = take_conversation(&mut row, sender)?;
        let mut number = || take_varint(&mut row);
        let (seq, sender_seq, receiver_seq, time_ms) = (number()?, number()?, number()?, number()?);
        end(row)?;
        Ok(Self { conversation, seq: Seq(seq), sender_seq: Seq(sender_seq), receiver_seq: Seq(receiver_seq), time_ms })
    }
}

/// The value of a floor row.
pub(crate) fn encode_floor(floor: Seq) -> Vec<u8> {
    let mut out = vec![ROW_FORMAT];
    put_varint(&mut out, floor.0);
    out
}

pub(crate) fn decode_floor(mut row: &[u8]) -> Result<Seq, StoreError> {
    if take_shape(&mut row)? != 0 {
        return Err(damaged("the shape of a floor row"));
    }
    let floor = take_varint(&mut row)?;
    end(row)?;
    Ok(Seq(floor))
}

/// A record with the key that it has in its table.
pub(crate) fn record(key: &[u8], value: &[u8]) -> Result<Record, StoreError> {
    let key = key.get(2..).ok_or_else(|| damaged("a record key without table"))?;
    Ok(Record { key: text(key)?.to_owned(), value: Bytes::copy_from_slice(value) })
}

pub(crate) fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(what.to_owned())
}

/// Like [`ConversationId::peer_of`], without making an id.
pub(crate) fn peer_of<'a>(conversation: &'a ConversationId, user: &UserId) -> Option<&'a str> {
    match conversation.as_str().split_once(':')? {
        (smaller, bigger) if smaller == user.as_str() => Some(bigger),
        (smaller, bigger) if bigger == user.as_str() => Some(smaller),
        _ => None,
    }
}

fn put_conversation(out: &mut Vec<u8>, user: &UserId, conversation: &ConversationId) {
    match peer_of(conversation, user) {
        Some(peer) => {
            out.push(ROW_FORMAT | PEER);
            put_text(out, peer);
        }
        None => {
            out.push(ROW_FORMAT | CONVERSATION_SPELLED);
            put_text(out, conversation.as_str());
        }
    }
}

fn take_conversation(row: &mut &[u8], user: &UserId) -> Result<ConversationId, StoreError> {
    let shape = take_shape(row)?;
    let id = take_text(row)?;
    match shape {
        PEER => UserId::new(id).map(|peer| ConversationId::pair(user, &peer)),
        CONVERSATION_SPELLED => ConversationId::new(id),
        _ => return Err(damaged("the shape of a reference to a conversation")),
    }
    .map_err(|_| damaged("a reference to a conversation"))
}

fn take_shape(row: &mut &[u8]) -> Result<u8, StoreError> {
    let (&first, rest) = row.split_first().ok_or_else(|| damaged("an empty row"))?;
    if first & 0xF0 != ROW_FORMAT {
        return Err(damaged("an unknown row format"));
    }
    *row = rest;
    Ok(first & 0x0F)
}

/// A text with its length in one or two bytes; the longest is a conversation id.
fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn take_text<'a>(row: &mut &'a [u8]) -> Result<&'a str, StoreError> {
    let len = usize::try_from(take_varint(row)?).unwrap_or(usize::MAX);
    let (bytes, rest) = row.split_at_checked(len).ok_or_else(|| damaged("a text longer than its row"))?;
    *row = rest;
    text(bytes)
}

/// Seven bits a byte, the lowest first; the high bit says that more follow.
fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number as u8) | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_varint(row: &mut &[u8]) -> Result<u64, StoreError> {
    let mut number = 0u64;
    for (index, &byte) in row.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7F);
        let shift = 7 * index as u32;
        if bits.leading_zeros() < shift {
            return Err(damaged("a number over 64 bits"));
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            *row = &row[index + 1..];
            return Ok(number);
        }
    }
    Err(damaged("a number without end"))
}

/// See the module's head: sorts as the number does, and small numbers stay small.
fn put_ordered(out: &mut Vec<u8>, number: u64) {
    let bytes = number.to_be_bytes();
    let skip = number.leading_zeros() as usize / 8;
    out.put_u8((8 - skip) as u8);
    out.extend_from_slice(&bytes[skip..]);
}

fn take_ordered(key: &mut &[u8]) -> Result<u64, StoreError> {
    let (&len, rest) = key.split_first().ok_or_else(|| damaged("a key without its number"))?;
    if len > 8 {
        return Err(damaged("a number in a key"));
    }
    let (bytes, rest) = rest.split_at_checked(usize::from(len)).ok_or_else(|| damaged("a number in a key"))?;
    if bytes.first() == Some(&0) {
        return Err(damaged("a number in a key with a leading zero"));
    }
    *key = rest;
    Ok(bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

fn split_id(key: &[u8]) -> Result<(&str, &[u8]), StoreError> {
    let len = key.iter().position(|&byte| byte == NUL).ok_or_else(|| damaged("an id without end in a key"))?;
    Ok((text(&key[..len])?, &key[len + 1..]))
}

fn text(bytes: &[u8]) -> Result<&str, StoreError> {
    std::str::from_utf8(bytes).map_err(|_| damaged("a text that is not UTF-8"))
}

fn end(rest: &[u8]) -> Result<(), StoreError> {
    if rest.is_empty() { Ok(()) } else { Err(damaged("bytes behind the end of a row")) }
}

/// The bytes of a UUID in its one usual spelling (lower case, hyphens), so that packing loses nothing.
pub(crate) fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let text: &[u8; 36] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 16];
    let mut digits = 0;
    for (index, &character) in text.iter().enumerate() {
        if matches!(index, 8 | 13 | 18 | 23) {
            if character != b'-' {
                return None;
            }
            continue;
        }
        let digit = match character {
            b'0'..=b'9' => character - b'0',
            b'a'..=b'f' => character - b'a' + 10,
            _ => return None,
        };
        bytes[digits / 2] = bytes[digits / 2] << 4 | digit;
        digits += 1;
    }
    Some(bytes)
}

fn uuid_text(bytes: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 0x0F] {
            text.push(char::from(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }));
        }
    }
    text
}

#[cfg(test)]
mod tests;
