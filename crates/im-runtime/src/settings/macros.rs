//! The two macros. They only lay out tables and call functions; whatever can be a function is one.

/// Declares a settings struct from a table.
///
/// ```
/// use im_runtime::settings;
/// use std::{net::SocketAddr, time::Duration};
///
/// settings! {
///     /// Settings of a greeter.
///     pub struct GreeterSettings("greeter") {
///         /// Where to listen.
///         pub listen: SocketAddr = "127.0.0.1:7000",
///         /// How long a guest may stay silent.
///         pub patience: Duration = "30s" in Duration::from_secs(1)..=Duration::from_secs(600),
///         /// How many guests at once.
///         pub guests: u32 = "100" in 1..=10_000,
///         /// The greeter's name; also read from `GREETER_NAME`-like variables when one is given.
///         pub name: Option<String> = "" env "SIM_NAME",
///     }
/// }
///
/// let settings = GreeterSettings::default();
/// assert_eq!(settings.guests, 100);
/// ```
#[macro_export]
macro_rules! settings {
    (
        $(#[doc = $section_doc:literal])*
        $vis:vis struct $name:ident($section:literal) {
            $(
                $(#[doc = $doc:literal])+
                $field_vis:vis $field:ident : $ty:ty = $default:literal
                    $(env $variable:literal)? $(in $range:expr)?
            ),* $(,)?
        }
    ) => {
        $(#[doc = $section_doc])*
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $name {
            $( $(#[doc = $doc])+ $field_vis $field: $ty, )*
        }

        impl $crate::settings::Settings for $name {
            const SECTION: $crate::settings::Section = $crate::settings::Section {
                name: $section,
                doc: &[$($section_doc),*],
                specs: &[$( $crate::settings::Spec {
                    key: ::core::stringify!($field),
                    doc: &[$($doc),+],
                    default: $default,
                    variable: $crate::settings!(@variable $($variable)?),
                    flag: <$ty as $crate::settings::SettingValue>::FLAG,
                    kind: <$ty as $crate::settings::SettingValue>::KIND,
                } ),*],
            };

            fn resolve(
                resolver: &mut $crate::settings::Resolver<'_>,
            ) -> ::core::option::Option<Self> {
                // All fields first, then the struct: one bad field must not hide the next.
                $(
                    let $field = resolver.value::<$ty>(
                        ::core::stringify!($field),
                        &[$( &$crate::settings::within::<$ty>($range) )?],
                    );
                )*
                ::core::option::Option::Some(Self { $( $field: $field?, )* })
            }
        }

        impl ::core::default::Default for $name {
            fn default() -> Self {
                $crate::settings::defaults::<Self>()
            }
        }
    };
    (@variable) => { ::core::option::Option::None };
    (@variable $variable:literal) => { ::core::option::Option::Some($variable) };
}

/// Declares an enum that is written as one of a few words in settings.
///
/// ```
/// im_runtime::setting_choice! {
///     /// Which tea.
///     pub enum Tea { Green = "green", Black = "black" }
/// }
/// # use im_runtime::settings::SettingValue;
/// assert_eq!(Tea::from_text("black"), Ok(Tea::Black));
/// ```
#[macro_export]
macro_rules! setting_choice {
    (
        $(#[doc = $doc:literal])*
        $vis:vis enum $name:ident {
            $( $(#[doc = $choice_doc:literal])* $choice:ident = $word:literal ),+ $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $name { $( $(#[doc = $choice_doc])* $choice ),+ }

        impl $crate::settings::SettingValue for $name {
            const KIND: &'static str = ::core::concat!("one of", $( " ", $word ),+);

            fn from_text(
                text: &str,
            ) -> ::core::result::Result<Self, $crate::settings::Invalid> {
                match text {
                    $( $word => ::core::result::Result::Ok(Self::$choice), )+
                    _ => ::core::result::Result::Err(
                        $crate::settings::Invalid::text(text, Self::KIND),
                    ),
                }
            }

            fn to_toml(&self) -> ::std::string::String {
                match self { $( Self::$choice => ::std::format!("{:?}", $word), )+ }
            }
        }
    };
}
