//! The table of refusals.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use bytes::BytesMut;
use im_proto::limits::TEXT_LEN_MAX;
use im_proto::{Refusal, RefusalCode, Retry};
use proto_codec::Codec;

#[test]
fn rows_have_a_name_and_a_sentence_of_their_own() {
    let names: BTreeSet<_> = RefusalCode::KNOWN.iter().map(|code| code.name()).collect();
    let sentences: BTreeSet<_> = RefusalCode::KNOWN.iter().map(|code| code.sentence()).collect();
    assert_eq!(names.len(), RefusalCode::KNOWN.len());
    assert_eq!(sentences.len(), RefusalCode::KNOWN.len());
    assert!(!names.contains("Unknown"));
    for code in RefusalCode::KNOWN {
        assert!(code.sentence().len() > 10, "{code:?} says nothing");
        assert_eq!(code.name(), format!("{code:?}"));
        assert_eq!(RefusalCode::from_number(code.number()), *code);
    }
}

#[test]
fn rows_ascend_within_their_hundreds() {
    let numbers: Vec<_> = RefusalCode::KNOWN.iter().map(|code| code.number()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b));
    assert!(numbers.iter().all(|number| (100..600).contains(number)));
}

#[test]
fn the_servers_own_faults_are_worth_another_try() {
    for code in RefusalCode::KNOWN.iter().filter(|code| code.number() >= 400) {
        assert_ne!(code.retry(), Retry::Never, "{code:?}");
    }
    assert_eq!(RefusalCode::Unknown(599).retry(), Retry::Later);
    assert_eq!(RefusalCode::Unknown(499).retry(), Retry::Never);
    assert_eq!(RefusalCode::Unknown(7).name(), "Unknown");
}

#[test]
fn a_long_detail_is_cut_between_characters_and_stays_readable() {
    for detail in ["x".repeat(1000), "é".repeat(200), "x".to_owned() + &"吃".repeat(100)] {
        let refusal = Refusal::new(RefusalCode::BadBody, detail.clone());
        assert!(detail.starts_with(&refusal.detail));
        assert!((TEXT_LEN_MAX as usize - 3..=TEXT_LEN_MAX as usize).contains(&refusal.detail.len()));

        let mut out = BytesMut::new();
        Codec::Binary.encode(&refusal, &mut out);
        assert_eq!(Codec::Binary.decode("Refusal", &out.freeze()), Ok(refusal));
    }
}

#[test]
fn a_refusal_reads_as_one_line() {
    let refusal = Refusal::new(RefusalCode::NotAMember, "lunch");
    assert_eq!(refusal.to_string(), "NotAMember (304): lunch");
    assert_eq!(Refusal::from(RefusalCode::Busy).detail, RefusalCode::Busy.sentence());
}
