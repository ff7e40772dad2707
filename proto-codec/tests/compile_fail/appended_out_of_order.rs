use proto_codec::{Decode, Encode};

#[derive(Encode, Decode)]
struct Message {
    #[wire(since = 3)]
    third: u32,
    #[wire(since = 2)]
    second: u32,
}

fn main() {}
