//! What stands in one line, and how it becomes a row and back.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use im_proto::client::{ContentType, Message};
use im_proto::{ClientMsgId, ConversationId, IdError, Seq, UserId};
use serde::{Deserialize, Serialize};

use crate::{DumpRow, Record, Table};

#[derive(Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) format: String,
    pub(super) version: u32,
    pub(super) epoch: u64,
}

/// Any line but the first.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    Message {
        conversation: String,
        seq: u64,
        sender: String,
        client_msg_id: String,
        time_ms: u64,
        content_type: u16,
        payload: String,
    },
    Entry {
        user: String,
        seq: u64,
        conversation: String,
        conversation_seq: u64,
        time_ms: u64,
    },
    Floor {
        user: String,
        floor: u64,
    },
    Sent {
        sender: String,
        client_msg_id: String,
        conversation: String,
        seq: u64,
        sender_seq: u64,
        receiver_seq: u64,
        time_ms: u64,
    },
    Record {
        table: String,
        key: String,
        value: String,
    },
    End {
        rows: u64,
        blake3: String,
    },
}

/// Why a line that is JSON is no row.
#[derive(Debug, thiserror::Error)]
pub(super) enum RowError {
    #[error("{0}")]
    Id(#[from] IdError),
    #[error("the base64 is damaged: {0}")]
    Base64(#[from] base64::DecodeError),
    #[error("there is no table {0:?}")]
    Table(String),
    #[error("the conversation {0:?} does not name the smaller user first")]
    Order(String),
}

fn conversation_id(text: String) -> Result<ConversationId, RowError> {
    let id = ConversationId::new(&text)?;
    if id.as_str() == text { Ok(id) } else { Err(RowError::Order(text)) }
}

fn bytes(text: &str) -> Result<Bytes, RowError> {
    Ok(STANDARD.decode(text)?.into())
}

impl From<DumpRow> for Line {
    fn from(row: DumpRow) -> Self {
        match row {
            DumpRow::Message(message) => Self::Message {
                conversation: message.conversation.to_string(),
                seq: message.seq.0,
                sender: message.sender.to_string(),
                client_msg_id: message.client_msg_id.to_string(),
                time_ms: message.time_ms,
                content_type: message.content_type.number(),
                payload: STANDARD.encode(&message.payload),
            },
            DumpRow::Entry { user, seq, conversation, conversation_seq, time_ms } => Self::Entry {
                user: user.to_string(),
                seq: seq.0,
                conversation: conversation.to_string(),
                conversation_seq: conversation_seq.0,
                time_ms,
            },
            DumpRow::Floor { user, floor } => Self::Floor { user: user.to_string(), floor: floor.0 },
            DumpRow::Sent { sender, client_msg_id, conversation, seq, sender_seq, receiver_seq, time_ms } => {
                Self::Sent {
                    sender: sender.to_string(),
                    client_msg_id: client_msg_id.to_string(),
                    conversation: conversation.to_string(),
                    seq: seq.0,
                    sender_seq: sender_seq.0,
                    receiver_seq: receiver_seq.0,
                    time_ms,
                }
            }
            DumpRow::Record { table, record } => {
                Self::Record { table: table.name().into(), key: record.key, value: STANDARD.encode(&record.value) }
            }
        }
    }
}

/// What a line turned out to be.
pub(super) enum Parsed {
    Row(DumpRow),
    End { rows: u64, blake3: String },
}

impl Line {
    pub(super) fn parse(self) -> Result<Parsed, RowError> {
        Ok(Parsed::Row(match self {
            Self::End { rows, blake3 } => return Ok(Parsed::End { rows, blake3 }),
            Self::Message { conversation, seq, sender, client_msg_id, time_ms, content_type, payload } => {
                DumpRow::Message(Message {
                    conversation: conversation_id(conversation)?,
                    seq: Seq(seq),
                    sender: UserId::new(sender)?,
                    client_msg_id: ClientMsgId::new(client_msg_id)?,
                    time_ms,
                    content_type: ContentType::from_number(content_type),
                    payload: bytes(&payload)?,
                })
            }
            Self::Entry { user, seq, conversation, conversation_seq, time_ms } => DumpRow::Entry {
                user: UserId::new(user)?,
                seq: Seq(seq),
                conversation: conversation_id(conversation)?,
                conversation_seq: Seq(conversation_seq),
                time_ms,
            },
            Self::Floor { user, floor } => DumpRow::Floor { user: UserId::new(user)?, floor: Seq(floor) },
            Self::Sent { sender, client_msg_id, conversation, seq, sender_seq, receiver_seq, time_ms } => {
                DumpRow::Sent {
                    sender: UserId::new(sender)?,
                    client_msg_id: ClientMsgId::new(client_msg_id)?,
                    conversation: conversation_id(conversation)?,
                    seq: Seq(seq),
                    sender_seq: Seq(sender_seq),
                    receiver_seq: Seq(receiver_seq),
                    time_ms,
                }
            }
            Self::Record { table, key, value } => {
                let table = Table::named(&table).ok_or(RowError::Table(table))?;
                DumpRow::Record { table, record: Record { key, value: bytes(&value)? } }
            }
        }))
    }
}
