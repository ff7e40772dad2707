//! `proto-codec/testdata/encryption-v1.json`: an encrypted connection with fixed keys, every value in
//! between written down. What stands in the file is computed here step by step from the rules of the
//! protocol page, with nothing but hash, HMAC, agreement, signature and cipher; the crate then has to
//! come to the same bytes. `SIM_WRITE_VECTORS=1` writes the file anew.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use aws_lc_rs::aead::{AES_128_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use aws_lc_rs::{digest, hmac};
use bytes::{Bytes, BytesMut};
use im_proto::client::{
    Auth, AuthAck, Command, ContentType, Empty, HandShake, HandShakeAck, HeartBeatAck, NewMsg, Platform, SendMsg,
};
use im_proto::{ClientMsgId, DeviceId, Epoch, Position, Seq, SessionId, Target, UserId};
use im_secure::{ClientHello, EphemeralKey, IdentityKey, Keys, ServerHello, Suite};
use proto_codec::{CodecId, Encode, Flags, Frame, Hop, Preamble, RESPONSE_BIT};
use serde_json::{Value, json};

/// The two private keys of RFC 7748, section 6.1, and the first of RFC 8032, section 7.1: their public
/// keys and the shared secret can be looked up there.
const CLIENT_PRIVATE: &str = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
const GATE_PRIVATE: &str = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb";
const SHARED: &str = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
const IDENTITY_SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const IDENTITY_PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

const REKEY_AFTER: u64 = 3;
const SESSION: SessionId = SessionId(42);
const USER: &str = "alice";

#[test]
fn the_kept_vectors_hold() {
    let file = json!({
        "about": "Encrypted bodies with fixed keys. Bytes are hex. 'derive' names label and context of each HKDF-Expand. Frames of a direction are numbered from 0 under each key; here a key is replaced after 3 frames instead of 1048576.",
        "rekey_after": REKEY_AFTER,
        "vectors": Suite::ALL.map(connection),
    });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto-codec/testdata/encryption-v1.json");
    if std::env::var_os("SIM_WRITE_VECTORS").is_some() {
        fs::write(&path, serde_json::to_string_pretty(&file).unwrap() + "\n").unwrap();
    }
    let kept: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert!(kept == file, "encryption-v1.json differs; SIM_WRITE_VECTORS=1 writes it anew");
}

/// One whole connection: by the rules, and by the crate.
fn connection(suite: Suite) -> Value {
    let (client_share, gate_share) = (public_key(CLIENT_PRIVATE), public_key(GATE_PRIVATE));
    let preamble = Preamble::current(Hop::Client).encode();
    let hello = HandShake {
        app_id: "chat".into(),
        sdk: "vectors/1".into(),
        codecs: vec![CodecId::Binary],
        suites: vec![suite.wire()],
        key_share: client_share.clone(),
    };
    let hello_frame = request(Command::HandShake, 1, &hello);
    let mut hello_bytes = BytesMut::new();
    hello_frame.encode(&mut hello_bytes);

    // The answer as it will travel, with zeros where the signature will be.
    let unsigned = HandShakeAck {
        signature: Bytes::from_static(&[0; 64]),
        version: 1,
        codec: CodecId::Binary,
        encryption: suite.wire(),
        frame_len_max: 65_536,
        key_share: gate_share.clone(),
    };
    let unsigned_frame = answer(Command::HandShake, 1, &unsigned);
    let ack_header = unsigned_frame.header().to_bytes();
    let ack_behind_signature = &unsigned_frame.body[65..];
    let transcript = [&preamble[..], &hello_bytes, &ack_header, ack_behind_signature].concat();
    let transcript_hash = digest::digest(&digest::SHA256, &transcript).as_ref().to_vec();
    let signed = [b"sim encrypted bodies v1, gate\0", &transcript_hash[..]].concat();
    let identity = Ed25519KeyPair::from_seed_unchecked(&unhex(IDENTITY_SEED)).unwrap();
    assert_eq!(hex(identity.public_key().as_ref()), IDENTITY_PUBLIC);
    let signature = identity.sign(&signed).as_ref().to_vec();
    let ack = HandShakeAck { signature: signature.clone().into(), ..unsigned };
    let ack_frame = answer(Command::HandShake, 1, &ack);
    let mut ack_bytes = BytesMut::new();
    ack_frame.encode(&mut ack_bytes);

    let shared = shared_secret(CLIENT_PRIVATE, &gate_share);
    assert_eq!(hex(&shared), SHARED);
    assert_eq!(shared, shared_secret(GATE_PRIVATE, &client_share));
    let root = hmac_sha256(&transcript_hash, &shared);
    let session_context = [&SESSION.0.to_be_bytes()[..], USER.as_bytes()].concat();
    let secrets = [
        ("client handshake", Vec::new()),
        ("gate handshake", Vec::new()),
        ("client session", session_context.clone()),
        ("gate session", session_context),
    ]
    .map(|(label, context)| (label, derive(&root, label, &context, 32), context));

    let mut written = Vec::new();
    let mut keys = Vec::new();
    for ((label, secret, context), frames) in secrets.iter().zip(conversation()) {
        let mut direction = Direction { suite, label, generation: 0, secret: secret.clone(), number: 0 };
        keys.push(direction.describe(&json!({ "secret": "root", "label": label, "context": hex(context) })));
        for frame in &frames {
            if direction.number == REKEY_AFTER {
                direction.rekey();
                keys.push(direction.describe(&json!({ "secret": "the one before", "label": "rekey", "context": "" })));
            }
            written.push(direction.seal(frame));
        }
    }

    // The crate comes to the same.
    let identity = IdentityKey::from_seed(&unhex(IDENTITY_SEED).try_into().unwrap()).unwrap();
    let client =
        ClientHello::new(ephemeral(CLIENT_PRIVATE), identity.public()).sent(&[&preamble[..], &hello_bytes].concat());
    let server = ServerHello::new(&preamble, &hello_frame, &hello).unwrap();
    let plain = HandShakeAck { signature: Bytes::new(), key_share: Bytes::new(), ..ack.clone() };
    let (given, gate_agreed) = server.answer(&identity, &ephemeral(GATE_PRIVATE), plain).unwrap();
    assert_eq!(given, ack);
    let client_agreed = client.finish(&ack_frame).unwrap().with_rekey_after(REKEY_AFTER);
    let gate_agreed = gate_agreed.with_rekey_after(REKEY_AFTER);
    let user = UserId::new(USER).unwrap();
    let handshake = (client_agreed.handshake_keys(), gate_agreed.handshake_keys());
    let session = (client_agreed.session_keys(SESSION, &user), gate_agreed.session_keys(SESSION, &user));
    let mut seen = Vec::new();
    for ((client, gate), [up, down]) in [handshake, session].into_iter().zip(phases()) {
        let (Keys { sealer, opener }, gate) = (client, gate);
        seen.extend(sealed_by(sealer, gate.opener, &up));
        seen.extend(sealed_by(gate.sealer, opener, &down));
    }
    let kept: Vec<_> = written.iter().map(|row| row["sealed"].as_str().unwrap().to_owned()).collect();
    assert_eq!(seen, kept, "{suite:?}");

    json!({
        "suite": { "name": format!("{suite:?}"), "number": suite.wire().number() },
        "client_private": CLIENT_PRIVATE,
        "client_key_share": hex(&client_share),
        "gate_private": GATE_PRIVATE,
        "gate_key_share": hex(&gate_share),
        "identity_seed": IDENTITY_SEED,
        "identity_public": IDENTITY_PUBLIC,
        "preamble": hex(&preamble),
        "handshake_frame": hex(&hello_bytes),
        "ack_header": hex(&ack_header),
        "ack_behind_signature": hex(ack_behind_signature),
        "transcript": hex(&transcript),
        "transcript_hash": hex(&transcript_hash),
        "signed": hex(&signed),
        "signature": hex(&signature),
        "ack_frame": hex(&ack_bytes),
        "shared": hex(&shared),
        "root": hex(&root),
        "session_id": SESSION.0.to_string(),
        "user": USER,
        "keys": keys,
        "frames": written,
    })
}

/// What is said under each secret, in the order of the secrets.
fn conversation() -> [Vec<Frame>; 4] {
    let [[auth, auth_ack], [up, down]] = phases();
    [auth, auth_ack, up, down]
}

/// Handshake keys and session keys, each with what the client and what the gate says under them.
fn phases() -> [[Vec<Frame>; 2]; 2] {
    let auth = Auth { token: "token".into(), device: DeviceId::new("d1").unwrap(), platform: Platform::Mobile };
    let auth_ack = AuthAck {
        user: UserId::new(USER).unwrap(),
        session: SESSION,
        heartbeat_ms: 30_000,
        keep_alive_ms: 180_000,
        server_time_ms: 1_700_000_000_000,
    };
    let head = Position { epoch: Epoch(1), seq: Seq(7) };
    let send = |text: &'static str| SendMsg {
        to: Target::User(UserId::new("bob").unwrap()),
        client_msg_id: ClientMsgId::new("m-1").unwrap(),
        content_type: ContentType::Text,
        payload: Bytes::from_static(text.as_bytes()),
    };
    let up = vec![
        request(Command::HeartBeat, 1, &Empty {}),
        request(Command::SendMsg, 2, &send("hello")),
        // No body at all is encrypted too.
        Frame { command: 0x7001, flags: Flags::NONE, sequence: 3, body: Bytes::new() },
        request(Command::SendMsg, 4, &send("under the second key")),
        request(Command::HeartBeat, 5, &Empty {}),
        request(Command::HeartBeat, 6, &Empty {}),
        request(Command::Logout, 7, &Empty {}),
    ];
    let heart = HeartBeatAck { head: Some(head), server_time_ms: 1_700_000_000_500 };
    let down = vec![
        answer(Command::HeartBeat, 1, &heart),
        request(Command::NewMsg, 0, &NewMsg { head, entry: None, query_after_ms: 0 }),
        Frame {
            flags: Flags::REFUSED,
            ..answer(Command::SendMsg, 2, &im_proto::Refusal::from(im_proto::RefusalCode::Busy))
        },
        answer(Command::Logout, 7, &Empty {}),
    ];
    [[vec![request(Command::Auth, 2, &auth)], vec![answer(Command::Auth, 2, &auth_ack)]], [up, down]]
}

fn sealed_by(mut sealer: im_secure::Sealer, mut opener: im_secure::Opener, frames: &[Frame]) -> Vec<String> {
    let seal = |frame: &Frame| {
        let mut out = BytesMut::new();
        sealer.seal_frame(frame, &mut out);
        let sealed = proto_codec::Deframer::new(u32::MAX).next(&mut out.clone()).unwrap().unwrap();
        assert_eq!(opener.open(sealed).as_ref(), Ok(frame));
        hex(&out)
    };
    frames.iter().map(seal).collect()
}

/// One direction, by the rules.
struct Direction {
    suite: Suite,
    label: &'static str,
    generation: u32,
    secret: Vec<u8>,
    number: u64,
}

impl Direction {
    fn key(&self) -> Vec<u8> {
        let length = if self.suite == Suite::Aes128Gcm { 16 } else { 32 };
        derive(&self.secret, "key", &[], length)
    }

    fn iv(&self) -> Vec<u8> {
        derive(&self.secret, "iv", &[], 12)
    }

    fn nonce(&self, number: u64) -> [u8; 12] {
        let mut nonce: [u8; 12] = self.iv().try_into().unwrap();
        let padded = [&[0; 4][..], &number.to_be_bytes()].concat();
        nonce.iter_mut().zip(padded).for_each(|(byte, other)| *byte ^= other);
        nonce
    }

    fn rekey(&mut self) {
        self.secret = derive(&self.secret, "rekey", &[], 32);
        (self.generation, self.number) = (self.generation + 1, 0);
    }

    fn describe(&self, derived: &Value) -> Value {
        json!({
            "direction": self.label, "generation": self.generation, "derive": derived, "secret": hex(&self.secret),
            "key": hex(&self.key()), "iv": hex(&self.iv()),
            "nonce_0": hex(&self.nonce(0)), "nonce_1": hex(&self.nonce(1)),
        })
    }

    fn seal(&mut self, frame: &Frame) -> Value {
        let header = [
            &(frame.body.len() as u32 + 16).to_be_bytes()[..],
            &frame.command.to_be_bytes(),
            &(frame.flags.bits() | 2).to_be_bytes(),
            &frame.sequence.to_be_bytes(),
        ]
        .concat();
        let algorithm = if self.suite == Suite::Aes128Gcm { &AES_128_GCM } else { &CHACHA20_POLY1305 };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, &self.key()).unwrap());
        let nonce = self.nonce(self.number);
        let mut body = frame.body.to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&header), &mut body).unwrap();
        let row = json!({
            "direction": self.label, "generation": self.generation, "number": self.number, "nonce": hex(&nonce),
            "header": hex(&header), "body": hex(&frame.body), "sealed": hex(&[&header[..], &body].concat()),
        });
        self.number += 1;
        row
    }
}

/// HKDF-Expand of one block, by hand: RFC 5869, section 2.3.
fn derive(secret: &[u8], label: &str, context: &[u8], length: usize) -> Vec<u8> {
    let info = [b"sim v1 ", label.as_bytes(), &[0], context, &[1]].concat();
    hmac_sha256(secret, &info)[..length].to_vec()
}

fn hmac_sha256(key: &[u8], data: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data).as_ref().to_vec()
}

fn private_key(text: &str) -> PrivateKey {
    PrivateKey::from_private_key(&X25519, &unhex(text)).unwrap()
}

fn public_key(private: &str) -> Bytes {
    Bytes::copy_from_slice(private_key(private).compute_public_key().unwrap().as_ref())
}

fn shared_secret(private: &str, public: &[u8]) -> Vec<u8> {
    let secret =
        agree(&private_key(private), UnparsedPublicKey::new(&X25519, public), (), |secret| Ok(secret.to_vec()));
    secret.unwrap()
}

fn ephemeral(text: &str) -> EphemeralKey {
    EphemeralKey::from_bytes(<[u8; 32]>::try_from(unhex(text)).unwrap())
}

fn request(command: Command, sequence: u32, message: &impl Encode) -> Frame {
    let mut body = BytesMut::new();
    message.encode(&mut body);
    Frame { command: command.number(), flags: Flags::NONE, sequence, body: body.freeze() }
}

fn answer(command: Command, sequence: u32, message: &impl Encode) -> Frame {
    Frame { command: command.number() | RESPONSE_BIT, ..request(command, sequence, message) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
