//! Sending: who may send to whom, the append, the ack, and the push to those who are online.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use im_proto::client::{ContentType, Message, SendAck, SendMsg};
use im_proto::link::{Forward, Push, SessionKey, UserPlace};
use im_proto::{Position, Refusal, RefusalCode, Target, UserId};
use im_timeline::{Append, AppendError, Placed};

use super::{Outcome, Service, Tell, decode, encode, store_refusal};

/// A send that was found good.
pub(crate) struct Sending {
    append: Append,
    session: SessionKey,
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
        Ok(Sending { append, session: request.session })
    }

    /// Stores messages; when this gives the outcomes, one for each, they are durable and have their places.
    /// They take their places in the store's queue, in their order, when this is first polled.
    pub(crate) async fn send(&self, sendings: Vec<Sending>) -> Vec<Result<Outcome, Refusal>> {
        let told = sendings.iter().map(|sending| (message_of(&sending.append), sending.session)).collect::<Vec<_>>();
        let placed = self.store.append_all(sendings.into_iter().map(|sending| sending.append).collect()).await;
        let outcome = |((message, session), placed): (_, Result<Placed, AppendError>)| match placed {
            Ok(placed) => Ok(self.sent(message, session, placed)),
            Err(error) => Err(append_refusal(&error)),
        };
        told.into_iter().zip(placed).map(outcome).collect()
    }

    /// What a message that got its places leads to.
    fn sent(&self, message: Message, session: SessionKey, placed: Placed) -> Outcome {
        let epoch = self.store.epoch();
        let ack = SendAck {
            conversation: message.conversation.clone(),
            seq: placed.seq,
            position: Position { epoch, seq: placed.sender_seq },
            receiver_seq: placed.receiver_seq,
            time_ms: placed.time_ms,
            repeated: placed.repeated,
        };
        let Placed { seq, places, repeated, .. } = placed;
        self.watchers.wake(places.iter().map(|(user, _)| user));
        // Those who are to know of a repeat were told the first time.
        let tell = (!repeated).then(|| {
            let targets = places.into_iter().map(|(user, seq)| UserPlace { user, seq }).collect();
            Tell::Push(Push { epoch, targets, message: Some(Message { seq, ..message }), except: Some(session) })
        });
        Outcome { answer: encode(&ack), tell }
    }
}

/// The message of an append, whose place is not known yet.
fn message_of(append: &Append) -> Message {
    Message {
        conversation: append.conversation.clone(),
        seq: im_proto::Seq::ZERO,
        sender: append.sender.clone(),
        client_msg_id: append.client_msg_id.clone(),
        time_ms: append.time_ms,
        content_type: append.content_type,
        payload: append.payload.clone(),
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
