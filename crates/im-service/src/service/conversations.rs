//! The list of a user's conversations: those of two, which the store enters with their first
//! message, and the groups that the user belongs to, in one order.

use im_proto::client::{ConversationPage, ConversationSummary, Direction, ListConversations, Message};
use im_proto::limits::PAGE_BYTES_MAX;
use im_proto::{ConversationId, Refusal, RefusalCode, Seq, UserId};
use im_timeline::{HistoryRange, Table};

use super::timeline::record_key;
use super::{NEWEST, Outcome, Service, page_rows, store_refusal};

/// Messages behind the read position that are looked at one by one, so that the user's own do not
/// count as unread. Of a longer tail the rest counts whole: "100 and more" needs no exactness.
const UNREAD_EXACT_MAX: usize = 100;

impl Service {
    pub(super) async fn list_conversations(&self, user: &UserId, list: ListConversations) -> Result<Outcome, Refusal> {
        let rows = page_rows(list.limit);
        let after = list.after.as_ref().map_or("", |conversation| conversation.as_str());
        let (ids, mut has_more) = self.conversation_ids(user, after, rows).await?;
        let found = ids.len();
        let mut page = Vec::with_capacity(found);
        let mut bytes = 0;
        for id in ids {
            let summary = self.summary(user, id).await?;
            bytes += summary.last.as_ref().map_or(0, |last| last.payload.len());
            page.push(summary);
            if bytes >= PAGE_BYTES_MAX {
                has_more |= page.len() < found;
                break;
            }
        }
        Ok(Outcome::answer(&ConversationPage { conversations: page, has_more }))
    }

    /// The first `rows` ids behind `after` of both tables, merged.
    async fn conversation_ids(
        &self,
        user: &UserId,
        after: &str,
        rows: usize,
    ) -> Result<(Vec<ConversationId>, bool), Refusal> {
        let prefix = record_key(user, "");
        let after = format!("{prefix}{after}");
        let mut ids = Vec::with_capacity(2 * rows);
        let mut has_more = false;
        for table in [Table::Conversation, Table::Member] {
            let page = self.store.records(table, &prefix, &after, rows).await.map_err(|error| store_refusal(&error))?;
            has_more |= page.has_more;
            for record in page.records {
                let id = record.key.strip_prefix(&prefix).unwrap_or_default();
                ids.push(ConversationId::new(id).map_err(|error| {
                    Refusal::new(RefusalCode::Internal, format!("a stored conversation id: {error}"))
                })?);
            }
        }
        ids.sort_unstable();
        has_more |= ids.len() > rows;
        ids.truncate(rows);
        Ok((ids, has_more))
    }

    async fn summary(&self, user: &UserId, conversation: ConversationId) -> Result<ConversationSummary, Refusal> {
        let failed = |error| store_refusal(&error);
        let newest = self.store.history(&conversation, NEWEST).await.map_err(failed)?;
        let key = record_key(user, conversation.as_str());
        let read = self.store.record(Table::Read, &key).await.map_err(failed)?;
        let read_seq = read.and_then(|value| value.first_chunk().copied()).map_or(0, u64::from_be_bytes);
        let read_seq = Seq(read_seq);
        let unread = self.unread(user, &conversation, read_seq, newest.head).await?;
        let name = match conversation.as_group() {
            Some(group) => self.groups.name(&group).await?,
            None => String::new(),
        };
        let last = newest.messages.into_iter().next();
        Ok(ConversationSummary { conversation, name, head: newest.head, read_seq, unread, last })
    }

    async fn unread(
        &self,
        user: &UserId,
        conversation: &ConversationId,
        read_seq: Seq,
        head: Seq,
    ) -> Result<u64, Refusal> {
        if read_seq >= head {
            return Ok(0);
        }
        let range = HistoryRange { from: read_seq, direction: Direction::Forward, limit: UNREAD_EXACT_MAX };
        let behind = self.store.history(conversation, range).await.map_err(|error| store_refusal(&error))?;
        Ok(others_behind(user, read_seq, head, &behind.messages))
    }
}

/// How many messages behind `read_seq` and up to `head` are of others, as far as `behind` shows. It
/// was read later than `head` and may reach beyond: what the user sends meanwhile is no part of this.
fn others_behind(user: &UserId, read_seq: Seq, head: Seq, behind: &[Message]) -> u64 {
    let own = behind.iter().filter(|message| message.seq <= head && message.sender == *user).count();
    head.0 - read_seq.0 - own as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;
    use im_proto::ClientMsgId;
    use im_proto::client::ContentType;

    use super::*;

    fn said(sender: &str, seq: u64) -> Message {
        let sender = UserId::new(sender).unwrap();
        Message {
            conversation: ConversationId::pair(&sender, &UserId::new("z").unwrap()),
            seq: Seq(seq),
            sender,
            client_msg_id: ClientMsgId::new("1").unwrap(),
            time_ms: 0,
            content_type: ContentType::Text,
            payload: Bytes::new(),
        }
    }

    #[test]
    fn what_was_said_after_the_head_was_read_does_not_count() {
        let user = UserId::new("a").unwrap();
        let behind = [said("b", 5), said("a", 6), said("a", 7), said("b", 8)];
        assert_eq!(others_behind(&user, Seq(4), Seq(5), &behind), 1);
        assert_eq!(others_behind(&user, Seq(4), Seq(6), &behind), 1);
        assert_eq!(others_behind(&user, Seq(4), Seq(8), &behind), 2);
        assert_eq!(others_behind(&user, Seq(4), Seq(1000), &behind), 994, "beyond what was looked at all count");
    }
}
