//! The struct's definition with its `#[wire(…)]` attributes, parsed once for both derives.

use syn::{Attribute, Data, DeriveInput, Error, Expr, ExprLit, Fields, Ident, Lit, LitInt, Meta, Result, Type};

/// A struct that is a message or a part of one.
pub(crate) struct Message {
    pub(crate) name: Ident,
    pub(crate) doc: String,
    /// No tail for appended fields.
    pub(crate) sealed: bool,
    /// Fields of the first version, in order.
    pub(crate) base: Vec<Field>,
    /// Fields that later versions appended, in order.
    pub(crate) appended: Vec<Field>,
}

pub(crate) struct Field {
    pub(crate) name: Ident,
    pub(crate) doc: String,
    pub(crate) ty: Type,
    /// The greatest length or count, where the type needs one.
    pub(crate) max: Option<Expr>,
    /// The protocol version that appended the field; `None` for the first.
    pub(crate) since: Option<LitInt>,
}

impl Message {
    pub(crate) fn parse(input: &DeriveInput) -> Result<Self> {
        let Data::Struct(data) = &input.data else {
            return Err(Error::new_spanned(&input.ident, "only structs with named fields are messages"));
        };
        if !input.generics.params.is_empty() {
            return Err(Error::new_spanned(&input.generics, "a message has no type parameters or lifetimes"));
        }
        let fields = match &data.fields {
            Fields::Named(named) => named.named.iter().map(Field::parse).collect::<Result<Vec<_>>>()?,
            Fields::Unit => Vec::new(),
            Fields::Unnamed(unnamed) => {
                return Err(Error::new_spanned(unnamed, "fields of a message have names"));
            }
        };
        let sealed = parse_sealed(input)?;
        let first_appended = fields.iter().position(|f| f.since.is_some()).unwrap_or(fields.len());
        let mut base = fields;
        let appended = base.split_off(first_appended);
        let mut newest = 0;
        for field in &appended {
            let Some(since) = &field.since else {
                return Err(Error::new_spanned(
                    &field.name,
                    "a field of the first version stands before appended ones",
                ));
            };
            if sealed {
                return Err(Error::new_spanned(since, "a sealed struct cannot have appended fields"));
            }
            let version = since.base10_parse::<u8>()?;
            if version < newest {
                return Err(Error::new_spanned(since, "fields are appended in the order of their versions"));
            }
            newest = version;
        }
        // Their count is one byte on the wire.
        if appended.len() > usize::from(u8::MAX) {
            return Err(Error::new_spanned(&input.ident, "a struct has at most 255 appended fields"));
        }
        Ok(Self { name: input.ident.clone(), doc: parse_doc(&input.attrs), sealed, base, appended })
    }

    /// `Struct.field`, for errors.
    pub(crate) fn what(&self, field: &Field) -> String {
        format!("{}.{}", self.name, field.name)
    }
}

/// The lines of a doc comment, joined by blanks.
fn parse_doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(meta) if meta.path.is_ident("doc") => match &meta.value {
            Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) => Some(line.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join(" ")
}

fn parse_sealed(input: &DeriveInput) -> Result<bool> {
    let mut sealed = false;
    for attribute in input.attrs.iter().filter(|a| a.path().is_ident("wire")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("sealed") {
                return Err(meta.error("unknown attribute; a struct takes `sealed`"));
            }
            sealed = true;
            Ok(())
        })?;
    }
    Ok(sealed)
}

impl Field {
    fn parse(field: &syn::Field) -> Result<Self> {
        let name = field.ident.clone().ok_or_else(|| Error::new_spanned(field, "fields of a message have names"))?;
        let (mut max, mut since) = (None, None::<LitInt>);
        for attribute in field.attrs.iter().filter(|a| a.path().is_ident("wire")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("max") {
                    max = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("since") {
                    let version: LitInt = meta.value()?.parse()?;
                    if version.base10_parse::<u8>()? < 2 {
                        return Err(Error::new_spanned(version, "fields are appended from version 2 on"));
                    }
                    since = Some(version);
                } else {
                    return Err(meta.error("unknown attribute; a field takes `max = N` and `since = N`"));
                }
                Ok(())
            })?;
        }
        Ok(Self { name, doc: parse_doc(&field.attrs), ty: field.ty.clone(), max, since })
    }
}
