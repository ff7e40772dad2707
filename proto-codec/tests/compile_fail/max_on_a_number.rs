use proto_codec::{Decode, Encode};

#[derive(Encode, Decode)]
struct Message {
    #[wire(max = 4)]
    number: u32,
}

fn main() {}
