//! Encodes or decodes one message a number of times, for a tool that counts instructions:
//! `codec-cost (SendMsg|MsgPage50) (Binary|Json|Protobuf) (encode|decode|bytes) COUNT`.
//! `bytes` prints the length of the body instead. `scripts/codec-cost` makes a table of it.
#![allow(unreachable_pub)]

#[path = "../benches/messages/mod.rs"]
mod messages;

use std::error::Error;
use std::hint::black_box;

use bytes::BytesMut;
use messages::{encoded, page, send_msg};
use proto_codec::{Codec, Decode, Encode};

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "codec-cost (SendMsg|MsgPage50) (Binary|Json|Protobuf) (encode|decode|bytes) COUNT";
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [message, codec, act, count] = &args[..] else { return Err(usage.into()) };
    let codec = *Codec::ALL.iter().find(|known| format!("{known:?}") == *codec).ok_or(usage)?;
    let count = count.parse()?;
    match message.as_str() {
        "SendMsg" => run(codec, act, count, &send_msg()?),
        "MsgPage50" => run(codec, act, count, &page()?),
        _ => Err(usage.into()),
    }
}

fn run<M: Encode + Decode>(codec: Codec, act: &str, count: u32, message: &M) -> Result<(), Box<dyn Error>> {
    let body = encoded(codec, message);
    let mut out = BytesMut::with_capacity(2 * body.len());
    match act {
        "encode" => {
            for _ in 0..count {
                out.clear();
                codec.encode(black_box(message), &mut out);
                black_box(&out);
            }
        }
        "decode" => {
            for _ in 0..count {
                black_box(codec.decode::<M>("body", black_box(&body))?);
            }
        }
        _ => println!("{}", body.len()),
    }
    Ok(())
}
