//! What each codec costs, in time. Instructions, which do not depend on the machine's mood, are
//! counted by `scripts/codec-cost` with the example of that name.
//!
//! `transcode` is what a gate does for a client of that codec, and does not do for a binary one.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod messages;

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use messages::{encoded, page, send_msg};
use proto_codec::{Codec, Decode, Encode};

fn measure<M: Encode + Decode>(c: &mut Criterion, name: &str, message: &M) {
    let binary = encoded(Codec::Binary, message);
    for codec in Codec::ALL {
        let body = encoded(*codec, message);
        let mut group = c.benchmark_group(format!("{name}/{codec:?}/{} bytes", body.len()));
        group.throughput(Throughput::Elements(1));
        group.bench_function("encode", |b| {
            let mut out = BytesMut::with_capacity(2 * body.len());
            b.iter(|| {
                out.clear();
                codec.encode(black_box(message), &mut out);
                out.len()
            });
        });
        group.bench_function("decode", |b| b.iter(|| codec.decode::<M>("body", black_box(&body)).unwrap()));
        if *codec != Codec::Binary {
            group.bench_function("transcode in", |b| {
                b.iter(|| codec.decode_binary("body", &M::TYPE, black_box(&body)).unwrap());
            });
            group.bench_function("transcode out", |b| {
                b.iter(|| codec.encode_binary("body", &M::TYPE, black_box(&binary)).unwrap());
            });
        }
        group.finish();
    }
}

fn codecs(c: &mut Criterion) {
    measure(c, "SendMsg", &send_msg().unwrap());
    measure(c, "MsgPage50", &page().unwrap());
}

criterion_group!(benches, codecs);
criterion_main!(benches);
