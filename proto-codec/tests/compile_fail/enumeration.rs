use proto_codec::{Decode, Encode};

#[derive(Encode, Decode)]
enum Message {
    One,
    Two,
}

fn main() {}
