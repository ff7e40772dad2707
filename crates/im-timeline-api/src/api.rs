//! What each call does.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use im_proto::client::{ContentType, Direction, Message};
use im_proto::limits::GROUP_MEMBERS_MAX;
use im_proto::link::{Push, UserPlace};
use im_proto::{ClientMsgId, ConversationId, GroupId, Refusal, Seq, UserId};
use im_timeline::{Append, HistoryRange, Placed, Store};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::watch::Watch;
use crate::{ApiError, Watchers, message};

/// Rows of one answer; also what a caller gets who leaves the count to the server.
const ROWS_MAX: usize = 1000;

/// The greatest count that can be meant; more is a mistake, and is told.
const COUNT_MAX: i64 = 10_000;

/// How long a call may take before its caller is told to try again.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a stream looks by itself, for rows that another im-service wrote.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What the service around this interface does for it.
#[async_trait]
pub trait Host: Send + Sync + 'static {
    /// Tells those of a message's receivers who are online. A hint, like every notify.
    fn announce(&self, push: Push);

    /// Makes a group where there is none, and brings in those of `members` who are not part of it:
    /// so they find it among their groups and may read its history and answer.
    async fn admit_members(&self, group: &GroupId, members: &[UserId]) -> Result<(), Refusal>;
}

/// The timeline service.
pub struct TimelineApi {
    store: Arc<dyn Store>,
    host: Arc<dyn Host>,
    watchers: Arc<Watchers>,
    stop: CancellationToken,
}

/// A message from one user to another.
#[derive(Clone, Debug, Default)]
pub struct UserSend {
    /// Who sends.
    pub from: String,
    /// Who gets it.
    pub to: String,
    /// A JSON object.
    pub message: String,
    /// The caller's own name for it, if it has one.
    pub idempotency_key: Option<String>,
}

/// A message to a group.
#[derive(Clone, Debug, Default)]
pub struct GroupSend {
    /// The group.
    pub group: String,
    /// Who gets it.
    pub members: Vec<String>,
    /// A JSON object.
    pub message: String,
    /// Who sends, where the caller says so.
    pub from: Option<String>,
    /// The caller's own name for it, if it has one.
    pub idempotency_key: Option<String>,
}

/// Whose history.
#[derive(Clone, Debug)]
pub enum HistoryOf {
    /// Of two users, in either order.
    Pair(String, String),
    /// Of a group.
    Group(String),
}

/// Which rows, as callers ask for them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Call {
    /// The position behind which to begin.
    pub last_read: i64,
    /// Rows at most; 0 leaves it to the server.
    pub count: i64,
    /// Histories only: backwards from the newest row, or from before `last_read` where that is not 0.
    pub latest: bool,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the timeline that was asked for.
    pub sequence: i64,
    /// A JSON object.
    pub message: String,
}

/// Rows of a user's timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRows {
    /// The greatest place.
    pub latest: i64,
    /// The place of the last row, or the position asked with where there is none.
    pub last: i64,
    /// The rows; none means that there are no more.
    pub entries: Vec<Entry>,
}

impl TimelineApi {
    /// The service over a store. Streams end when `stop` is cancelled.
    pub fn new(
        store: Arc<dyn Store>,
        host: Arc<dyn Host>,
        watchers: Arc<Watchers>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self { store, host, watchers, stop })
    }

    /// Stores a message and gives its place in the receiver's timeline.
    pub async fn send(&self, send: UserSend) -> Result<i64, ApiError> {
        let (from, to) = (user("from", &send.from)?, user("to", &send.to)?);
        message::check(&send.message)?;
        let conversation = ConversationId::pair(&from, &to);
        let recipients = if from == to { vec![from.clone()] } else { vec![from.clone(), to] };
        let placed = self.append(conversation, from, recipients, send.message, send.idempotency_key).await?;
        Ok(number(placed.receiver_seq))
    }

    /// Stores a message to a group, for every member named or for none.
    pub async fn send_group(&self, send: GroupSend) -> Result<(), ApiError> {
        let group = named("group_name", &send.group)?;
        let group = GroupId::new(group).map_err(|error| ApiError::invalid(format!("group_name: {error}")))?;
        if send.members.is_empty() {
            return Err(ApiError::invalid("group_members is missing"));
        }
        let first = user("group_members", &send.members[0])?;
        let mut members =
            send.members.iter().map(|member| user("group_members", member)).collect::<Result<Vec<_>, _>>()?;
        members.sort_unstable();
        members.dedup();
        if members.len() > GROUP_MEMBERS_MAX as usize {
            let len = members.len();
            return Err(ApiError::invalid(format!(
                "group_members has {len} users; at most {GROUP_MEMBERS_MAX} are taken"
            )));
        }
        message::check(&send.message)?;
        let is_member = |user: &UserId| members.binary_search(user).is_ok();
        let sender = match send.from.as_deref().filter(|from| !from.is_empty()) {
            Some(from) => {
                let from = user("from", from)?;
                if !is_member(&from) {
                    return Err(ApiError::invalid("from is not among group_members"));
                }
                from
            }
            None => message::named_sender(&send.message).filter(is_member).unwrap_or(first),
        };
        patiently(self.host.admit_members(&group, &members)).await??;
        let conversation = ConversationId::group(&group);
        self.append(conversation, sender, members, send.message, send.idempotency_key).await?;
        Ok(())
    }

    async fn append(
        &self,
        conversation: ConversationId,
        sender: UserId,
        recipients: Vec<UserId>,
        text: String,
        key: Option<String>,
    ) -> Result<Placed, ApiError> {
        let client_msg_id = match key.filter(|key| !key.is_empty()) {
            Some(key) => {
                ClientMsgId::new(key).map_err(|error| ApiError::invalid(format!("idempotency key: {error}")))?
            }
            None => ClientMsgId::new(Uuid::now_v7().to_string()).map_err(|_| ApiError::Internal)?,
        };
        let time_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let payload = Bytes::from(text);
        let append = Append {
            conversation: conversation.clone(),
            sender: sender.clone(),
            client_msg_id: client_msg_id.clone(),
            time_ms,
            content_type: ContentType::Json,
            payload: payload.clone(),
            recipients: recipients.into(),
        };
        let mut placed = patiently(self.store.append(append)).await??;
        if !placed.repeated {
            let places = std::mem::take(&mut placed.places);
            let targets = places.into_iter().map(|(user, seq)| UserPlace { user, seq }).collect();
            let content_type = ContentType::Json;
            let (seq, time_ms) = (placed.seq, placed.time_ms);
            let message = Message { conversation, seq, sender, client_msg_id, time_ms, content_type, payload };
            self.host.announce(Push { epoch: self.store.epoch(), targets, message: Some(message), except: None });
        }
        Ok(placed)
    }

    /// Rows of a user's timeline behind a position.
    pub async fn sync(&self, member: &str, call: Call) -> Result<SyncRows, ApiError> {
        let (after, rows) = (position(call.last_read)?, rows(call.count)?);
        self.sync_rows(&user("member", member)?, after, rows).await
    }

    async fn sync_rows(&self, member: &UserId, after: Seq, rows: usize) -> Result<SyncRows, ApiError> {
        let page = patiently(self.store.sync(member, after, rows)).await??;
        let entries: Vec<_> = page
            .entries
            .iter()
            .map(|entry| Entry { sequence: number(entry.seq), message: message::shown(&entry.message) })
            .collect();
        let last = entries.last().map_or_else(|| number(after), |entry| entry.sequence);
        Ok(SyncRows { latest: number(page.head.head), last, entries })
    }

    /// The same, page after page, and then each new row as it comes. Ends with the first error, and
    /// when the server stops: whoever reads goes on from the last position it got.
    pub fn follow(
        self: Arc<Self>,
        member: &str,
        call: Call,
    ) -> Result<impl Stream<Item = Result<SyncRows, ApiError>> + Send + use<>, ApiError> {
        let member = user("member", member)?;
        let (after, rows) = (position(call.last_read)?, rows(call.count)?);
        let watch = self.watchers.watch(&member).ok_or(ApiError::Busy)?;
        let following = Following { api: self, member, after, rows, watch };
        Ok(unfold(Some(following), |following| async {
            let mut following = following?;
            match following.next().await? {
                Ok(rows) => Some((Ok(rows), Some(following))),
                Err(error) => Some((Err(error), None)),
            }
        }))
    }

    /// Rows of a history. A conversation that nobody began has none.
    pub async fn history(&self, of: HistoryOf, call: Call) -> Result<Vec<Entry>, ApiError> {
        let conversation = match of {
            HistoryOf::Pair(a, b) => ConversationId::pair(&user("from", &a)?, &user("to", &b)?),
            HistoryOf::Group(group) => {
                let group = GroupId::new(named("group", &group)?);
                ConversationId::group(&group.map_err(|error| ApiError::invalid(format!("group: {error}")))?)
            }
        };
        let direction = if call.latest { Direction::Backward } else { Direction::Forward };
        let range = HistoryRange { from: position(call.last_read)?, direction, limit: rows(call.count)? };
        let page = patiently(self.store.history(&conversation, range)).await??;
        Ok(page
            .messages
            .iter()
            .map(|message| Entry { sequence: number(message.seq), message: message::shown(message) })
            .collect())
    }
}

/// A stream on its way through a timeline.
struct Following {
    api: Arc<TimelineApi>,
    member: UserId,
    after: Seq,
    rows: usize,
    watch: Watch,
}

impl Following {
    /// The next rows; `None` when the server stops.
    async fn next(&mut self) -> Option<Result<SyncRows, ApiError>> {
        let notify = self.watch.notify();
        loop {
            let mut woken = std::pin::pin!(notify.notified());
            woken.as_mut().enable();
            if self.api.stop.is_cancelled() {
                return None;
            }
            match self.api.sync_rows(&self.member, self.after, self.rows).await {
                Ok(rows) if rows.entries.is_empty() => {}
                Ok(rows) => {
                    self.after = Seq(rows.last.unsigned_abs());
                    return Some(Ok(rows));
                }
                Err(error) => return Some(Err(error)),
            }
            tokio::select! {
                () = self.api.stop.cancelled() => return None,
                () = woken => {}
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }
}

async fn patiently<T>(work: impl Future<Output = T>) -> Result<T, ApiError> {
    timeout(PATIENCE, work).await.map_err(|_| ApiError::Unavailable)
}

fn named<'a>(what: &str, text: &'a str) -> Result<&'a str, ApiError> {
    if text.is_empty() { Err(ApiError::invalid(format!("{what} is missing"))) } else { Ok(text) }
}

fn user(what: &str, text: &str) -> Result<UserId, ApiError> {
    UserId::new(named(what, text)?).map_err(|error| ApiError::invalid(format!("{what}: {error}")))
}

fn position(last_read: i64) -> Result<Seq, ApiError> {
    match u64::try_from(last_read) {
        Ok(last_read) => Ok(Seq(last_read)),
        Err(_) => Err(ApiError::invalid("last_read is negative")),
    }
}

fn rows(count: i64) -> Result<usize, ApiError> {
    match count {
        0 => Ok(ROWS_MAX),
        1..=COUNT_MAX => Ok(ROWS_MAX.min(count.unsigned_abs() as usize)),
        _ => Err(ApiError::invalid(format!("count is {count}; it is from 0 to {COUNT_MAX}"))),
    }
}

/// The wire has signed numbers, and no timeline reaches 2^63.
fn number(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}
