use proto_codec::{Decode, Encode};

#[derive(Encode, Decode)]
#[wire(seeled)]
struct OnStruct {
    number: u32,
}

#[derive(Encode, Decode)]
struct OnField {
    #[wire(maximum = 4)]
    text: String,
}

fn main() {}
