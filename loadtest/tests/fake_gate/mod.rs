//! A gate with everything behind it, in memory and in this process: enough of the client protocol
//! for the load tool, and faults on demand that the tool has to see.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use im_auth::{Signer, Verifier, keys};
use im_proto::client::{
    Auth, AuthAck, Command, Encryption, Entry, GetMsg, HandShake, HandShakeAck, Message, MsgPage, NewMsg, SendAck,
    SendMsg,
};
use im_proto::{Epoch, Position, Refusal, RefusalCode, Seq, SessionId, Target, UserId};
use parking_lot::Mutex;
use proto_codec::{Bytes, BytesMut, Codec, Decode, Deframer, Encode, Flags, Frame, PREAMBLE_LEN, RESPONSE_BIT};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

const EPOCH: Epoch = Epoch(7);
/// Small, so that a run of a second needs several pages.
const PAGE_ROWS: usize = 20;

/// What happens to message number 5 of every sender; everything else goes right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Acked, and not in the receiver's timeline.
    Lost,
    /// Twice in the receiver's timeline.
    Doubled,
    /// The ack names a place that the message does not have.
    Misplaced,
    /// Refused.
    Refused,
}

pub(crate) struct FakeGate {
    pub(crate) address: SocketAddr,
    folder: TempDir,
}

#[derive(Default)]
struct World {
    timelines: HashMap<UserId, Vec<Entry>>,
    conversations: HashMap<String, u64>,
    online: HashMap<UserId, mpsc::Sender<BytesMut>>,
}

impl FakeGate {
    pub(crate) fn start(fault: Fault) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let signer = keys::load_or_create(folder.path()).unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(listener, tls, signer, fault));
        });
        Self { address, folder }
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub(crate) fn token_key(&self) -> PathBuf {
        Path::join(self.folder.path(), keys::PRIVATE_FILE)
    }
}

async fn serve(listener: std::net::TcpListener, tls: rustls::ServerConfig, signer: Signer, fault: Fault) {
    let listener = TcpListener::from_std(listener).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let verifier = Arc::new(Verifier::new([signer.public_key().clone()]).unwrap());
    let world = Arc::new(Mutex::new(World::default()));
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        tokio::spawn(connection(socket, acceptor.clone(), Arc::clone(&verifier), Arc::clone(&world), fault));
    }
}

async fn connection(
    socket: TcpStream,
    acceptor: TlsAcceptor,
    verifier: Arc<Verifier>,
    world: Arc<Mutex<World>>,
    fault: Fault,
) {
    let Ok(stream) = acceptor.accept(socket).await else { return };
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (outbox, mut to_write) = mpsc::channel::<BytesMut>(4096);
    tokio::spawn(async move {
        while let Some(frame) = to_write.recv().await {
            if writer.write_all(&frame).await.is_err() || writer.flush().await.is_err() {
                return;
            }
        }
    });
    reader.read_exact(&mut [0; PREAMBLE_LEN]).await.unwrap();
    let mut user = None;
    let mut buffer = BytesMut::new();
    loop {
        while let Some(frame) = Deframer::new(64 * 1024).next(&mut buffer) {
            let frame = frame.unwrap();
            let answer = match Command::from_number(frame.command) {
                Command::HandShake => answer(&frame, &welcome(&decode::<HandShake>(&frame.body))),
                Command::Auth => {
                    let auth: Auth = decode(&frame.body);
                    let claims = verifier.verify(&auth.token, std::time::SystemTime::now()).unwrap();
                    world.lock().online.insert(claims.user.clone(), outbox.clone());
                    answer(&frame, &logged_in(user.insert(claims.user)))
                }
                Command::SendMsg => {
                    let message = decode(&frame.body);
                    let stored = world.lock().store(user.as_ref().unwrap(), message, fault);
                    match stored {
                        Ok(ack) => answer(&frame, &ack),
                        Err(code) => refusal(&frame, code),
                    }
                }
                Command::GetMsg => {
                    let page = world.lock().page(user.as_ref().unwrap(), &decode(&frame.body));
                    answer(&frame, &page)
                }
                other => panic!("the load tool sent {other:?}"),
            };
            outbox.send(answer).await.unwrap();
        }
        if !matches!(reader.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
    }
}

impl World {
    fn store(&mut self, sender: &UserId, message: SendMsg, fault: Fault) -> Result<SendAck, RefusalCode> {
        let Target::User(receiver) = &message.to else { panic!("the load tool sent to a group") };
        let struck = message.client_msg_id.as_str().parse() == Ok(5);
        if struck && fault == Fault::Refused {
            return Err(RefusalCode::Busy);
        }
        let conversation = message.to.conversation(sender);
        let seq = self.conversations.entry(conversation.to_string()).or_default();
        *seq += 1;
        let stored = Message {
            conversation: conversation.clone(),
            seq: Seq(*seq),
            sender: sender.clone(),
            client_msg_id: message.client_msg_id,
            time_ms: 0,
            content_type: message.content_type,
            payload: message.payload,
        };
        let position = self.append(sender, &stored);
        let copies = match (struck, fault) {
            (true, Fault::Lost) => 0,
            (true, Fault::Doubled) => 2,
            _ => 1,
        };
        let mut receiver_seq = Seq::ZERO;
        for _ in 0..copies {
            receiver_seq = self.append(receiver, &stored);
        }
        if let Some(online) = self.online.get(receiver) {
            let head = Position { epoch: EPOCH, seq: receiver_seq };
            let notify = NewMsg { head, entry: Some(stored), query_after_ms: 0 };
            let mut out = BytesMut::new();
            Frame::encode_message(Command::NewMsg.number(), Flags::NONE, 0, &notify, &mut out);
            // A full queue loses a notify, as the protocol allows.
            let _ = online.try_send(out);
        }
        let misplaced = u64::from(struck && fault == Fault::Misplaced);
        Ok(SendAck {
            conversation,
            seq: Seq(*seq_of(&self.conversations, &message.to, sender) + misplaced),
            position: Position { epoch: EPOCH, seq: position },
            receiver_seq,
            time_ms: 0,
            repeated: false,
        })
    }

    fn append(&mut self, user: &UserId, message: &Message) -> Seq {
        let timeline = self.timelines.entry(user.clone()).or_default();
        let seq = Seq(timeline.len() as u64 + 1);
        timeline.push(Entry { seq, message: message.clone() });
        seq
    }

    fn page(&self, user: &UserId, ask: &GetMsg) -> MsgPage {
        let rows = self.timelines.get(user).map_or(&[][..], Vec::as_slice);
        let rest = &rows[ask.after.seq.0 as usize..];
        let entries = rest[..rest.len().min(PAGE_ROWS)].to_vec();
        let head = Position { epoch: EPOCH, seq: Seq(rows.len() as u64) };
        MsgPage { head, floor: Seq::ZERO, has_more: entries.len() < rest.len(), entries }
    }
}

fn seq_of<'a>(conversations: &'a HashMap<String, u64>, to: &Target, sender: &UserId) -> &'a u64 {
    &conversations[to.conversation(sender).as_str()]
}

fn welcome(hello: &HandShake) -> HandShakeAck {
    HandShakeAck {
        signature: Bytes::new(),
        version: 1,
        codec: hello.codecs[0],
        encryption: Encryption::None,
        frame_len_max: 64 * 1024,
        key_share: Bytes::new(),
    }
}

fn logged_in(user: &UserId) -> AuthAck {
    AuthAck {
        user: user.clone(),
        session: SessionId(1),
        heartbeat_ms: 30_000,
        keep_alive_ms: 180_000,
        server_time_ms: 0,
    }
}

fn decode<M: Decode>(body: &Bytes) -> M {
    Codec::Binary.decode("body", body).unwrap()
}

fn answer(request: &Frame, body: &impl Encode) -> BytesMut {
    let mut out = BytesMut::new();
    Frame::encode_message(request.command | RESPONSE_BIT, Flags::NONE, request.sequence, body, &mut out);
    out
}

fn refusal(request: &Frame, code: RefusalCode) -> BytesMut {
    let mut out = BytesMut::new();
    let body = Refusal::from(code);
    Frame::encode_message(request.command | RESPONSE_BIT, Flags::REFUSED, request.sequence, &body, &mut out);
    out
}
