//! Enums on the wire: a number per variant, and an unknown number kept as it is.

/// Declares an enum that travels as one integer. A number that this version does not know becomes
/// `Unknown(number)` and is written back unchanged, so that an older peer can pass on what a newer
/// one says.
#[macro_export]
macro_rules! wire_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident: $repr:ident {
            $( $(#[$vmeta:meta])* $variant:ident = $value:literal, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $( $(#[$vmeta])* $variant, )+
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
