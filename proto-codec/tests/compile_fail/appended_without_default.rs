use proto_codec::{Decode, Encode};

#[derive(Encode, Decode)]
struct Part {
    number: u32,
}

#[derive(Encode, Decode)]
struct Message {
    #[wire(since = 2)]
    part: Part,
}

fn main() {}
