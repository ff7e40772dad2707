use proto_codec::{Decode, Encode};

#[derive(Encode, Decode)]
struct Message {
    #[wire(since = 2)]
    late: u32,
    early: u32,
}

fn main() {}
