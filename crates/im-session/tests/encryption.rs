//! Both ends of an encrypted connection, with somebody on the wire between them.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::time::{Duration, Instant};

use im_proto::client::{Command, Empty, KickReason, Kickout, Platform};
use im_proto::{DeviceId, RefusalCode, SessionId, UserId};
use im_secure::{ClientHello, EphemeralKey, HelloError, IdentityKey, OpenError, Sealer};
use im_session::client::{Answer, ClientConnection, CloseCause, ConnectionEvent, ConnectionLimits, Login};
use im_session::{Action, CloseReason, EncryptionPolicy, GateSession, GateSessionConfig};
use proto_codec::{Bytes, BytesMut, Codec, Deframer, Encode, Flags, Frame, PREAMBLE_LEN, RESPONSE_BIT};

fn identity(byte: u8) -> IdentityKey {
    IdentityKey::from_seed(&[byte; 32]).unwrap()
}

fn user() -> UserId {
    UserId::new("alice").unwrap()
}

/// A gate as its shell drives it, without a socket.
struct Gate {
    session: GateSession,
    config: GateSessionConfig,
    identity: IdentityKey,
    sealer: Option<Sealer>,
    out: BytesMut,
    requests: Vec<(Command, Bytes)>,
    closed: Option<CloseReason>,
}

impl Gate {
    fn new(encryption: EncryptionPolicy) -> Self {
        Self {
            session: GateSession::new(Instant::now(), encryption),
            config: GateSessionConfig::default(),
            identity: identity(9),
            sealer: None,
            out: BytesMut::new(),
            requests: Vec::new(),
            closed: None,
        }
    }

    fn send(&mut self, command: u16, flags: Flags, sequence: u32, body: &impl Encode) {
        let start = self.out.len();
        Frame::encode_message(command, flags, sequence, body, &mut self.out);
        if let Some(sealer) = &mut self.sealer {
            sealer.seal(&mut self.out, start);
        }
    }

    fn take(&mut self, mut bytes: BytesMut) {
        if self.session.wants_preamble() {
            let preamble: [u8; PREAMBLE_LEN] = bytes.split_to(PREAMBLE_LEN)[..].try_into().unwrap();
            let action = self.session.on_preamble(preamble);
            self.act(action);
        }
        while let Some(frame) = Deframer::new(u32::MAX).next(&mut bytes) {
            let action = self.session.on_frame(Instant::now(), frame.unwrap());
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::None => {}
            Action::AgreeKeys => {
                let action = self.session.on_keys(&self.identity, &EphemeralKey::from_bytes([2; 32]));
                self.act(action);
            }
            Action::Welcome(sequence, ack) => {
                self.send(Command::HandShake.number() | RESPONSE_BIT, Flags::NONE, sequence, &ack);
                self.sealer = self.session.take_sealer();
            }
            Action::CheckToken(_) => {
                let action = self.session.on_login(Instant::now(), &self.config, user(), SessionId(77), 1);
                self.act(action);
            }
            Action::LoggedIn(sequence, ack) => {
                self.send(Command::Auth.number() | RESPONSE_BIT, Flags::NONE, sequence, &ack);
                if let Some(sealer) = self.session.take_sealer() {
                    self.sealer = Some(sealer);
                }
            }
            Action::Forward { sequence, command, body } => {
                self.requests.push((command, body));
                self.send(command.number() | RESPONSE_BIT, Flags::NONE, sequence, &Empty {});
            }
            Action::HeartBeat(_) | Action::Refuse(..) => panic!("{action:?}"),
            Action::Close(reason) => {
                match &reason {
                    CloseReason::Logout(sequence) => {
                        self.send(Command::Logout.number() | RESPONSE_BIT, Flags::NONE, *sequence, &Empty {});
                    }
                    CloseReason::Protocol(command, sequence, refusal) => {
                        self.send(command | RESPONSE_BIT, Flags::REFUSED, *sequence, refusal);
                    }
                    other => panic!("{other:?}"),
                }
                self.closed = Some(reason);
            }
        }
    }
}

type Client = ClientConnection<&'static str>;

fn login() -> Login {
    Login {
        app_id: "test".into(),
        sdk: "test".into(),
        token: "a very secret token".into(),
        device: DeviceId::new("d").unwrap(),
        platform: Platform::Bot,
        codec: Codec::Binary,
    }
}

fn encrypted_client() -> Client {
    let hello = ClientHello::new(EphemeralKey::from_bytes([1; 32]), identity(9).public());
    Client::encrypted(Instant::now(), login(), ConnectionLimits::default(), hello)
}

fn plain_client() -> Client {
    Client::new(Instant::now(), login(), ConnectionLimits::default())
}

fn events(client: &mut Client) -> Vec<ConnectionEvent<&'static str>> {
    std::iter::from_fn(|| client.poll_event()).collect()
}

fn give(client: &mut Client, mut bytes: BytesMut) {
    while let Some(frame) = Client::deframer(Codec::Binary).next(&mut bytes) {
        client.on_frame(Instant::now(), frame.unwrap());
    }
}

/// Carries bytes back and forth until neither has more to say; all that was on the wire.
fn converse(client: &mut Client, gate: &mut Gate) -> Vec<u8> {
    let mut wire = Vec::new();
    loop {
        let (up, down) = (client.output().split(), gate.out.split());
        if up.is_empty() && down.is_empty() {
            return wire;
        }
        wire.extend_from_slice(&up);
        wire.extend_from_slice(&down);
        give(client, down);
        if !up.is_empty() {
            gate.take(up);
        }
    }
}

fn ready() -> (Client, Gate) {
    let (mut client, mut gate) = (encrypted_client(), Gate::new(EncryptionPolicy::Required));
    converse(&mut client, &mut gate);
    assert!(matches!(events(&mut client)[..], [ConnectionEvent::Ready(_)]));
    (client, gate)
}

fn closed(client: &mut Client) -> CloseCause {
    match events(client).pop() {
        Some(ConnectionEvent::Closed(cause)) => cause,
        other => panic!("{other:?}"),
    }
}

fn contains(wire: &[u8], text: &str) -> bool {
    wire.windows(text.len()).any(|run| run == text.as_bytes())
}

#[test]
fn login_and_requests_go_unreadable_over_the_wire() {
    let (mut client, mut gate) = (encrypted_client(), Gate::new(EncryptionPolicy::Allowed));
    let mut wire = converse(&mut client, &mut gate);
    assert!(matches!(events(&mut client)[..], [ConnectionEvent::Ready(ref ack)] if ack.session == SessionId(77)));
    for number in 0..5 {
        client.request(Instant::now(), Command::ReadMsg, &Bytes::from_static(b"plain words"), "tag").unwrap();
        wire.extend(converse(&mut client, &mut gate));
        let events = events(&mut client);
        assert!(matches!(&events[..], [ConnectionEvent::Answer(Answer { tag: "tag", result: Ok(_) })]), "{number}");
    }
    assert_eq!(gate.requests.len(), 5);
    assert!(contains(&gate.requests[4].1, "plain words"));
    for secret in ["a very secret token", "alice", "plain words"] {
        assert!(!contains(&wire, secret), "{secret} was readable");
    }
    client.logout(Instant::now());
    converse(&mut client, &mut gate);
    assert_eq!(closed(&mut client), CloseCause::LoggedOut);
}

#[test]
fn without_encryption_the_same_words_are_readable() {
    let (mut client, mut gate) = (plain_client(), Gate::new(EncryptionPolicy::Allowed));
    let wire = converse(&mut client, &mut gate);
    assert!(client.is_ready() && contains(&wire, "a very secret token"));
}

#[test]
fn wishes_that_do_not_fit_are_refused_with_their_code() {
    let refused = |mut client: Client, policy| {
        let mut gate = Gate::new(policy);
        let wire = converse(&mut client, &mut gate);
        assert!(!contains(&wire, "a very secret token"));
        match closed(&mut client) {
            CloseCause::Refused(refusal) => refusal.code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(encrypted_client(), EncryptionPolicy::Off), RefusalCode::NoEncryption);
    assert_eq!(refused(plain_client(), EncryptionPolicy::Required), RefusalCode::EncryptionRequired);
}

#[test]
fn a_gate_of_another_identity_never_sees_the_token() {
    let (mut client, mut gate) = (encrypted_client(), Gate::new(EncryptionPolicy::Allowed));
    gate.identity = identity(8);
    converse(&mut client, &mut gate);
    assert_eq!(closed(&mut client), CloseCause::NoEncryption(HelloError::BadSignature));
    assert!(client.output().is_empty());
}

#[test]
fn an_offer_that_was_taken_out_is_noticed_before_the_token() {
    let (mut client, mut gate) = (encrypted_client(), Gate::new(EncryptionPolicy::Allowed));
    let _ = client.output().split();
    // What the gate hears is a plain client.
    gate.take(plain_client().output().split());
    give(&mut client, gate.out.split());
    assert_eq!(closed(&mut client), CloseCause::NoEncryption(HelloError::NotEncrypted));
    assert!(client.output().is_empty());
}

#[test]
fn a_frame_changed_on_the_way_up_ends_the_connection() {
    let (mut client, mut gate) = ready();
    client.request(Instant::now(), Command::ReadMsg, &Empty {}, "tag").unwrap();
    let mut up = client.output().split();
    *up.last_mut().unwrap() ^= 1;
    gate.take(up);
    assert!(gate.requests.is_empty());
    let Some(CloseReason::Protocol(0, 0, refusal)) = &gate.closed else { panic!("{:?}", gate.closed) };
    assert_eq!(refusal.code, RefusalCode::NotAuthentic);
    // The last word is sealed, and heard.
    converse(&mut client, &mut gate);
    assert!(matches!(closed(&mut client), CloseCause::Refused(refusal) if refusal.code == RefusalCode::NotAuthentic));
}

#[test]
fn a_plain_frame_on_the_way_up_ends_the_connection() {
    let (_, mut gate) = ready();
    let mut up = BytesMut::new();
    Frame::encode_message(Command::ReadMsg.number(), Flags::NONE, 9, &Empty {}, &mut up);
    gate.take(up);
    assert!(gate.requests.is_empty());
    assert!(matches!(&gate.closed, Some(CloseReason::Protocol(0, 0, r)) if r.code == RefusalCode::NotAuthentic));
}

#[test]
fn a_frame_changed_repeated_or_forged_on_the_way_down_ends_the_connection() {
    let answer = |change: fn(&mut BytesMut)| {
        let (mut client, mut gate) = ready();
        client.request(Instant::now(), Command::ReadMsg, &Empty {}, "tag").unwrap();
        gate.take(client.output().split());
        let mut down = gate.out.split();
        change(&mut down);
        give(&mut client, down);
        closed(&mut client)
    };
    let not_authentic = CloseCause::NotAuthentic(OpenError::NotAuthentic);
    assert_eq!(answer(|bytes| bytes[11] ^= 1), not_authentic, "its sequence");
    assert_eq!(answer(|bytes| bytes[5] ^= 1), not_authentic, "its command");
    assert_eq!(answer(|bytes| bytes[7] ^= 1), not_authentic, "its refused flag");
    assert_eq!(answer(|bytes| bytes[12] ^= 1), not_authentic, "its body");
    assert_eq!(answer(|bytes| bytes.extend_from_slice(&bytes.clone())), not_authentic, "repeated");
    assert_eq!(answer(|bytes| bytes[7] ^= 2), CloseCause::NotAuthentic(OpenError::NotEncrypted), "not marked");
    let kick = |bytes: &mut BytesMut| {
        let kickout = Kickout { reason: KickReason::Forbidden, detail: String::new() };
        bytes.clear();
        Frame::encode_message(Command::Kickout.number(), Flags::NONE, 0, &kickout, bytes);
    };
    assert_eq!(answer(kick), CloseCause::NotAuthentic(OpenError::NotEncrypted), "a kick by somebody else");
}

/// The end itself can be cut off unnoticed: it is then a lost connection, never a logout or a kick.
#[test]
fn a_goodbye_that_was_cut_off_is_a_lost_connection() {
    let (mut client, mut gate) = ready();
    client.logout(Instant::now());
    gate.take(client.output().split());
    assert!(matches!(gate.closed, Some(CloseReason::Logout(_))));
    client.on_lost();
    assert_eq!(closed(&mut client), CloseCause::Lost);
}

#[test]
fn encrypted_frames_without_agreed_keys_are_refused() {
    let mark = |bytes: &mut BytesMut, at: usize| bytes[at + 7] |= 2;
    let (mut client, mut gate) = (plain_client(), Gate::new(EncryptionPolicy::Allowed));
    let mut up = client.output().split();
    mark(&mut up, PREAMBLE_LEN);
    gate.take(up);
    assert!(matches!(&gate.closed, Some(CloseReason::Protocol(0, 0, r)) if r.code == RefusalCode::NotAuthentic));

    let mut gate = Gate::new(EncryptionPolicy::Allowed);
    gate.take(plain_client().output().split());
    let mut down = gate.out.split();
    mark(&mut down, 0);
    give(&mut client, down);
    assert_eq!(closed(&mut client), CloseCause::NotAuthentic(OpenError::NotAgreed));
}

#[test]
fn a_client_that_agrees_and_then_is_silent_has_the_logins_deadline() {
    let (mut client, mut gate) = (encrypted_client(), Gate::new(EncryptionPolicy::Allowed));
    gate.take(client.output().split());
    let late = Instant::now() + gate.config.login_timeout + Duration::from_secs(1);
    assert_eq!(gate.session.on_timeout(late, &gate.config), Action::Close(CloseReason::LoginTimeout));
}
