use proto_codec::{Decode, Encode};

#[derive(Encode, Decode)]
struct Message(u32, u32);

fn main() {}
