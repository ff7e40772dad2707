//! Writes `impl Describe`: the definition as data. `#[derive(Decode)]` brings it along, so that
//! there is no decoder without a description.

use proc_macro2::TokenStream;
use quote::quote;

use crate::attributes::{Field, Message};

pub(crate) fn expand(message: &Message) -> TokenStream {
    let (name, doc, sealed) = (&message.name, &message.doc, message.sealed);
    let text = name.to_string();
    let fields = message.base.iter().chain(&message.appended).map(|field| {
        let (name, path, doc, ty) = (field.name.to_string(), message.what(field), &field.doc, ty(field));
        let since = field.since.as_ref().map_or_else(|| quote!(1), |since| quote!(#since));
        quote!(::proto_codec::schema::FieldSchema { name: #name, path: #path, doc: #doc, ty: #ty, since: #since })
    });
    quote! {
        impl ::proto_codec::schema::Describe for #name {
            const TYPE: ::proto_codec::schema::Type =
                ::proto_codec::schema::Type::Struct(&::proto_codec::schema::StructSchema {
                    name: #text,
                    doc: #doc,
                    sealed: #sealed,
                    fields: &[#(#fields),*],
                });
        }
    }
}

fn ty(field: &Field) -> TokenStream {
    let ty = &field.ty;
    match &field.max {
        Some(max) => quote!(<#ty as ::proto_codec::schema::DescribeLimited<{ #max }>>::TYPE),
        None => quote!(<#ty as ::proto_codec::schema::Describe>::TYPE),
    }
}
