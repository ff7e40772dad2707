//! Random operations. Few users, few ids and few contents, so that they meet.

use std::sync::Arc;

use bytes::Bytes;
use im_proto::client::ContentType;
use im_proto::{ClientMsgId, ConversationId, GroupId, UserId};
use proptest::prelude::*;

use crate::{Append, Change, Expect, Table};

pub(super) const USERS: u8 = 5;
pub(super) const GROUPS: u8 = 2;
/// Tables of values, and one of numbers: a number that is overwritten is no number any more.
pub(super) const TABLES: [Table; 2] = [Table::Group, Table::Service];
pub(super) const NUMBERS: Table = Table::Read;

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Messages that are handed in together.
    Append(Vec<Send>),
    /// Trim a user's timeline.
    Trim {
        /// Whose.
        user: u8,
        /// Up to where.
        through: u64,
    },
    /// Sweep until it has come round.
    Sweep {
        /// As in the policy.
        entries_before_ms: u64,
        /// As in the policy.
        sent_before_ms: u64,
        /// As in the policy.
        rows_max: usize,
    },
    /// Change records.
    Commit(Vec<RecordOp>),
    /// Close and open again.
    Reopen,
    /// Abandon and open again.
    Crash,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// Who.
    pub from: u8,
    /// To whom.
    pub to: To,
    /// Under what name; few, so that repeats and reused names happen.
    pub id: u8,
    /// With what content.
    pub payload: u8,
    /// When.
    pub time_ms: u64,
}

/// To whom a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// A user, maybe the sender.
    User(u8),
    /// A group, with whatever members the bits name; maybe without the sender, maybe nobody.
    Group(u8, u8),
}

/// A change of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordOp {
    /// Put a value.
    Put(usize, u8, u8, Expected),
    /// Delete a value.
    Delete(usize, u8, Expected),
    /// Raise a number.
    Raise(u8, u64),
}

/// What is expected of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Anything.
    Any,
    /// Nothing.
    Absent,
    /// This value.
    Value(u8),
}

pub(super) fn user(number: u8) -> UserId {
    // One is the beginning of another, and one is not ASCII.
    UserId::new(["a", "ab", "b", "中", "z"][usize::from(number % USERS)]).unwrap()
}

pub(super) fn group(number: u8) -> ConversationId {
    // One has a user's name.
    ConversationId::group(&GroupId::new(["a", "g"][usize::from(number % GROUPS)]).unwrap())
}

fn key(number: u8) -> String {
    ["k", "k\0", "k\0a", "é", ""][usize::from(number % 5)].into()
}

impl Send {
    pub(super) fn append(&self) -> Append {
        let sender = user(self.from);
        let (conversation, recipients): (_, Arc<[UserId]>) = match &self.to {
            To::User(to) if user(*to) == sender => (ConversationId::pair(&sender, &sender), [sender.clone()].into()),
            To::User(to) => (ConversationId::pair(&sender, &user(*to)), [sender.clone(), user(*to)].into()),
            To::Group(to, members) => {
                (group(*to), (0..USERS).filter(|bit| members & (1 << bit) != 0).map(user).collect())
            }
        };
        Append {
            conversation,
            sender,
            client_msg_id: ClientMsgId::new(format!("m{}", self.id)).unwrap(),
            time_ms: self.time_ms,
            content_type: if self.payload == 0 { ContentType::Json } else { ContentType::Text },
            payload: Bytes::from(vec![self.payload; usize::from(self.payload)]),
            recipients,
        }
    }
}

impl Expected {
    fn expect(&self) -> Expect {
        match self {
            Self::Any => Expect::Any,
            Self::Absent => Expect::Absent,
            Self::Value(value) => Expect::Value(Bytes::from(vec![*value; usize::from(*value)])),
        }
    }
}

impl RecordOp {
    pub(super) fn change(&self) -> Change {
        match self {
            Self::Put(table, at, value, expect) => Change::Put {
                table: TABLES[*table],
                key: key(*at),
                value: Bytes::from(vec![*value; usize::from(*value)]),
                expect: expect.expect(),
            },
            Self::Delete(table, at, expect) => {
                Change::Delete { table: TABLES[*table], key: key(*at), expect: expect.expect() }
            }
            Self::Raise(at, to) => Change::Raise { table: NUMBERS, key: key(*at), to: *to },
        }
    }
}

/// Up to `max` random operations.
pub fn operations(max: usize) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(operation(), 1..=max)
}

fn operation() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => prop::collection::vec(send(), 1..6).prop_map(Op::Append),
        2 => (0..USERS, prop_oneof![9 => 0..30u64, 1 => Just(u64::MAX)])
            .prop_map(|(user, through)| Op::Trim { user, through }),
        1 => (0..25u64, 0..25u64, 1..9usize).prop_map(|(entries_before_ms, sent_before_ms, rows_max)| Op::Sweep {
            entries_before_ms,
            sent_before_ms,
            rows_max
        }),
        4 => prop::collection::vec(record_op(), 0..4).prop_map(Op::Commit),
        1 => Just(Op::Reopen),
        1 => Just(Op::Crash),
    ]
}

fn send() -> impl Strategy<Value = Send> {
    let to = prop_oneof![
        3 => (0..USERS).prop_map(To::User),
        2 => (0..GROUPS, 0..1u8 << USERS).prop_map(|(group, members)| To::Group(group, members)),
    ];
    (0..USERS, to, 0..12u8, 0..3u8, 0..20u64).prop_map(|(from, to, id, payload, time_ms)| Send {
        from,
        to,
        id,
        payload,
        time_ms,
    })
}

fn record_op() -> impl Strategy<Value = RecordOp> {
    let expected =
        || prop_oneof![3 => Just(Expected::Any), 1 => Just(Expected::Absent), 2 => (0..3u8).prop_map(Expected::Value)];
    prop_oneof![
        (0..TABLES.len(), 0..5u8, 0..3u8, expected())
            .prop_map(|(table, key, value, e)| RecordOp::Put(table, key, value, e)),
        (0..TABLES.len(), 0..5u8, expected()).prop_map(|(table, key, e)| RecordOp::Delete(table, key, e)),
        (0..5u8, prop_oneof![0..9u64, Just(u64::MAX)]).prop_map(|(key, to)| RecordOp::Raise(key, to)),
    ]
}
