//! Reading: the head in a heartbeat, pages of a user's timeline and of histories, read positions,
//! and the online-only signals of groups.

use im_proto::client::{
    Command, Empty, GetHistory, GetMsg, HeartBeatAck, HistoryPage, MsgPage, ReadMsg, RevReadMsg, RevSignal, Signal,
};
use im_proto::link::{Relay, SessionKey};
use im_proto::{DeviceId, Epoch, Position, Refusal, RefusalCode, Seq, Target, UserId};
use im_timeline::{Change, HistoryRange, Table};

use super::send::unix_ms;
use super::{NEWEST, Outcome, Service, Tell, commit_refusal, encode, page_rows, store_refusal};

impl Service {
    pub(super) async fn heartbeat(&self, user: &UserId) -> Result<Outcome, Refusal> {
        let head = self.store.head(user).await.map_err(|error| store_refusal(&error))?;
        let head = Position { epoch: self.store.epoch(), seq: head.head };
        Ok(Outcome::answer(&HeartBeatAck { head: Some(head), server_time_ms: unix_ms() }))
    }

    /// Rows behind a position; the position itself counts as fetched by this device.
    pub(super) async fn get_msg(&self, user: &UserId, device: &DeviceId, get: GetMsg) -> Result<Outcome, Refusal> {
        let epoch = self.store.epoch();
        // A position of another life of the store means nothing here: the client is told this
        // life's head and begins at its beginning.
        if get.after.epoch != epoch && get.after.epoch != Epoch(0) {
            let head = self.store.head(user).await.map_err(|error| store_refusal(&error))?;
            let page = MsgPage {
                head: Position { epoch, seq: head.head },
                floor: head.floor,
                entries: Vec::new(),
                has_more: head.head > head.floor,
            };
            return Ok(Outcome::answer(&page));
        }
        let after = if get.after.epoch == epoch { get.after.seq } else { Seq::ZERO };
        let page = self.store.sync(user, after, page_rows(get.limit)).await.map_err(|error| store_refusal(&error))?;
        if after > page.head.head {
            return Err(RefusalCode::BadPosition.into());
        }
        // A device that has nothing yet is noted too: what it still lacks is not trimmed.
        self.fetched.note(user, device, after);
        Ok(Outcome::answer(&MsgPage {
            head: Position { epoch, seq: page.head.head },
            floor: page.head.floor,
            entries: page.entries,
            has_more: page.has_more,
        }))
    }

    pub(super) async fn get_history(&self, user: &UserId, get: GetHistory) -> Result<Outcome, Refusal> {
        self.admit(user, &get.conversation).await?;
        let range = HistoryRange { from: get.from, direction: get.direction, limit: page_rows(get.limit) };
        let rows = self.store.history(&get.conversation, range).await.map_err(|error| store_refusal(&error))?;
        Ok(Outcome::answer(&HistoryPage { head: rows.head, messages: rows.messages, has_more: rows.has_more }))
    }

    /// Keeps how far a user has read. The route has told the peer of a conversation of two
    /// already; a group's members are told from here, because only here they are known.
    pub(super) async fn read_msg(&self, user: &UserId, session: SessionKey, read: ReadMsg) -> Result<Outcome, Refusal> {
        let members = self.admit(user, &read.conversation).await?;
        let newest = self.store.history(&read.conversation, NEWEST).await.map_err(|error| store_refusal(&error))?;
        if read.seq > newest.head {
            return Err(RefusalCode::BadPosition.into());
        }
        // Nothing was read, perhaps in a conversation that nobody ever began: that leaves no row.
        if read.seq == Seq::ZERO {
            return Ok(Outcome::answer(&Empty {}));
        }
        let key = record_key(user, read.conversation.as_str());
        let raise = Change::Raise { table: Table::Read, key, to: read.seq.0 };
        self.store.commit(vec![raise]).await.map_err(|error| commit_refusal(&error))?;
        let tell = members.map(|members| {
            let body = encode(&RevReadMsg { conversation: read.conversation, reader: user.clone(), seq: read.seq });
            relay(members.to_vec(), session, Command::RevReadMsg, body)
        });
        Ok(Outcome { answer: encode(&Empty {}), tell })
    }

    /// Brings a group's signal to the members who are online. One between two users never gets here.
    pub(super) async fn signal(&self, user: &UserId, session: SessionKey, signal: Signal) -> Result<Outcome, Refusal> {
        let Target::Group(_) = &signal.to else { return Err(RefusalCode::BadBody.into()) };
        let conversation = signal.to.conversation(user);
        let members = self.admit(user, &conversation).await?;
        let others = members.iter().flat_map(|members| members.iter()).filter(|member| *member != user).cloned();
        let body =
            encode(&RevSignal { conversation, sender: user.clone(), kind: signal.kind, payload: signal.payload });
        let tell = Some(relay(others.collect(), session, Command::RevSignal, body));
        Ok(Outcome { answer: encode(&Empty {}), tell })
    }
}

fn relay(users: Vec<UserId>, cause: SessionKey, command: Command, body: proto_codec::Bytes) -> Tell {
    Tell::Relay(Relay { users, except: Some(cause), command: command.number(), body })
}

/// `user NUL rest`: an id has no control characters, so the key has one reading.
pub(super) fn record_key(user: &UserId, rest: &str) -> String {
    format!("{user}\0{rest}")
}
