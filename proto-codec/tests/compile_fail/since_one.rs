use proto_codec::{Decode, Encode};

#[derive(Encode, Decode)]
struct Message {
    #[wire(since = 1)]
    number: u32,
}

fn main() {}
