//! Writes `impl Decode`.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use crate::attributes::{Field, Message};

pub(crate) fn expand(message: &Message) -> TokenStream {
    let name = &message.name;
    let text = name.to_string();
    let fields = message.base.iter().chain(&message.appended).map(|field| {
        let (name, binding) = (&field.name, binding(field));
        quote!(#name: #binding)
    });
    let read_base = message.base.iter().map(|field| {
        let (binding, read) = (binding(field), read(message, field));
        quote!(let #binding = #read?;)
    });
    let lengths = message.base.iter().map(length_min);
    let tail_len = usize::from(!message.sealed);
    let tail = (!message.sealed).then(|| {
        let read_appended = message.appended.iter().map(|field| {
            let (binding, what, read) = (binding(field), message.what(field), read(message, field));
            let ty = &field.ty;
            quote! {
                let #binding = if appended > 0 {
                    appended -= 1;
                    reader.appended(#what, |reader| #read)?
                } else {
                    <#ty as ::core::default::Default>::default()
                };
            }
        });
        let mutable = (!message.appended.is_empty()).then(|| quote!(mut));
        quote! {
            let #mutable appended = reader.u8(#text)?;
            #(#read_appended)*
            reader.skip_appended(#text, appended)?;
        }
    });
    quote! {
        impl ::proto_codec::Decode for #name {
            const LEN_MIN: usize = #tail_len #(+ #lengths)*;

            fn decode(reader: &mut ::proto_codec::Reader<'_>) -> ::core::result::Result<Self, ::proto_codec::DecodeError> {
                #(#read_base)*
                #tail
                ::core::result::Result::Ok(Self { #(#fields),* })
            }
        }
    }
}

/// A name that no field of a message can shadow, and that shadows nothing.
fn binding(field: &Field) -> Ident {
    format_ident!("field_{}", field.name)
}

fn read(message: &Message, field: &Field) -> TokenStream {
    let (ty, what) = (&field.ty, message.what(field));
    match &field.max {
        Some(max) => quote!(<#ty as ::proto_codec::DecodeLimited>::decode_limited(reader, #what, #max)),
        None => quote!(<#ty as ::proto_codec::Decode>::decode(reader)),
    }
}

fn length_min(field: &Field) -> TokenStream {
    let ty = &field.ty;
    match &field.max {
        Some(_) => quote!(<#ty as ::proto_codec::DecodeLimited>::LEN_MIN),
        None => quote!(<#ty as ::proto_codec::Decode>::LEN_MIN),
    }
}
