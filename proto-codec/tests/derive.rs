//! What the derives write: round trips by shape, growth across versions, and bytes that equal those
//! of a twin written by hand from the layout rules.
#![allow(clippy::unwrap_used)]

use bytes::{BufMut, Bytes, BytesMut};
use proto_codec::{Codec, Decode, DecodeError, Describe, Encode};

/// The first version of a message, and the two that came after. Modules give them one name.
mod v1 {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
    pub(crate) struct Note {
        pub id: u32,
        #[wire(max = 16)]
        pub text: String,
    }
}

mod v2 {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
    pub(crate) struct Note {
        pub id: u32,
        #[wire(max = 16)]
        pub text: String,
        #[wire(max = 300, since = 2)]
        pub tags: Vec<u8>,
    }
}

mod v3 {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
    pub(crate) struct Note {
        pub id: u32,
        #[wire(max = 16)]
        pub text: String,
        #[wire(max = 300, since = 2)]
        pub tags: Vec<u8>,
        #[wire(since = 3)]
        pub stars: u16,
        #[wire(max = 16, since = 3)]
        pub author: Option<String>,
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
struct Empty {}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
struct Unit;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[wire(sealed)]
struct Point {
    x: u16,
    y: u16,
}

/// Every basic type, and every way to hold another.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct Everything {
    byte: u8,
    short: u16,
    word: u32,
    long: u64,
    flag: bool,
    #[wire(max = 32)]
    text: String,
    #[wire(max = 32)]
    bytes: Bytes,
    number: Option<u64>,
    #[wire(max = 32)]
    name: Option<String>,
    #[wire(max = 4)]
    points: Vec<Point>,
    #[wire(max = 4)]
    maybe_points: Option<Vec<Point>>,
    note: v3::Note,
    #[wire(max = 4)]
    notes: Vec<v1::Note>,
    empty: Empty,
    unit: Unit,
}

fn everything() -> Everything {
    Everything {
        byte: 0xfe,
        short: 0x0102,
        word: 0x0304_0506,
        long: u64::MAX - 1,
        flag: true,
        text: "吃了吗？".to_owned(),
        bytes: Bytes::from_static(&[0, 255, 7]),
        number: Some(9),
        name: Some("me".to_owned()),
        points: vec![Point { x: 1, y: 2 }, Point { x: 3, y: 4 }],
        maybe_points: Some(vec![]),
        note: note_v3(),
        notes: vec![note_v1(), note_v1()],
        empty: Empty {},
        unit: Unit,
    }
}

/// The least that [`Everything`] can hold.
fn nothing() -> Everything {
    Everything {
        byte: 0,
        short: 0,
        word: 0,
        long: 0,
        flag: false,
        text: String::new(),
        bytes: Bytes::new(),
        number: None,
        name: None,
        points: vec![],
        maybe_points: None,
        note: v3::Note { id: 0, text: String::new(), tags: vec![], stars: 0, author: None },
        notes: vec![],
        empty: Empty {},
        unit: Unit,
    }
}

fn note_v1() -> v1::Note {
    v1::Note { id: 7, text: "milk".to_owned() }
}

fn note_v2() -> v2::Note {
    v2::Note { id: 7, text: "milk".to_owned(), tags: vec![5; 200] }
}

fn note_v3() -> v3::Note {
    v3::Note { id: 7, text: "milk".to_owned(), tags: vec![5; 200], stars: 3, author: Some("bob".to_owned()) }
}

fn encode(message: &(impl Encode + Describe)) -> Bytes {
    let mut out = BytesMut::new();
    Codec::Binary.encode(message, &mut out);
    out.freeze()
}

fn decode<M: Decode>(bytes: &Bytes) -> Result<M, DecodeError> {
    Codec::Binary.decode("message", bytes)
}

/// Encodes, decodes, and refuses every cut and every addition.
fn check<M: Encode + Decode + PartialEq + std::fmt::Debug>(message: &M) {
    let bytes = encode(message);
    assert_eq!(decode::<M>(&bytes).as_ref(), Ok(message));
    for cut in 0..bytes.len() {
        let refusal = decode::<M>(&bytes.slice(..cut)).unwrap_err();
        assert!(matches!(refusal, DecodeError::Missing { .. }), "cut at {cut} of {}: {refusal:?}", bytes.len());
    }
    let mut longer = BytesMut::from(&bytes[..]);
    longer.put_u8(0);
    assert_eq!(decode::<M>(&longer.freeze()), Err(DecodeError::Trailing { what: "message", left: 1 }));
}

#[test]
fn every_shape_comes_back_and_every_cut_is_refused() {
    check(&everything());
    check(&nothing());
    check(&Empty {});
    check(&Unit);
    check(&Point { x: 1, y: 2 });
    check(&note_v1());
    check(&note_v2());
    check(&note_v3());
}

#[test]
fn the_least_length_is_exact_where_nothing_is_held() {
    assert_eq!(encode(&Empty {}), &[0][..]);
    assert_eq!(Empty::LEN_MIN, 1);
    assert_eq!(Point::LEN_MIN, 4);
    assert_eq!(v1::Note::LEN_MIN, 4 + 1 + 1);
    assert_eq!(v3::Note::LEN_MIN, 4 + 1 + 1, "appended fields may be missing");
    // The least note inside `nothing` still writes its three appended fields.
    let appended = (1 + 1) + (1 + 2) + (1 + 1);
    assert_eq!(encode(&nothing()).len(), Everything::LEN_MIN + appended);
}

#[test]
fn a_hand_written_twin_gives_the_same_bytes() {
    let mut twin = BytesMut::new();
    twin.put_u8(0xfe);
    twin.put_u16(0x0102);
    twin.put_u32(0x0304_0506);
    twin.put_u64(u64::MAX - 1);
    twin.put_u8(1);
    twin.put_u8(12);
    twin.put_slice("吃了吗？".as_bytes());
    twin.put_slice(&[3, 0, 255, 7]);
    twin.put_u8(1);
    twin.put_u64(9);
    twin.put_slice(&[1, 2, b'm', b'e']);
    twin.put_slice(&[2, 0, 1, 0, 2, 0, 3, 0, 4]);
    twin.put_slice(&[1, 0]);
    // The nested note: its first fields, then three appended ones, each behind its length.
    twin.put_slice(b"\x00\x00\x00\x07\x04milk\x03");
    twin.put_slice(&[0xca, 0x01, 0xc8, 0x01]);
    twin.put_bytes(5, 200);
    twin.put_slice(&[2, 0, 3]);
    twin.put_slice(b"\x05\x01\x03bob");
    twin.put_u8(2);
    twin.put_slice(b"\x00\x00\x00\x07\x04milk\x00");
    twin.put_slice(b"\x00\x00\x00\x07\x04milk\x00");
    // Empty, Unit, and the end of Everything: nothing appended, three times.
    twin.put_slice(&[0, 0, 0]);
    assert_eq!(encode(&everything()), twin.freeze());
}

#[test]
fn an_older_reader_skips_what_it_does_not_know() {
    assert_eq!(decode(&encode(&note_v2())), Ok(note_v1()));
    assert_eq!(decode(&encode(&note_v3())), Ok(note_v1()));
    assert_eq!(decode(&encode(&note_v3())), Ok(note_v2()));
}

#[test]
fn a_newer_reader_fills_what_is_missing() {
    assert_eq!(decode(&encode(&note_v1())), Ok(v2::Note { tags: vec![], ..note_v2() }));
    assert_eq!(decode(&encode(&note_v1())), Ok(v3::Note { tags: vec![], stars: 0, author: None, ..note_v3() }));
    assert_eq!(decode(&encode(&note_v2())), Ok(v3::Note { stars: 0, author: None, ..note_v3() }));
}

#[test]
fn versions_meet_in_every_codec() {
    fn read<M: Decode>(codec: Codec, message: &(impl Encode + Describe)) -> Result<M, DecodeError> {
        let mut out = BytesMut::new();
        codec.encode(message, &mut out);
        codec.decode("message", &out.freeze())
    }
    for codec in Codec::ALL {
        assert_eq!(read(*codec, &note_v3()), Ok(note_v3()), "{codec:?}");
        assert_eq!(read(*codec, &note_v3()), Ok(note_v1()), "{codec:?}");
        assert_eq!(read(*codec, &note_v3()), Ok(note_v2()), "{codec:?}");
        let filled = v3::Note { tags: vec![], stars: 0, author: None, ..note_v3() };
        assert_eq!(read(*codec, &note_v1()), Ok(filled), "{codec:?}");
    }
    // An option of nothing is not the same as no option.
    for codec in Codec::ALL {
        let empty = v3::Note { author: Some(String::new()), ..note_v3() };
        assert_eq!(read(*codec, &empty), Ok(empty), "{codec:?}");
    }
    // An appended field may come without the one before it.
    let json = Bytes::from_static(br#"{"stars":3,"text":"milk","id":7}"#);
    let filled = v3::Note { tags: vec![], author: None, ..note_v3() };
    assert_eq!(Codec::Json.decode("message", &json), Ok(filled.clone()));
    assert_eq!(Codec::Json.decode("message", &json), Ok(note_v1()));
    assert_eq!(Codec::Protobuf.decode("message", &Bytes::from_static(b"\x20\x03\x12\x04milk\x08\x07")), Ok(filled));
    // One of the first version may not.
    let json = Bytes::from_static(br#"{"stars":3,"id":7}"#);
    assert_eq!(Codec::Json.decode::<v3::Note>("message", &json), Err(DecodeError::Missing { what: "Note.text" }));
}

#[test]
fn versions_meet_inside_lists_too() {
    #[derive(Debug, PartialEq, Encode, Decode)]
    struct Old {
        #[wire(max = 4)]
        notes: Vec<v1::Note>,
        end: u8,
    }
    #[derive(Debug, PartialEq, Encode, Decode)]
    struct New {
        #[wire(max = 4)]
        notes: Vec<v3::Note>,
        end: u8,
    }
    let new = New { notes: vec![note_v3(), note_v3()], end: 0xee };
    let old = Old { notes: vec![note_v1(), note_v1()], end: 0xee };
    let from_old = v3::Note { tags: vec![], stars: 0, author: None, ..note_v3() };
    assert_eq!(decode(&encode(&new)).as_ref(), Ok(&old));
    assert_eq!(decode(&encode(&old)), Ok(New { notes: vec![from_old.clone(), from_old], end: 0xee }));
}

#[test]
fn appended_fields_are_held_to_their_own_length_and_maximum() {
    let with_tail = |tail: &[u8]| Bytes::from([&b"\x00\x00\x00\x07\x04milk"[..], tail].concat());
    let read = |tail: &[u8]| decode::<v3::Note>(&with_tail(tail)).unwrap_err();
    let (tags, stars, note) = ("Note.tags", "Note.stars", "Note");

    assert_eq!(read(&[1, 2, 0, 9]), DecodeError::Trailing { what: tags, left: 1 });
    assert_eq!(read(&[1, 1, 2, 9, 9]), DecodeError::Missing { what: "u8" });
    assert_eq!(read(&[1, 0]), DecodeError::Missing { what: tags });
    assert_eq!(read(&[1, 0xff, 0xff, 0xff, 0xff, 0x0f]), DecodeError::Missing { what: tags });
    assert_eq!(read(&[1, 2, 0xad, 0x02]), DecodeError::TooLong { what: tags, length: 301, max: 300 });
    assert_eq!(read(&[2, 1, 0, 3, 0, 1, 2]), DecodeError::Trailing { what: stars, left: 1 });
    assert_eq!(read(&[255]), DecodeError::Missing { what: tags });
    // Three that are known and one that is not: the last is skipped, by a length that must hold.
    assert_eq!(read(&[4, 1, 0, 2, 0, 1, 1, 0, 2, 9]), DecodeError::Missing { what: note });
    assert_eq!(read(&[4, 1, 0, 2, 0, 1, 1, 0, 0x81, 0x00]), DecodeError::BadVarint { what: note });
    assert!(decode::<v3::Note>(&with_tail(&[4, 1, 0, 2, 0, 1, 1, 0, 2, 9, 9])).is_ok());
}

#[test]
fn errors_name_the_field() {
    let read = |bytes: &[u8]| decode::<v1::Note>(&Bytes::copy_from_slice(bytes)).unwrap_err();
    let what = "Note.text";
    assert_eq!(read(&[0, 0, 0, 1, 17]), DecodeError::TooLong { what, length: 17, max: 16 });
    assert_eq!(read(&[0, 0, 0, 1, 2, b'a']), DecodeError::Missing { what });
    assert_eq!(read(&[0, 0, 0, 1, 1, 0xff, 0]), DecodeError::BadUtf8 { what });
    assert_eq!(read(&[0, 0, 0, 1, 0x80, 0x00, 0]), DecodeError::BadVarint { what });
    assert_eq!(read(&[0, 0, 0, 1, 0]), DecodeError::Missing { what: "Note" });
}

#[test]
fn byte_fields_share_the_frame() {
    #[derive(Debug, PartialEq, Encode, Decode)]
    struct Blob {
        #[wire(max = 64)]
        payload: Bytes,
        #[wire(max = 64, since = 2)]
        preview: Bytes,
    }
    let frame = encode(&Blob { payload: Bytes::from(vec![1; 40]), preview: Bytes::from(vec![2; 40]) });
    let blob: Blob = decode(&frame).unwrap();
    for field in [&blob.payload, &blob.preview] {
        assert_eq!(field.len(), 40);
        let (frame, field) = (frame.as_ptr_range(), field.as_ptr_range());
        assert!(frame.start <= field.start && field.end <= frame.end, "copied instead of shared");
    }
}

#[test]
fn field_names_do_not_collide_with_generated_ones() {
    #[derive(Debug, PartialEq, Encode, Decode)]
    struct Names {
        reader: u8,
        out: u8,
        r#type: u8,
        #[wire(since = 2)]
        appended: u8,
        #[wire(since = 2)]
        field_reader: u8,
    }
    let names = Names { reader: 1, out: 2, r#type: 3, appended: 4, field_reader: 5 };
    assert_eq!(decode::<Names>(&encode(&names)), Ok(names));
}
