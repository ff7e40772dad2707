//! What somebody between client and gate can try, each refused with its own error.
#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use im_proto::client::{Command, Encryption, HandShake, HandShakeAck};
use im_proto::{SessionId, UserId};
use im_secure::{
    Agreed, BadKeyShare, ClientHello, ClientWaiting, EphemeralKey, HelloError, IdentityKey, Keys, OfferError,
    OpenError, Opener, Sealer, ServerHello, Suite, TAG_LEN, fuzzing,
};
use proptest::prelude::*;
use proto_codec::{CodecId, Deframer, Encode, Flags, Frame, Hop, PREAMBLE_LEN, Preamble, RESPONSE_BIT};

const PREAMBLE: [u8; PREAMBLE_LEN] = Preamble::current(Hop::Client).encode();

fn identity(byte: u8) -> IdentityKey {
    IdentityKey::from_seed(&[byte; 32]).unwrap()
}

fn ephemeral(byte: u8) -> EphemeralKey {
    EphemeralKey::from_bytes([byte; 32])
}

fn frame(command: u16, sequence: u32, message: &impl Encode) -> Frame {
    let mut body = BytesMut::new();
    message.encode(&mut body);
    Frame { command, flags: Flags::NONE, sequence, body: body.freeze() }
}

fn hello() -> HandShake {
    HandShake {
        app_id: "chat".into(),
        sdk: "test".into(),
        codecs: vec![CodecId::Binary],
        suites: vec![],
        key_share: Bytes::new(),
    }
}

/// All that a client has written after its first frame.
fn written(first: &Frame) -> BytesMut {
    let mut bytes = BytesMut::from(&PREAMBLE[..]);
    first.encode(&mut bytes);
    bytes
}

fn ack() -> HandShakeAck {
    HandShakeAck {
        signature: Bytes::new(),
        version: 1,
        codec: CodecId::Binary,
        encryption: Encryption::None,
        frame_len_max: 65_536,
        key_share: Bytes::new(),
    }
}

/// The client that has spoken, what it said, and what an honest gate answers.
fn half_way() -> (ClientWaiting, Frame, HandShake) {
    let client = ClientHello::new(ephemeral(1), identity(9).public());
    let handshake = client.offer(hello());
    let sent = frame(Command::HandShake.number(), 1, &handshake);
    (client.sent(&written(&sent)), sent, handshake)
}

fn gate_answers(
    sent: &Frame,
    handshake: &HandShake,
    identity: &IdentityKey,
) -> Result<(HandShakeAck, Agreed), OfferError> {
    ServerHello::new(&PREAMBLE, sent, handshake)?.answer(identity, &ephemeral(2), ack())
}

fn ack_frame(ack: &HandShakeAck) -> Frame {
    frame(Command::HandShake.number() | RESPONSE_BIT, 1, ack)
}

fn agreed() -> (Agreed, Agreed) {
    let (client, sent, handshake) = half_way();
    let (ack, gate) = gate_answers(&sent, &handshake, &identity(9)).unwrap();
    (client.finish(&ack_frame(&ack)).unwrap(), gate)
}

fn session(session: u64, user: &str) -> (Keys, Keys) {
    let (client, gate) = agreed();
    let user = UserId::new(user).unwrap();
    let keys = |agreed: Agreed| agreed.with_rekey_after(4).session_keys(SessionId(session), &user);
    (keys(client), keys(gate))
}

fn plain(number: u32) -> Frame {
    let body = vec![number as u8; number as usize % 50].into();
    Frame { command: 5, flags: Flags::NONE, sequence: number, body }
}

fn seal(sealer: &mut Sealer, frame: &Frame) -> Frame {
    cut(&sealed_bytes(sealer, frame)).unwrap()
}

fn sealed_bytes(sealer: &mut Sealer, frame: &Frame) -> BytesMut {
    let mut out = BytesMut::new();
    sealer.seal_frame(frame, &mut out);
    out
}

fn cut(bytes: &[u8]) -> Option<Frame> {
    Deframer::new(u32::MAX).next(&mut BytesMut::from(bytes))?.ok()
}

#[test]
fn frames_of_both_directions_open_in_order_through_many_keys() {
    let (mut client, mut gate) = session(1, "a");
    for number in 0..100 {
        let up = seal(&mut client.sealer, &plain(number));
        assert_eq!(up.body.len(), plain(number).body.len() + TAG_LEN);
        assert_eq!(gate.opener.open(up), Ok(plain(number)));
        let refused = Frame { flags: Flags::REFUSED, ..plain(number) };
        assert_eq!(client.opener.open(seal(&mut gate.sealer, &refused)), Ok(refused));
    }
}

#[test]
fn a_replay_is_refused() {
    let (mut client, mut gate) = session(1, "a");
    // Beyond a key's change too: number 0 under the second key is not number 0 under the first.
    let sent: Vec<_> = (0..6).map(|number| seal(&mut client.sealer, &plain(number))).collect();
    for (number, due) in sent.iter().enumerate() {
        for earlier in &sent[..number] {
            assert_eq!(gate.opener.open(earlier.clone()), Err(OpenError::NotAuthentic));
        }
        assert_eq!(gate.opener.open(due.clone()), Ok(plain(number as u32)));
    }
}

#[test]
fn a_reorder_is_refused() {
    let (mut client, mut gate) = session(1, "a");
    let (first, second) = (seal(&mut client.sealer, &plain(1)), seal(&mut client.sealer, &plain(2)));
    assert_eq!(gate.opener.open(second), Err(OpenError::NotAuthentic));
    assert_eq!(gate.opener.open(first), Ok(plain(1)));
}

#[test]
fn a_reflection_is_refused() {
    let (mut client, _) = session(1, "a");
    let own = seal(&mut client.sealer, &plain(1));
    assert_eq!(client.opener.open(own), Err(OpenError::NotAuthentic));
}

#[test]
fn a_frame_that_was_dropped_is_told_by_the_next() {
    let (mut client, mut gate) = session(1, "a");
    let sent: Vec<_> = (0..9).map(|number| seal(&mut client.sealer, &plain(number))).collect();
    assert!(gate.opener.open(sent[0].clone()).is_ok());
    for later in &sent[2..] {
        assert_eq!(gate.opener.open(later.clone()), Err(OpenError::NotAuthentic));
    }
}

#[test]
fn a_frame_cut_anywhere_is_refused() {
    let (mut client, mut gate) = session(1, "a");
    let whole = seal(&mut client.sealer, &plain(7));
    for length in 0..whole.body.len() {
        let error = if length < TAG_LEN { OpenError::TooShort { length } } else { OpenError::NotAuthentic };
        let cut = Frame { body: whole.body.slice(..length), ..whole.clone() };
        assert_eq!(gate.opener.open(cut), Err(error));
    }
    assert_eq!(gate.opener.open(whole), Ok(plain(7)));
}

#[test]
fn a_bit_changed_anywhere_is_refused() {
    let (mut client, mut gate) = session(1, "a");
    let whole = sealed_bytes(&mut client.sealer, &plain(7));
    let mut tried = 0;
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        // A changed length may leave no whole frame, an unknown flag no frame at all.
        let Some(frame) = cut(&bytes) else { continue };
        let error = gate.opener.open(frame).unwrap_err();
        assert!(matches!(error, OpenError::NotAuthentic | OpenError::NotEncrypted | OpenError::TooShort { .. }));
        tried += 1;
    }
    assert!(tried > whole.len() * 8 - 50, "{tried}");
    assert_eq!(gate.opener.open(cut(&whole).unwrap()), Ok(plain(7)));
}

#[test]
fn a_plain_frame_is_refused() {
    let (_, mut gate) = session(1, "a");
    assert_eq!(gate.opener.open(plain(1)), Err(OpenError::NotEncrypted));
    let marked = Frame { flags: Flags::NONE.encrypted(), ..plain(1) };
    assert_eq!(gate.opener.open(marked), Err(OpenError::TooShort { length: 1 }));
}

#[test]
fn an_empty_body_is_encrypted_too() {
    let (mut client, mut gate) = session(1, "a");
    let sealed = seal(&mut client.sealer, &plain(0));
    assert_eq!(sealed.body.len(), TAG_LEN);
    assert_eq!(gate.opener.open(sealed), Ok(plain(0)));
}

#[test]
fn keys_belong_to_one_session_of_one_user() {
    let opens = |mut sealer: Sealer, mut opener: Opener| opener.open(seal(&mut sealer, &plain(1)));
    assert_eq!(opens(session(1, "a").0.sealer, session(1, "a").1.opener), Ok(plain(1)));
    assert_eq!(opens(session(1, "a").0.sealer, session(2, "a").1.opener), Err(OpenError::NotAuthentic));
    assert_eq!(opens(session(1, "a").0.sealer, session(1, "b").1.opener), Err(OpenError::NotAuthentic));
    let before_login = agreed().0.handshake_keys();
    assert_eq!(opens(before_login.sealer, session(1, "a").1.opener), Err(OpenError::NotAuthentic));
}

#[test]
fn the_key_changes_after_the_stated_number_of_frames() {
    let (client, gate) = agreed();
    let user = UserId::new("a").unwrap();
    let mut sealer = client.with_rekey_after(4).session_keys(SessionId(1), &user).sealer;
    let mut opener = gate.with_rekey_after(5).session_keys(SessionId(1), &user).opener;
    for number in 0..4 {
        assert!(opener.open(seal(&mut sealer, &plain(number))).is_ok(), "{number}");
    }
    assert_eq!(opener.open(seal(&mut sealer, &plain(4))), Err(OpenError::NotAuthentic));
}

#[test]
fn another_identity_is_refused() {
    let (client, sent, handshake) = half_way();
    let (ack, _) = gate_answers(&sent, &handshake, &identity(8)).unwrap();
    assert_eq!(client.finish(&ack_frame(&ack)).err(), Some(HelloError::BadSignature));
}

#[test]
fn whatever_somebody_changes_in_the_handshake_is_noticed() {
    // The client's words: its other suites taken out, its key share or its name replaced.
    let changes: [fn(&mut HandShake); 3] = [
        |hello| hello.suites = vec![Encryption::Aes128Gcm],
        |hello| hello.key_share = ephemeral(3).public(),
        |hello| hello.app_id = "chas".into(),
    ];
    for change in changes {
        let (client, sent, mut handshake) = half_way();
        change(&mut handshake);
        let heard = frame(sent.command, sent.sequence, &handshake);
        let (ack, _) = gate_answers(&heard, &handshake, &identity(9)).unwrap();
        assert_eq!(client.finish(&ack_frame(&ack)).err(), Some(HelloError::BadSignature));
    }
    // The first bytes.
    let (client, sent, handshake) = half_way();
    let older = ServerHello::new(b"SIM!C\0\0\0", &sent, &handshake).unwrap();
    let (ack, _) = older.answer(&identity(9), &ephemeral(2), ack()).unwrap();
    assert_eq!(client.finish(&ack_frame(&ack)).err(), Some(HelloError::BadSignature));

    // The gate's words: every bit of its answer's body, and its sequence.
    let (_, sent, handshake) = half_way();
    let (ack, _) = gate_answers(&sent, &handshake, &identity(9)).unwrap();
    let honest = ack_frame(&ack);
    for bit in 0..honest.body.len() * 8 {
        let mut body = honest.body.to_vec();
        body[bit / 8] ^= 1 << (bit % 8);
        let changed = Frame { body: body.into(), ..honest.clone() };
        assert!(half_way().0.finish(&changed).is_err(), "bit {bit}");
    }
    let moved = Frame { sequence: 2, ..honest.clone() };
    assert_eq!(half_way().0.finish(&moved).err(), Some(HelloError::BadSignature));
    assert!(half_way().0.finish(&honest).is_ok());
}

#[test]
fn an_answer_without_encryption_is_refused() {
    let answer = |ack: HandShakeAck| half_way().0.finish(&ack_frame(&ack)).unwrap_err();
    assert_eq!(answer(ack()), HelloError::NotEncrypted);
    assert_eq!(answer(HandShakeAck { encryption: Encryption::Unknown(9), ..ack() }), HelloError::NotOffered);
    assert_eq!(answer(HandShakeAck { encryption: Encryption::Aes128Gcm, ..ack() }), HelloError::BadSignature);
    let body = Bytes::from_static(b"\0");
    assert!(matches!(half_way().0.finish(&Frame { body, ..ack_frame(&ack()) }), Err(HelloError::Body(_))));
}

#[test]
fn the_gate_takes_the_first_suite_that_it_knows() {
    let (_, sent, handshake) = half_way();
    let chosen = |suites: Vec<Encryption>| {
        let handshake = HandShake { suites, ..handshake.clone() };
        gate_answers(&sent, &handshake, &identity(9)).map(|(ack, _)| ack.encryption)
    };
    let unknown = Encryption::Unknown(77);
    assert_eq!(chosen(vec![unknown, Encryption::Aes128Gcm, Encryption::ChaCha20Poly1305]), Ok(Encryption::Aes128Gcm));
    assert_eq!(chosen(vec![Encryption::None, unknown]), Err(OfferError::NoSuite));
    assert_eq!(chosen(vec![]), Err(OfferError::NoSuite));
}

/// The points of small order: agreeing with one gives zeros, whatever the own key is.
fn small_order() -> Vec<[u8; 32]> {
    let with = |edges: &[(usize, u8)], fill: u8| {
        let mut point = [fill; 32];
        edges.iter().for_each(|(at, byte)| point[*at] = *byte);
        point
    };
    let unhex = |text: &str| -> [u8; 32] {
        let bytes: Vec<_> = (0..64).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect();
        bytes.try_into().unwrap()
    };
    vec![
        [0; 32],
        with(&[(0, 1)], 0),
        unhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        unhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        // p - 1, p, p + 1.
        with(&[(0, 0xec), (31, 0x7f)], 0xff),
        with(&[(0, 0xed), (31, 0x7f)], 0xff),
        with(&[(0, 0xee), (31, 0x7f)], 0xff),
    ]
}

#[test]
fn a_gate_refuses_key_shares_that_give_no_secret() {
    let (_, sent, handshake) = half_way();
    for point in small_order() {
        let key_share = Bytes::copy_from_slice(&point);
        let handshake = HandShake { key_share: key_share.clone(), ..handshake.clone() };
        let refused = gate_answers(&sent, &handshake, &identity(9)).err();
        assert_eq!(refused, Some(OfferError::BadKeyShare(BadKeyShare)), "{point:02x?}");
    }
    for length in [0, 31] {
        let handshake = HandShake { key_share: vec![9; length].into(), ..handshake.clone() };
        assert_eq!(gate_answers(&sent, &handshake, &identity(9)).err(), Some(OfferError::BadKeyShare(BadKeyShare)));
    }
}

#[test]
fn secrets_do_not_print() {
    let (client, gate) = session(1, "a");
    let (agreed, _) = agreed();
    let printed = format!("{client:?} {gate:?} {agreed:?} {:?} {:?}", ephemeral(1), identity(9));
    assert!(!printed.contains("secret") && !printed.contains("iv") && printed.len() < 700, "{printed}");
}

proptest! {
    #[test]
    fn any_frame_comes_back(command in any::<u16>(), refused in any::<bool>(), sequence in any::<u32>(),
                            body in prop::collection::vec(any::<u8>(), 0..2000), suite in 0..2usize) {
        let (_, sent, mut handshake) = half_way();
        handshake.suites = vec![Suite::ALL[suite].wire()];
        let heard = frame(sent.command, 1, &handshake);
        let client = ClientHello::new(ephemeral(1), identity(9).public()).sent(&written(&heard));
        let (ack, gate) = gate_answers(&heard, &handshake, &identity(9)).unwrap();
        let mut opener = client.finish(&ack_frame(&ack)).unwrap().handshake_keys().opener;
        let flags = if refused { Flags::REFUSED } else { Flags::NONE };
        let plain = Frame { command, flags, sequence, body: body.into() };
        let sealed = seal(&mut gate.handshake_keys().sealer, &plain);
        prop_assert!(plain.body.len() < 16 || !sealed.body.windows(16).any(|run| run == &plain.body[..16]));
        prop_assert_eq!(opener.open(sealed), Ok(plain));
    }

    #[test]
    fn nothing_that_a_network_does_to_frames_gets_through(input in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzzing::sealed_frames(&input);
    }

    #[test]
    fn no_bytes_pass_for_a_handshake(input in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzzing::handshake(&input);
    }
}
