//! What encryption costs: a frame sealed and opened, for each suite and size, and both sides of the
//! agreement. `cargo bench -p im-secure`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use im_proto::client::{Encryption, HandShake, HandShakeAck};
use im_secure::{Agreed, ClientHello, ClientWaiting, EphemeralKey, IdentityKey, ServerHello, Suite};
use proto_codec::{CodecId, Deframer, Encode, Flags, Frame, Hop, Preamble};

const SIZES: [usize; 2] = [200, 16 * 1024];

fn frame(command: u16, message: &impl Encode) -> Frame {
    let mut body = BytesMut::new();
    message.encode(&mut body);
    Frame { command, flags: Flags::NONE, sequence: 1, body: body.freeze() }
}

fn hello(suite: Suite) -> HandShake {
    HandShake {
        app_id: "chat".into(),
        sdk: "bench".into(),
        codecs: vec![CodecId::Binary],
        suites: vec![suite.wire()],
        key_share: EphemeralKey::from_bytes([1; 32]).public(),
    }
}

fn client(identity: &IdentityKey, sent: &Frame) -> ClientWaiting {
    let mut bytes = BytesMut::from(&Preamble::current(Hop::Client).encode()[..]);
    sent.encode(&mut bytes);
    ClientHello::new(EphemeralKey::from_bytes([1; 32]), identity.public()).sent(&bytes)
}

fn gate(identity: &IdentityKey, sent: &Frame, hello: &HandShake) -> (HandShakeAck, Agreed) {
    let ack = HandShakeAck {
        signature: Bytes::new(),
        version: 1,
        codec: CodecId::Binary,
        encryption: Encryption::None,
        frame_len_max: 65_536,
        key_share: Bytes::new(),
    };
    let server = ServerHello::new(&Preamble::current(Hop::Client).encode(), sent, hello).unwrap();
    server.answer(identity, &EphemeralKey::from_bytes([2; 32]), ack).unwrap()
}

fn frames(c: &mut Criterion) {
    let identity = IdentityKey::from_seed(&[9; 32]).unwrap();
    for suite in Suite::ALL {
        let hello = hello(suite);
        let sent = frame(1, &hello);
        let agreed = || {
            let (ack, gate) = gate(&identity, &sent, &hello);
            (client(&identity, &sent).finish(&frame(0x81, &ack)).unwrap(), gate)
        };
        for size in SIZES {
            let plain = Frame { command: 5, flags: Flags::NONE, sequence: 7, body: vec![7; size].into() };
            let mut sealer = agreed().0.handshake_keys().sealer;
            let mut out = BytesMut::with_capacity(2 * size + 64);
            c.bench_function(&format!("seal/{suite:?}/{size}"), |b| {
                b.iter(|| {
                    out.clear();
                    sealer.seal_frame(black_box(&plain), &mut out);
                });
            });
            // Frames open once and in order, so a batch is sealed before it is opened.
            let (mut sealer, mut opener) = {
                let (client, gate) = agreed();
                (client.handshake_keys().sealer, gate.handshake_keys().opener)
            };
            c.bench_function(&format!("open/{suite:?}/{size}"), |b| {
                b.iter_batched(
                    || {
                        let mut out = BytesMut::new();
                        sealer.seal_frame(&plain, &mut out);
                        Deframer::new(u32::MAX).next(&mut out).unwrap().unwrap()
                    },
                    |sealed| opener.open(sealed).unwrap(),
                    BatchSize::SmallInput,
                );
            });
        }
    }
}

fn agreement(c: &mut Criterion) {
    let identity = IdentityKey::from_seed(&[9; 32]).unwrap();
    let hello = hello(Suite::ChaCha20Poly1305);
    let sent = frame(1, &hello);
    c.bench_function("agree/gate", |b| b.iter(|| gate(&identity, &sent, &hello).1.handshake_keys()));
    let answer = frame(0x81, &gate(&identity, &sent, &hello).0);
    c.bench_function("agree/client", |b| {
        b.iter(|| client(&identity, &sent).finish(&answer).unwrap().handshake_keys());
    });
}

criterion_group!(benches, frames, agreement);
criterion_main!(benches);
