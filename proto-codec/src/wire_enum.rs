//! Enums on the wire: a number per variant, and an unknown number kept as it is.

/// Declares an enum that travels as one integer. A number that this version does not know becomes
/// `Unknown(number)` and is written back unchanged, so that an older peer can pass on what a newer
/// one says.
#[macro_export]
macro_rules! wire_enum {
    (
        $(#[doc = $doc:literal])*
        pub enum $name:ident: $repr:ident {
            $( $(#[doc = $vdoc:literal])* $variant:ident = $value:literal, )+
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $( $(#[doc = $vdoc])* $variant, )+
            /// A number that this version does not know.
            Unknown($repr),
        }

        impl $name {
            /// Every variant that this version knows.
            pub const KNOWN: &'static [Self] = &[$(Self::$variant),+];

            /// The number on the wire.
            pub const fn number(self) -> $repr {
                match self {
                    $( Self::$variant => $value, )+
                    Self::Unknown(number) => number,
                }
            }

            /// The variant of that number.
            pub const fn from_number(number: $repr) -> Self {
                match number {
                    $( $value => Self::$variant, )+
                    other => Self::Unknown(other),
                }
            }
        }

        impl $crate::schema::Describe for $name {
            const TYPE: $crate::schema::Type = $crate::schema::Type::Enum(&$crate::schema::EnumSchema {
                name: stringify!($name),
                doc: $crate::schema::doc(concat!($($doc),*)),
                repr: <$repr as $crate::schema::Describe>::TYPE,
                variants: &[$( $crate::schema::VariantSchema {
                    name: stringify!($variant),
                    number: $value,
                    doc: $crate::schema::doc(concat!($($vdoc),*)),
                } ),+],
            });
        }

        impl $crate::Encode for $name {
            fn encode(&self, out: &mut $crate::BytesMut) {
                self.number().encode(out);
            }
        }

        impl $crate::Decode for $name {
            const LEN_MIN: usize = <$repr as $crate::Decode>::LEN_MIN;

            fn decode(reader: &mut $crate::Reader<'_>) -> Result<Self, $crate::DecodeError> {
                reader.$repr(stringify!($name)).map(Self::from_number)
            }
        }
    };
}

#[cfg(test)]
mod tests {
    // The macro declares enums of a crate's interface; this one stays in its module.
    #![allow(unreachable_pub)]

    use crate::schema::{Describe, Type};
    use crate::{Decode, Encode, Reader};
    use bytes::BytesMut;

    crate::wire_enum! {
        /// With a hole between its numbers.
        pub enum Colour: u16 {
            /// One.
            Red = 1,
            /// Three.
            Blue = 3,
        }
    }

    #[test]
    fn every_number_comes_back_as_it_went() {
        for number in 0..=u16::MAX {
            let colour = Colour::from_number(number);
            assert_eq!(colour.number(), number);
            assert_eq!(Colour::KNOWN.contains(&colour), !matches!(colour, Colour::Unknown(_)));

            let mut out = BytesMut::new();
            colour.encode(&mut out);
            assert_eq!(out, &number.to_be_bytes()[..]);
            assert_eq!(Colour::decode(&mut Reader::new(&out)), Ok(colour));
        }
    }

    #[test]
    fn the_description_says_the_same() {
        let Type::Enum(schema) = Colour::TYPE else { panic!("an enum is an enum") };
        assert_eq!((schema.name, schema.doc, schema.repr), ("Colour", "With a hole between its numbers.", Type::U16));
        assert_eq!(schema.variants.len(), Colour::KNOWN.len());
        assert_eq!((schema.name_of(3), schema.name_of(2)), (Some("Blue"), None));
        assert_eq!((schema.number_of("Red"), schema.number_of("red")), (Some(1), None));
        assert_eq!(schema.variants[1].doc, "Three.");
    }

    #[test]
    fn numbers_have_their_names() {
        assert_eq!(Colour::KNOWN, [Colour::Red, Colour::Blue]);
        assert_eq!(Colour::from_number(3), Colour::Blue);
        assert_eq!(Colour::from_number(2), Colour::Unknown(2));
    }
}
