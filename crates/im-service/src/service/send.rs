//! Sending: who may send to whom, the append, the ack, and the push to those who are online.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use im_proto::client::{ContentType, Message, SendAck, SendMsg};
use im_proto::link::{Forward, Push, SessionKey, UserPlace};
use im_proto::{Position, Refusal, RefusalCode, Target, UserId};
use im_timeline::{Append, AppendError, Placed, Store};
use im_timeline_api::Watchers;

use super::{Outcome, Service, Tell, decode, encode, store_refusal};

/// A send that was found good. Its append takes its place in the store's queue when
/// [`run`](Self::run) is first polled.
pub(crate) struct Sending {
    store: Arc<dyn Store>,
    append: Append,
    session: SessionKey,
    watchers: Arc<Watchers>,
}

impl Service {
    /// Checks a send and finds its recipients.
    pub(crate) async fn prepare_send(&self, request: &Forward) -> Result<Sending, Refusal> {
        let send: SendMsg = decode("SendMsg", &request.body)?;
        if send.content_type == ContentType::System {
            return Err(Refusal::new(RefusalCode::NotAllowed, "only the server writes system messages"));
        }
        let sender = request.user.clone();
        let conversation = send.to.conversation(&sender);
        let recipients: Arc<[UserId]> = match &send.to {
            Target::User(peer) if *peer == sender => Arc::new([sender.clone()]),
            Target::User(peer) => {
                self.admit_known([peer]).await?;
                Arc::new([sender.clone(), peer.clone()])
            }
            Target::Group(_) => match self.admit(&sender, &conversation).await? {
                Some(members) => members,
                None => return Err(RefusalCode::NoSuchGroup.into()),
            },
        };
        let append = Append {
            conversation,
            sender,
            client_msg_id: send.client_msg_id,
            time_ms: unix_ms(),
            content_type: send.content_type,
            payload: send.payload,
            recipients,
        };
        let (store, watchers) = (Arc::clone(&self.store), Arc::clone(&self.watchers));
        Ok(Sending { store, append, session: request.session, watchers })
    }
}

impl Sending {
    /// Stores the message; when this gives an outcome the message is durable and has its places.
    pub(crate) async fn run(self) -> Result<Outcome, Refusal> {
        let Self { store, append, session, watchers } = self;
        let message = Message {
            conversation: append.conversation.clone(),
            seq: im_proto::Seq::ZERO,
            sender: append.sender.clone(),
            client_msg_id: append.client_msg_id.clone(),
            time_ms: append.time_ms,
            content_type: append.content_type,
            payload: append.payload.clone(),
        };
        let placed = store.append(append).await.map_err(|error| append_refusal(&error))?;
        let epoch = store.epoch();
        let ack = SendAck {
            conversation: message.conversation.clone(),
            seq: placed.seq,
            position: Position { epoch, seq: placed.sender_seq },
            receiver_seq: placed.receiver_seq,
            time_ms: placed.time_ms,
            repeated: placed.repeated,
        };
        let Placed { seq, places, repeated, .. } = placed;
        watchers.wake(places.iter().map(|(user, _)| user));
        // Those who are to know of a repeat were told the first time.
        let tell = (!repeated).then(|| {
            let targets = places.into_iter().map(|(user, seq)| UserPlace { user, seq }).collect();
            Tell::Push(Push { epoch, targets, message: Some(Message { seq, ..message }), except: Some(session) })
        });
        Ok(Outcome { answer: encode(&ack), tell })
    }
}

fn append_refusal(error: &AppendError) -> Refusal {
    match error {
        AppendError::IdReused => RefusalCode::IdReused.into(),
        AppendError::BadRecipients(why) => Refusal::new(RefusalCode::Internal, *why),
        AppendError::Busy => RefusalCode::Busy.into(),
        AppendError::Store(failure) => store_refusal(failure),
    }
}

/// The system's clock, milliseconds since 1970: what people read. Order comes from the places.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
