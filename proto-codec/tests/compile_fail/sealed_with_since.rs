use proto_codec::{Decode, Encode};

#[derive(Encode, Decode)]
#[wire(sealed)]
struct Message {
    early: u32,
    #[wire(since = 2)]
    late: u32,
}

fn main() {}
