//! Messages of two users to each other, through the real tiers, with the client protocol's plain frames.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use im_proto::client::{Command, ContentType, Entry, NewMsg, SendAck, SendMsg};
use im_proto::{ClientMsgId, Refusal, Target, UserId};
use proto_codec::{Codec, Flags, Frame, Header, RESPONSE_BIT};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::CONCURRENCY_MAX;
use super::audit::{Ack, Author, Row, Verdict};
use super::connection::{Ended, Event, Traffic};
use super::dial::Dialler;
use super::orders::{Receivers, SendPlan};
use super::session::Session;

/// Digits of a message's number, which is its `client_msg_id`.
const NUMBER_LEN: usize = 10;
/// Digits of the due time at the front of the payload, nanoseconds since the worker's start.
const DUE_LEN: usize = 20;
/// Bytes of a payload at least.
pub(crate) const PAYLOAD_LEN_MIN: usize = DUE_LEN;

pub(super) struct SendTraffic {
    template: Template,
    /// What due times in payloads count from, the same for all connections of a worker.
    epoch: Instant,
    acks: Vec<Ack>,
    is_refusal_told: bool,
}

impl Traffic for SendTraffic {
    type Plan = SendPlan;

    /// A live message with its ids and its place.
    const BODY_LEN_MAX: u32 = 20 * 1024;

    async fn open(plan: &SendPlan, dialler: &Dialler, index: u32) -> anyhow::Result<(TlsStream<TcpStream>, Self)> {
        let session = Session::login(dialler.dial().await?, &plan.senders[index as usize]).await?;
        let receiver = UserId::new(plan.receiver_of(index as usize))?;
        let traffic = Self {
            template: Template::new(receiver, plan.payload_len)?,
            epoch: dialler.epoch(),
            acks: Vec::new(),
            is_refusal_told: false,
        };
        Ok((session.into_stream()?, traffic))
    }

    fn request(&mut self, sequence: u32, due: Instant, out: &mut BytesMut) {
        let due = due.saturating_duration_since(self.epoch).as_nanos() as u64;
        self.template.write(sequence, due, out);
    }

    fn on_frame(&mut self, header: Header, body: &[u8]) -> anyhow::Result<Event> {
        const ANSWER: u16 = Command::SendMsg.number() | RESPONSE_BIT;
        const NOTIFY: u16 = Command::NewMsg.number();
        match header.command {
            ANSWER if header.flags.is_refused() => self.on_refusal(body),
            ANSWER => self.on_ack(header.sequence, body),
            NOTIFY => self.on_notify(body),
            other => bail!("the gate sent command {other:#06x} ({:?})", Command::from_number(other)),
        }
    }

    async fn verify(plan: &SendPlan, dialler: &Dialler, ended: Vec<Ended<Self>>) -> anyhow::Result<Verdict> {
        verify(plan, dialler, ended).await
    }
}

impl SendTraffic {
    fn on_ack(&mut self, sequence: u32, body: &[u8]) -> anyhow::Result<Event> {
        let ack: SendAck = Codec::Binary.decode("SendAck", &Bytes::copy_from_slice(body))?;
        self.acks.push(Ack {
            number: sequence.into(),
            conversation_seq: ack.seq.0,
            sender_seq: ack.position.seq.0,
            receiver_seq: ack.receiver_seq.0,
        });
        Ok(Event::Answer)
    }

    fn on_refusal(&mut self, body: &[u8]) -> anyhow::Result<Event> {
        let refusal: Refusal = Codec::Binary.decode("Refusal", &Bytes::copy_from_slice(body))?;
        if !self.is_refusal_told {
            self.is_refusal_told = true;
            eprintln!("a message was refused: {refusal}");
        }
        Ok(Event::Refusal)
    }

    /// A notify without the message is a hint to pull; here it counts as not delivered live.
    fn on_notify(&self, body: &[u8]) -> anyhow::Result<Event> {
        let notify: NewMsg = Codec::Binary.decode("NewMsg", &Bytes::copy_from_slice(body))?;
        let Some(message) = notify.entry else { return Ok(Event::Nothing) };
        let due = message.payload.get(..DUE_LEN).and_then(number).context("a message that this run did not send")?;
        Ok(Event::Delivery(self.epoch + Duration::from_nanos(due)))
    }
}

impl SendPlan {
    fn receiver_of(&self, sender: usize) -> &str {
        match &self.receivers {
            Receivers::Online => &self.senders[sender ^ 1].user,
            Receivers::Offline(receivers) => &receivers[sender].user,
        }
    }
}

/// A `SendMsg` frame that is encoded once; per message only its number and its due time change.
struct Template {
    frame: BytesMut,
    number_at: usize,
    due_at: usize,
}

impl Template {
    fn new(receiver: UserId, payload_len: usize) -> anyhow::Result<Self> {
        const NUMBER: &str = "##########";
        const FILLER: u8 = b'.';
        ensure!(payload_len >= PAYLOAD_LEN_MIN, "a payload has {PAYLOAD_LEN_MIN} bytes at least");
        let message = SendMsg {
            to: Target::User(receiver),
            client_msg_id: ClientMsgId::new(NUMBER)?,
            content_type: ContentType::Text,
            payload: Bytes::from(vec![FILLER; payload_len]),
        };
        let mut frame = BytesMut::new();
        Frame::encode_message(Command::SendMsg.number(), Flags::NONE, 0, &message, &mut frame);
        let find = |what: &[u8]| frame.windows(what.len()).position(|bytes| bytes == what);
        let number_at = find(NUMBER.as_bytes()).context("find the number in the frame")?;
        let due_at = find(&message.payload).context("find the payload in the frame")?;
        Ok(Self { frame, number_at, due_at })
    }

    fn write(&self, sequence: u32, due: u64, out: &mut BytesMut) {
        let start = out.len();
        out.extend_from_slice(&self.frame);
        let frame = &mut out[start..];
        frame[8..Header::LEN].copy_from_slice(&sequence.to_be_bytes());
        write_number(sequence.into(), &mut frame[self.number_at..][..NUMBER_LEN]);
        write_number(due, &mut frame[self.due_at..][..DUE_LEN]);
    }
}

fn write_number(mut number: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Pulls every timeline and compares.
async fn verify(plan: &SendPlan, dialler: &Dialler, ended: Vec<Ended<SendTraffic>>) -> anyhow::Result<Verdict> {
    let acks: Vec<_> = ended.iter().map(|ended| ended.traffic.acks.clone()).collect();
    let sent: Vec<_> = stream::iter(ended)
        .map(|ended| {
            let user = &plan.senders[ended.index as usize].user;
            pull(Session::resume(ended.stream, ended.unread, ended.sequence), user)
        })
        .buffered(CONCURRENCY_MAX)
        .try_collect()
        .await?;
    let mut verdict = Verdict::default();
    sent.iter().for_each(|rows| verdict.add_timeline(rows));
    match &plan.receivers {
        Receivers::Online => {
            for (sender, acks) in acks.iter().enumerate() {
                verdict.add_acks(acks, &sent[sender], &sent[sender ^ 1]);
            }
        }
        Receivers::Offline(receivers) => {
            let mut received = stream::iter(receivers)
                .map(|account| async {
                    pull(Session::login(dialler.dial().await?, account).await?, &account.user).await
                })
                .buffered(CONCURRENCY_MAX);
            for (sender, acks) in acks.iter().enumerate() {
                let rows = received.next().await.context("a receiver for each sender")??;
                verdict.add_timeline(&rows);
                verdict.add_acks(acks, &sent[sender], &rows);
            }
        }
    }
    Ok(verdict)
}

async fn pull(mut session: Session, user: &str) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    session.pull(|entry| rows.push(row(&entry, user))).await.with_context(|| format!("the timeline of {user}"))?;
    rows.into_iter().collect::<Option<_>>().with_context(|| format!("{user} has a message that this run did not send"))
}

fn row(entry: &Entry, owner: &str) -> Option<Row> {
    let message = &entry.message;
    Some(Row {
        seq: entry.seq.0,
        conversation_seq: message.seq.0,
        author: if message.sender.as_str() == owner { Author::Owner } else { Author::Peer },
        number: number(message.client_msg_id.as_str().as_bytes())?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proto_codec::Deframer;

    use super::*;

    #[test]
    fn a_filled_template_is_the_message_that_the_codec_would_write() {
        let receiver = UserId::new("user").unwrap();
        let template = Template::new(receiver.clone(), 200).unwrap();
        let mut out = BytesMut::from(&b""[..]);
        template.write(7, 1_234_567_890, &mut out);
        template.write(4_294_967_295, u64::MAX, &mut out);
        for (sequence, id, due) in [(7, "0000000007", 1_234_567_890), (4_294_967_295, "4294967295", u64::MAX)] {
            let frame = Deframer::new(64 * 1024).next(&mut out).unwrap().unwrap();
            assert_eq!((frame.sequence, frame.command), (sequence, Command::SendMsg.number()));
            let message: SendMsg = Codec::Binary.decode("SendMsg", &frame.body).unwrap();
            assert_eq!(message.to, Target::User(receiver.clone()));
            assert_eq!(message.client_msg_id.as_str(), id);
            assert_eq!(message.payload.len(), 200);
            assert_eq!(number(&message.payload[..DUE_LEN]), Some(due));
        }
        assert!(out.is_empty());
    }

    #[test]
    fn a_payload_without_room_for_the_due_time_is_refused() {
        assert!(Template::new(UserId::new("user").unwrap(), PAYLOAD_LEN_MIN - 1).is_err());
    }
}
