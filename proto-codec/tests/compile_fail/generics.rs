use proto_codec::{Decode, Encode};

#[derive(Encode, Decode)]
struct WithType<T> {
    value: T,
}

#[derive(Encode, Decode)]
struct WithLifetime<'a> {
    value: &'a u32,
}

fn main() {}
