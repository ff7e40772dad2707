//! Bodies of fuzz targets: they take bytes and panic when a rule is broken. The targets under
//! `fuzz/` call them, and so do tests, over kept seeds and random bytes.

use bytes::{Bytes, BytesMut};
use im_proto::client::{Command, HandShake, HandShakeAck};
use im_proto::{SessionId, UserId};
use proto_codec::{Codec, CodecId, Deframer, Flags, Frame, Hop, Preamble, RESPONSE_BIT};

use crate::schedule::Side;
use crate::{Agreed, ClientHello, EphemeralKey, IdentityKey, Keys, ServerHello, Suite};

/// Frames that a run may deliver; past them it is over.
const FRAMES_MAX: usize = 64;
/// Small, so that a run meets several keys.
const REKEY_AFTER: u64 = 5;

/// Keys of both sides, client first, as an agreement would give them.
fn keys(suite: Suite) -> (Keys, Keys) {
    let side = |side| {
        let user = UserId::new("fuzz").expect("a short word is a user id");
        Agreed::new(side, suite, &[1; 32], &[2; 32]).with_rekey_after(REKEY_AFTER).session_keys(SessionId(3), &user)
    };
    (side(Side::Client), side(Side::Gate))
}

fn frame(number: usize) -> Frame {
    Frame {
        command: number as u16 & 0xff7f,
        flags: if number % 5 == 4 { Flags::REFUSED } else { Flags::NONE },
        sequence: number as u32 * 3,
        body: vec![number as u8; number * 7 % 40].into(),
    }
}

fn cut_one(bytes: &[u8]) -> Option<Frame> {
    Deframer::new(u32::MAX).next(&mut BytesMut::from(bytes))?.ok()
}

/// A client opens what arrives from a network that does to sealed frames what `input` says, four bytes
/// a deed. Whatever it does, the client gets the gate's frames, unchanged and in order, and nothing else.
pub fn sealed_frames(input: &[u8]) {
    let Some((first, deeds)) = input.split_first() else { return };
    let (mut client, mut gate) = keys(Suite::ALL[usize::from(first % 2)]);
    let seal = |sealer: &mut crate::Sealer, number| {
        let mut out = BytesMut::new();
        sealer.seal_frame(&frame(number), &mut out);
        out.freeze()
    };
    let sent: Vec<Bytes> = (0..FRAMES_MAX).map(|number| seal(&mut gate.sealer, number)).collect();
    let own: Vec<Bytes> = (0..FRAMES_MAX).map(|number| seal(&mut client.sealer, number)).collect();
    let mut next = 0;
    for deed in deeds.chunks_exact(4) {
        let [what, a, b, c] = [deed[0] % 7, deed[1], deed[2], deed[3]].map(usize::from);
        let Some(due) = sent.get(next) else { return };
        let arrives = match what {
            0 => cut_one(due),
            // Any other: earlier, later, or the client's own coming back.
            1 => cut_one(&sent[a % FRAMES_MAX]).filter(|_| a % FRAMES_MAX != next),
            2 => cut_one(&own[a % FRAMES_MAX]),
            // One bit changed, header or body; the length's bits make another frame of it or none.
            3 => {
                let mut bytes = due.to_vec();
                let at = (a << 8 | b) % bytes.len();
                bytes[at] ^= 1 << (c % 8);
                cut_one(&bytes)
            }
            // Its body cut short, with an honest length, or longer.
            4 => cut_one(due).map(|whole| {
                let length = (a << 8 | b) % whole.body.len();
                Frame { body: whole.body.slice(..length), ..whole }
            }),
            5 => cut_one(due).map(|whole| {
                let longer = [&whole.body[..], &deed[1..]].concat();
                Frame { body: longer.into(), ..whole }
            }),
            _ => Some(Frame {
                command: a as u16,
                flags: if c % 2 == 0 { Flags::NONE.encrypted() } else { Flags::NONE },
                sequence: b as u32,
                body: Bytes::copy_from_slice(&deeds[..deeds.len().min(c)]),
            }),
        };
        let Some(arrives) = arrives else { continue };
        match client.opener.open(arrives) {
            Ok(opened) => {
                assert_eq!(what, 0, "a frame was accepted that the gate did not send there");
                assert_eq!(opened, frame(next));
                next += 1;
            }
            Err(error) => assert_ne!(what, 0, "the gate's own frame was refused: {error}"),
        }
    }
}

/// `input` as the body of a gate's answer: nobody can sign it by chance. Then as the body of a client's
/// first frame: the gate refuses or answers, and its answer never holds for another client's words.
pub fn handshake(input: &[u8]) {
    let identity = IdentityKey::from_seed(&[7; 32]).expect("any 32 bytes are a seed");
    let ephemeral = |byte| EphemeralKey::from_bytes([byte; 32]);
    let preamble = Preamble::current(Hop::Client).encode();
    let body = Bytes::copy_from_slice(input);
    let hello = Frame { command: Command::HandShake.number(), flags: Flags::NONE, sequence: 1, body };
    let waiting = |sent: &Frame| {
        let mut bytes = BytesMut::from(&preamble[..]);
        sent.encode(&mut bytes);
        ClientHello::new(ephemeral(8), identity.public()).sent(&bytes)
    };

    let answer = Frame { command: hello.command | RESPONSE_BIT, ..hello.clone() };
    assert!(waiting(&hello).finish(&answer).is_err(), "an unsigned answer was believed");

    let Ok(handshake) = Codec::Binary.decode::<HandShake>("HandShake", &hello.body) else { return };
    let Ok(server) = ServerHello::new(&preamble, &hello, &handshake) else { return };
    let ack = HandShakeAck {
        signature: Bytes::new(),
        version: 1,
        codec: CodecId::Binary,
        encryption: im_proto::client::Encryption::None,
        frame_len_max: 1,
        key_share: Bytes::new(),
    };
    let Ok((ack, _)) = server.answer(&identity, &ephemeral(9), ack) else { return };
    let mut body = BytesMut::new();
    Codec::Binary.encode(&ack, &mut body);
    let answer = Frame { body: body.freeze(), ..answer };
    assert!(waiting(&hello).finish(&answer).is_ok(), "the gate's own answer was refused");
    let other = Frame { sequence: 2, ..hello.clone() };
    assert!(waiting(&other).finish(&answer).is_err(), "an answer to other words was believed");
}
