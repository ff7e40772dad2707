//! `#[derive(Encode, Decode)]`: encoder and decoder from a struct's definition. This file only
//! dispatches; `attributes` parses what stands in `#[wire(…)]`, `encode` and `decode` write the
//! implementations, `describe` the schema. The layout is told in the `proto-codec` crate.
//!
//! On a struct: `#[wire(sealed)]`, no tail, may never grow. On a field: `#[wire(max = N)]`, the
//! greatest length or count; `#[wire(since = N)]`, appended in protocol version N (its type needs
//! a `Default`; such fields stand last).

mod attributes;
mod decode;
mod describe;
mod encode;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Writes `impl Encode`.
#[proc_macro_derive(Encode, attributes(wire))]
pub fn derive_encode(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    attributes::Message::parse(&input).map_or_else(syn::Error::into_compile_error, |m| encode::expand(&m)).into()
}

/// Writes `impl Decode`, and `impl Describe` beside it.
#[proc_macro_derive(Decode, attributes(wire))]
pub fn derive_decode(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let expand = |message| {
        let (decode, describe) = (decode::expand(&message), describe::expand(&message));
        quote::quote!(#decode #describe)
    };
    attributes::Message::parse(&input).map_or_else(syn::Error::into_compile_error, expand).into()
}
