//! What the derive says of a definition is what stands in it.
#![allow(dead_code)]

use bytes::Bytes;
use proto_codec::schema::{FieldSchema, StructSchema, Type};
use proto_codec::{Decode, Describe, Encode};

const TEXT_MAX: u32 = 7;

/// A struct
/// over two lines.
#[derive(Encode, Decode)]
struct Plain {
    /// The first.
    number: u16,
    #[wire(max = TEXT_MAX)]
    text: String,
    /// Maybe.
    #[wire(max = 4 * TEXT_MAX)]
    blob: Option<Bytes>,
    #[wire(max = 3)]
    points: Vec<Point>,
    /// Later.
    #[wire(since = 3)]
    stars: u8,
}

#[derive(Encode, Decode)]
#[wire(sealed)]
struct Point {
    x: u64,
    flag: Option<bool>,
}

#[test]
fn the_schema_is_the_definition() {
    let field = |name, path, doc, ty, since| FieldSchema { name, path, doc, ty, since };
    let point = Type::Struct(&StructSchema {
        name: "Point",
        doc: "",
        sealed: true,
        fields: &[
            FieldSchema { name: "x", path: "Point.x", doc: "", ty: Type::U64, since: 1 },
            FieldSchema { name: "flag", path: "Point.flag", doc: "", ty: Type::Option(&Type::Bool), since: 1 },
        ],
    });
    assert_eq!(Point::TYPE, point);

    let schema = Plain::TYPE.as_struct().expect("a struct is a struct");
    assert_eq!((schema.name, schema.doc, schema.sealed), ("Plain", "A struct over two lines.", false));
    let fields = [
        field("number", "Plain.number", "The first.", Type::U16, 1),
        field("text", "Plain.text", "", Type::Text { max: 7 }, 1),
        field("blob", "Plain.blob", "Maybe.", Type::Option(&Type::Bytes { max: 28 }), 1),
        field("points", "Plain.points", "", Type::List { of: &Point::TYPE, max: 3 }, 1),
        field("stars", "Plain.stars", "Later.", Type::U8, 3),
    ];
    assert_eq!(schema.fields, fields);
    assert_eq!(
        schema.fields.iter().map(|field| field.is_appended()).collect::<Vec<_>>(),
        [false, false, false, false, true]
    );
}
