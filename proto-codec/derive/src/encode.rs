//! Writes `impl Encode`.

use proc_macro2::TokenStream;
use quote::quote;

use crate::attributes::Message;

pub(crate) fn expand(message: &Message) -> TokenStream {
    let name = &message.name;
    let base = message.base.iter().map(|field| {
        let field = &field.name;
        quote!(::proto_codec::Encode::encode(&self.#field, out);)
    });
    let tail = (!message.sealed).then(|| {
        let count = message.appended.len() as u8;
        let appended = message.appended.iter().map(|field| {
            let field = &field.name;
            quote!(::proto_codec::derive_support::put_appended(out, &self.#field);)
        });
        quote! {
            ::proto_codec::derive_support::BufMut::put_u8(out, #count);
            #(#appended)*
        }
    });
    quote! {
        impl ::proto_codec::Encode for #name {
            fn encode(&self, out: &mut ::proto_codec::derive_support::BytesMut) {
                #(#base)*
                #tail
            }
        }
    }
}
