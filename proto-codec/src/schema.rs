//! What a message is made of, as data: names, types, limits and the words of the doc comments. The
//! derive and [`wire_enum!`](crate::wire_enum) write it beside the decoder, from the same definition,
//! so it cannot say anything else. The codecs that are not binary, the `.proto` file, the tables of
//! the protocol's page and the clients in other languages are all made from it.

/// Says what it looks like on the wire. Everything that decodes does.
#[diagnostic::on_unimplemented(note = "`#[derive(Decode)]` writes the description too")]
pub trait Describe {
    /// The type.
    const TYPE: Type;
}

/// [`Describe`] for what has a length or count, with its maximum.
#[diagnostic::on_unimplemented(note = "only text, bytes and lists take `#[wire(max = …)]`")]
pub trait DescribeLimited<const MAX: u32> {
    /// The type.
    const TYPE: Type;
}

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// One byte, 0 or 1.
    Bool,
    /// One byte.
    U8,
    /// Two bytes.
    U16,
    /// Four bytes.
    U32,
    /// Eight bytes.
    U64,
    /// UTF-8 of at most `max` bytes.
    Text {
        /// Bytes.
        max: u32,
    },
    /// At most `max` bytes.
    Bytes {
        /// Bytes.
        max: u32,
    },
    /// At most `max` values of one type.
    List {
        /// Of what.
        of: &'static Self,
        /// How many.
        max: u32,
    },
    /// A value or none.
    Option(&'static Self),
    /// A number with names.
    Enum(&'static EnumSchema),
    /// Fields in order.
    Struct(&'static StructSchema),
    /// A text with rules of its own.
    Id(&'static IdSchema),
    /// A `u64` with a meaning of its own.
    Number(&'static NumberSchema),
    /// One byte that says which, then that.
    Union(&'static UnionSchema),
}

/// A struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StructSchema {
    /// Its name.
    pub name: &'static str,
    /// Its doc comment.
    pub doc: &'static str,
    /// Whether it has no tail and may never grow.
    pub sealed: bool,
    /// Its fields in the order of the wire: those of the first version, then the appended ones.
    pub fields: &'static [FieldSchema],
}

/// A field of a struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldSchema {
    /// Its name.
    pub name: &'static str,
    /// `Struct.field`, as errors name it.
    pub path: &'static str,
    /// Its doc comment.
    pub doc: &'static str,
    /// Its type.
    pub ty: Type,
    /// The protocol version that brought it: 1, or a later one for an appended field.
    pub since: u8,
}

impl FieldSchema {
    /// Whether a later version appended it.
    pub const fn is_appended(&self) -> bool {
        self.since > 1
    }
}

/// An enum: any number of its width is a value, those listed have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnumSchema {
    /// Its name.
    pub name: &'static str,
    /// Its doc comment.
    pub doc: &'static str,
    /// [`Type::U8`] or [`Type::U16`].
    pub repr: Type,
    /// The numbers that have a name.
    pub variants: &'static [VariantSchema],
}

/// A named number of an enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VariantSchema {
    /// Its name.
    pub name: &'static str,
    /// Its number.
    pub number: u16,
    /// Its doc comment.
    pub doc: &'static str,
}

impl EnumSchema {
    /// The name of a number, if it has one.
    pub fn name_of(&self, number: u16) -> Option<&'static str> {
        self.variants.iter().find(|variant| variant.number == number).map(|variant| variant.name)
    }

    /// The number of a name, if there is one.
    pub fn number_of(&self, name: &str) -> Option<u16> {
        self.variants.iter().find(|variant| variant.name == name).map(|variant| variant.number)
    }
}

/// An id: a text with rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdSchema {
    /// Its name.
    pub name: &'static str,
    /// Its doc comment.
    pub doc: &'static str,
    /// The rules, as a sentence.
    pub rules: &'static str,
    /// Bytes at most.
    pub max: u32,
}

/// A `u64` with a meaning of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberSchema {
    /// Its name.
    pub name: &'static str,
    /// Its doc comment.
    pub doc: &'static str,
}

/// One of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnionSchema {
    /// Its name.
    pub name: &'static str,
    /// Its doc comment.
    pub doc: &'static str,
    /// What it can be.
    pub choices: &'static [ChoiceSchema],
}

/// What a union can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChoiceSchema {
    /// Its name: in snake case, because the text codecs use it as a key.
    pub name: &'static str,
    /// The byte that announces it.
    pub number: u8,
    /// Its doc comment.
    pub doc: &'static str,
    /// What follows.
    pub ty: Type,
}

impl Type {
    /// The struct that this is; `None` for anything else.
    pub const fn as_struct(&self) -> Option<&'static StructSchema> {
        match self {
            Self::Struct(schema) => Some(schema),
            _ => None,
        }
    }

    /// The name of a type that has one.
    pub const fn name(&self) -> Option<&'static str> {
        match self {
            Self::Enum(schema) => Some(schema.name),
            Self::Struct(schema) => Some(schema.name),
            Self::Id(schema) => Some(schema.name),
            Self::Number(schema) => Some(schema.name),
            Self::Union(schema) => Some(schema.name),
            _ => None,
        }
    }

    /// The types that this one is made of.
    pub fn parts(&self) -> Vec<&'static Self> {
        match self {
            Self::List { of, .. } | Self::Option(of) => vec![of],
            Self::Struct(schema) => schema.fields.iter().map(|field| &field.ty).collect(),
            Self::Union(schema) => schema.choices.iter().map(|choice| &choice.ty).collect(),
            _ => Vec::new(),
        }
    }

    /// Adds every type with a name that this one needs, itself included, each once and behind what
    /// it is made of.
    pub fn collect_named(&'static self, into: &mut Vec<&'static Self>) {
        if into.contains(&self) {
            return;
        }
        for part in self.parts() {
            part.collect_named(into);
        }
        if self.name().is_some() && !into.contains(&self) {
            into.push(self);
        }
    }
}

/// A doc comment as plain text: links of rustdoc give way to the words they stand on.
pub fn plain_doc(doc: &str) -> String {
    let mut out = String::with_capacity(doc.len());
    let mut rest = doc;
    while let Some((before, link)) = rest.split_once('[') {
        out.push_str(before);
        let Some((words, behind)) = link.split_once(']') else {
            out.push('[');
            rest = link;
            continue;
        };
        out.push_str(words.trim_matches('`'));
        rest = match behind.strip_prefix('(').and_then(|target| target.split_once(')')) {
            Some((_, behind)) => behind,
            None => behind,
        };
    }
    out.push_str(rest);
    out
}

/// A doc comment's text: the blank between `///` and the words is not part of it.
#[doc(hidden)]
pub const fn doc(text: &'static str) -> &'static str {
    match text.as_bytes() {
        [b' ', ..] => text.split_at(1).1,
        _ => text,
    }
}

macro_rules! plain {
    ($($ty:ty: $name:ident),+) => {$(
        impl Describe for $ty {
            const TYPE: Type = Type::$name;
        }
    )+};
}

plain!(bool: Bool, u8: U8, u16: U16, u32: U32, u64: U64);

impl<const MAX: u32> DescribeLimited<MAX> for String {
    const TYPE: Type = Type::Text { max: MAX };
}

impl<const MAX: u32> DescribeLimited<MAX> for bytes::Bytes {
    const TYPE: Type = Type::Bytes { max: MAX };
}

impl<const MAX: u32, T: Describe> DescribeLimited<MAX> for Vec<T> {
    const TYPE: Type = Type::List { of: &T::TYPE, max: MAX };
}

impl<T: Describe> Describe for Option<T> {
    const TYPE: Type = Type::Option(&T::TYPE);
}

impl<const MAX: u32, T: DescribeLimited<MAX>> DescribeLimited<MAX> for Option<T> {
    const TYPE: Type = Type::Option(&T::TYPE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doc_comment_loses_its_links() {
        assert_eq!(plain_doc("[`HandShake`] → [`HandShakeAck`]; the first."), "HandShake → HandShakeAck; the first.");
        assert_eq!(plain_doc("a [word](crate::Word) and [`A`](B::c)."), "a word and A.");
        assert_eq!(plain_doc("a [b and no end"), "a [b and no end");
        assert_eq!(plain_doc("nothing"), "nothing");
    }

    #[test]
    fn types_come_behind_what_they_are_made_of() {
        static INNER: Type = Type::Number(&NumberSchema { name: "Seq", doc: "" });
        static OUTER: Type = Type::Struct(&StructSchema {
            name: "Page",
            doc: "",
            sealed: false,
            fields: &[
                FieldSchema { name: "a", path: "Page.a", doc: "", ty: Type::List { of: &INNER, max: 1 }, since: 1 },
                FieldSchema { name: "b", path: "Page.b", doc: "", ty: Type::Option(&INNER), since: 2 },
            ],
        });
        let mut named = Vec::new();
        OUTER.collect_named(&mut named);
        assert_eq!(named.iter().filter_map(|ty| ty.name()).collect::<Vec<_>>(), ["Seq", "Page"]);
    }

    #[test]
    fn the_blank_behind_the_slashes_is_no_word() {
        assert_eq!((doc(" Words."), doc("Words."), doc("")), ("Words.", "Words.", ""));
    }
}
