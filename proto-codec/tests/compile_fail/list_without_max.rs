use proto_codec::{Decode, Encode};

#[derive(Encode, Decode)]
struct Message {
    numbers: Vec<u32>,
}

fn main() {}
