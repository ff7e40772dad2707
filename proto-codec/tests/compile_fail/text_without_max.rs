use proto_codec::{Decode, Encode};

#[derive(Encode, Decode)]
struct Message {
    text: String,
}

fn main() {}
