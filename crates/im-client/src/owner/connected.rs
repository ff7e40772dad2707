//! The owner task while it has a connection.

use bytes::BytesMut;
use im_link::network::BoxIo;
use im_proto::client::{Command, Entry, Message, MsgPage, Redirect, SendAck, SendMsg};
use im_secure::{ClientHello, EphemeralKey};
use im_session::client::{
    Answer, ClientConnection, CloseCause, ConnectionEvent, Login, RequestError, SendNumber, WindowFull,
};
use proto_codec::{Codec, Encode};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::*;

type Connection = ClientConnection<Tag>;

impl Owner {
    /// Drives one connection to its end.
    pub(super) async fn serve(&mut self, stream: BoxIo, login: Login) -> Result<Ended, EndCause> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let deframer = Connection::deframer(login.codec);
        let mut connection = match self.config.encryption {
            None => Connection::new(now(), login, self.config.connection),
            Some(identity) => {
                let ephemeral = EphemeralKey::from_bytes(rand::random::<[u8; 32]>());
                let hello = ClientHello::new(ephemeral, identity);
                Connection::encrypted(now(), login, self.config.connection, hello)
            }
        };
        let mut inbound = BytesMut::new();
        let mut flushed = true;
        self.leave_at = None;
        loop {
            connection.on_timeout(now());
            if let Some(cause) = self.drive(&mut connection) {
                return Ok(Ended::Closed(cause));
            }
            let patient_until = self.leave_at.map(|at| at + LEAVE_PATIENCE);
            if self.is_leaving() && (connection.is_idle() || patient_until <= Some(now())) {
                self.lose(&mut connection);
                return Ok(Ended::Redirected);
            }
            if self.is_closing() && self.say_farewell(&mut connection) {
                return Err(EndCause::Closed);
            }
            let wake = [
                connection.next_timeout(),
                self.sync.next_timeout().filter(|_| self.pulls(&connection)),
                self.queue.next_timeout().filter(|_| connection.has_room() && !self.is_closing() && !self.is_leaving()),
                if self.is_leaving() { patient_until } else { self.leave_at },
                self.farewell_until,
            ];
            // Always in this order, so that a simulation repeats. Reading first: what was read is worked
            // off at once and holds nobody up for longer than the peer can send.
            tokio::select! {
                biased;
                read = reader.read_buf(&mut inbound) => {
                    if !matches!(read, Ok(1..)) {
                        connection.on_lost();
                    }
                    while let Some(frame) = deframer.next(&mut inbound) {
                        match frame {
                            Ok(frame) => connection.on_frame(now(), frame),
                            Err(error) => connection.on_framing_error(error),
                        }
                        if let Some(cause) = self.drive(&mut connection) {
                            return Ok(Ended::Closed(cause));
                        }
                    }
                }
                written = write_some(&mut writer, connection.output()), if !connection.output().is_empty() || !flushed => {
                    match written {
                        Ok(done) => flushed = done,
                        Err(_) => connection.on_lost(),
                    }
                }
                () = self.step() => {}
                () = sleep_until(wake.into_iter().flatten().min()) => {}
            }
        }
    }

    /// Works off what the connection tells, then gives it what waits. The cause, when it ended.
    fn drive(&mut self, connection: &mut Connection) -> Option<CloseCause> {
        while let Some(event) = connection.poll_event() {
            match event {
                ConnectionEvent::Ready(ack) => {
                    self.user = Some(ack.user.clone());
                    self.sync.on_connected(now());
                    self.catching_up = true;
                    self.set_state(State::Online { user: ack.user, session: ack.session });
                }
                ConnectionEvent::Answer(answer) => {
                    if let Err(cause) = self.on_answer(answer) {
                        self.lose(connection);
                        return Some(cause);
                    }
                }
                ConnectionEvent::Head(head) => self.sync.on_head(now(), head),
                ConnectionEvent::NewMsg(notify) => self.sync.on_notify(now(), notify),
                ConnectionEvent::Read(read) => self.hint(Event::Read(read)),
                ConnectionEvent::Signal(signal) => self.hint(Event::Signal(signal)),
                ConnectionEvent::Redirect(Redirect { gates, after_ms }) => {
                    self.gates.redirect(gates.into_iter().map(|gate| gate.text));
                    self.leave_at = Some(now() + Duration::from_millis(after_ms.into()));
                }
                ConnectionEvent::Closed(cause) => return Some(cause),
            }
        }
        self.feed(connection);
        None
    }

    /// Puts what waits on the wire, as far as the window has room: the pull first, because there is
    /// never more than one.
    fn feed(&mut self, connection: &mut Connection) {
        if self.is_closing() || self.is_leaving() {
            return;
        }
        let now = now();
        if self.pulls(connection)
            && let Some((id, asked)) = self.sync.poll_pull(now)
        {
            request(connection, now, Command::GetMsg, &asked, Tag::Pull(id));
        }
        while connection.has_room() {
            if let Some(call) = self.calls.pop_front() {
                if !call.reply.is_closed() {
                    let (command, body) = (call.command, call.body.clone());
                    request(connection, now, command, &Encoded(&body), Tag::Call(call));
                }
            } else if let Some((number, message)) = self.queue.poll_send(now) {
                request(connection, now, Command::SendMsg, message, Tag::Send(number));
            } else {
                break;
            }
        }
    }

    /// Whether a pull could go out now. When nobody listens to events, none ever does.
    fn pulls(&self, connection: &Connection) -> bool {
        connection.has_room() && !self.is_closing() && !self.is_leaving() && !self.events.is_closed()
    }

    /// Whether the gate has asked to connect elsewhere, and it is time: nothing more is asked here.
    fn is_leaving(&self) -> bool {
        self.leave_at.is_some_and(|at| at <= now())
    }

    fn on_answer(&mut self, answer: Answer<Tag>) -> Result<(), CloseCause> {
        match (answer.tag, answer.result) {
            (Tag::Call(call), Ok(body)) => reply(call, Ok(body)),
            (Tag::Call(call), Err(RequestError::Refused(refusal))) => reply(call, Err(refusal.into())),
            (Tag::Call(call), Err(RequestError::TimedOut)) => reply(call, Err(CallError::TimedOut)),
            // Every call may be asked again: they read, or they are idempotent.
            (Tag::Call(call), Err(RequestError::Lost)) => self.calls.push_back(call),

            (Tag::Send(number), Ok(body)) => self.on_sent(number, Codec::Binary.decode("SendAck", &body)?),
            (Tag::Send(number), Err(RequestError::Refused(refusal))) => {
                if let Some(queued) = self.queue.on_refused(now(), number, &refusal, self.dial.random()) {
                    self.tell(queued.tag, Err(refusal.into()));
                }
            }
            (Tag::Send(number), Err(RequestError::TimedOut)) => {
                self.queue.on_timeout(now(), number, self.dial.random())
            }

            (Tag::Pull(id), Ok(body)) => {
                let page: MsgPage = Codec::Binary.decode("MsgPage", &body)?;
                self.sync.on_page(now(), id, page, self.dial.random());
            }
            (Tag::Pull(id), Err(RequestError::Refused(refusal))) => {
                self.sync.on_pull_failed(now(), id, Some(&refusal), self.dial.random());
            }
            (Tag::Pull(id), Err(RequestError::TimedOut)) => {
                self.sync.on_pull_failed(now(), id, None, self.dial.random());
            }
            // The queue and the sync machine are told of the lost connection as a whole.
            (Tag::Send(_) | Tag::Pull(_), Err(RequestError::Lost)) => {}
        }
        Ok(())
    }

    /// An own message has its place: that is an entry of the timeline like any other.
    fn on_sent(&mut self, number: SendNumber, ack: SendAck) {
        let Some(queued) = self.queue.on_ack(number) else { return };
        if let Some(sender) = self.user.clone() {
            self.sync.on_own(now(), ack.position.epoch, entry(&ack, queued.message, sender));
        }
        self.tell(queued.tag, Ok(ack));
    }

    /// Gives the connection up and takes back what it still had.
    fn lose(&mut self, connection: &mut Connection) {
        connection.on_lost();
        while let Some(event) = connection.poll_event() {
            if let ConnectionEvent::Answer(Answer { tag: Tag::Call(call), result: Err(RequestError::Lost) }) = event {
                self.calls.push_back(call);
            }
        }
    }

    /// Says goodbye once; `true` when it has taken long enough.
    fn say_farewell(&mut self, connection: &mut Connection) -> bool {
        let now = now();
        match self.farewell_until {
            None => {
                self.farewell_until = Some(now + FAREWELL);
                connection.logout(now);
                !connection.is_ready()
            }
            Some(until) => until <= now,
        }
    }
}

/// The entry that an own message is, from what was sent and the ack.
fn entry(ack: &SendAck, sent: SendMsg, sender: UserId) -> Entry {
    Entry {
        seq: ack.position.seq,
        message: Message {
            conversation: ack.conversation.clone(),
            seq: ack.seq,
            sender,
            client_msg_id: sent.client_msg_id,
            time_ms: ack.time_ms,
            content_type: sent.content_type,
            payload: sent.payload,
        },
    }
}

/// Sends a request where the window has room, which the caller has seen.
fn request(connection: &mut Connection, now: Instant, command: Command, body: &impl Encode, tag: Tag) {
    if let Err(WindowFull(tag)) = connection.request(now, command, body, tag) {
        unreachable!("the window had room for {tag:?}");
    }
}

/// A body that is encoded already.
struct Encoded<'a>(&'a [u8]);

impl Encode for Encoded<'_> {
    fn encode(&self, out: &mut BytesMut) {
        out.extend_from_slice(self.0);
    }
}

/// Writes some bytes, or flushes when there are none; `true` when all is flushed. Cancellation-safe:
/// bytes leave `output` only when the stream has them.
async fn write_some(writer: &mut (impl AsyncWrite + Unpin), output: &mut BytesMut) -> std::io::Result<bool> {
    if output.is_empty() {
        writer.flush().await?;
        return Ok(true);
    }
    match writer.write_buf(output).await? {
        0 => Err(std::io::ErrorKind::WriteZero.into()),
        _ => Ok(false),
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
