//! What a client may send, and what it may not, record by record.
#![allow(clippy::unwrap_used)]

use rustls::ConnectionTrafficSecrets;
use rustls::crypto::cipher::{AeadKey, Iv};
use tokio::io::ReadBuf;

use super::super::secrets::{SECRET_LEN_MAX, Secret};
use super::*;

mod mutated;

const DATA: ContentType = ContentType::ApplicationData;
const HANDSHAKE: ContentType = ContentType::Handshake;
const ALERT: ContentType = ContentType::Alert;

const UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
const UPDATE_BOTH: [u8; 5] = [24, 0, 0, 1, 1];

fn keys(seed: u8) -> Keys {
    let told = ConnectionTrafficSecrets::Aes256Gcm { key: AeadKey::from([seed; 32]), iv: Iv::new([seed; 12]) };
    Keys::new(0, &told, Secret::new([seed; SECRET_LEN_MAX])).unwrap()
}

/// A server's record layer, and the keys of its client.
struct Ends {
    server: Records,
    client_write: Keys,
    client_read: Keys,
}

impl Ends {
    fn new() -> Self {
        Self { server: Records::new(keys(1), keys(2), false), client_write: keys(1), client_read: keys(2) }
    }

    /// A record of the client, padded with so many zeros.
    fn padded(&mut self, content_type: ContentType, content: &[u8], zeros: usize) -> Vec<u8> {
        let mut body = content.to_vec();
        body.push(content_type.into());
        body.resize(body.len() + zeros + TAG_LEN, 0);
        let [high, low] = (body.len() as u16).to_be_bytes();
        let header = [23, 3, 3, high, low];
        self.client_write.ready().seal(header, &mut body);
        [&header[..], &body].concat()
    }

    fn record(&mut self, content_type: ContentType, content: &[u8]) -> Vec<u8> {
        self.padded(content_type, content, 0)
    }

    /// What the server makes of these bytes: the data in them.
    fn open(&mut self, bytes: &[u8]) -> Result<Vec<u8>, RecordError> {
        let (mut incoming, mut room, mut held) = (bytes.to_vec(), vec![0; 1 << 17], Held::default());
        let mut room = ReadBuf::new(&mut room);
        let mut at = 0;
        loop {
            let mut sink = Sink { room: &mut room, held: &mut held };
            let opened = self.server.open(&mut incoming[at..], &mut sink)?;
            at += opened.consumed;
            if opened.starved {
                assert_eq!(at, bytes.len(), "whole records only");
                return Ok(room.filled().to_vec());
            }
        }
    }

    fn refuses(&mut self, bytes: &[u8]) -> RecordError {
        self.open(bytes).unwrap_err()
    }

    /// Sends a record of the client, which must do nothing but be taken.
    fn takes(&mut self, content_type: ContentType, content: &[u8]) {
        let record = self.record(content_type, content);
        assert_eq!(self.open(&record).unwrap(), b"");
    }

    /// What the client reads in the records of `bytes`, following changes of keys.
    fn heard(&mut self, mut bytes: &[u8]) -> Vec<(ContentType, Vec<u8>)> {
        let mut heard = Vec::new();
        while !bytes.is_empty() {
            let (record, rest) = bytes.split_at(HEADER_LEN + usize::from(u16::from_be_bytes([bytes[3], bytes[4]])));
            let (header, body) = record.split_first_chunk().unwrap();
            let mut body = body.to_vec();
            let plain =
                self.client_read.ready().open(*header, &mut body).expect("these are the client's keys").to_vec();
            let (content_type, content) = without_padding(&plain).unwrap();
            if content_type == HANDSHAKE {
                self.client_read.advance();
            }
            heard.push((content_type, content.to_vec()));
            bytes = rest;
        }
        heard
    }

    fn says(&mut self, plain: &[u8]) -> Vec<(ContentType, Vec<u8>)> {
        let mut out = vec![0; 1 << 17];
        let len = self.server.seal(plain, &mut out);
        self.heard(&out[..len])
    }
}

#[test]
fn data_comes_out_without_its_padding() {
    let mut ends = Ends::new();
    for (content, zeros) in [(&b"a"[..], 0), (b"bc", 1), (b"d\0\0", 255), (&[7; CONTENT_LEN_MAX], 0), (b"", 100)] {
        let record = ends.padded(DATA, content, zeros);
        assert_eq!(ends.open(&record).unwrap(), content);
    }
    let several = [ends.record(DATA, b"one"), ends.record(DATA, b"two"), ends.padded(DATA, b"three", 9)].concat();
    assert_eq!(ends.open(&several).unwrap(), b"onetwothree");
}

#[test]
fn nothing_is_taken_before_it_is_whole() {
    let mut ends = Ends::new();
    let mut record = ends.record(DATA, b"whole");
    let mut held = Held::default();
    for len in 0..record.len() {
        let mut room = ReadBuf::new(&mut []);
        let mut sink = Sink { room: &mut room, held: &mut held };
        let opened = ends.server.open(&mut record[..len], &mut sink).unwrap();
        assert_eq!((opened.consumed, opened.starved), (0, true));
    }
    assert_eq!(ends.open(&record).unwrap(), b"whole");
}

#[test]
fn only_what_the_client_sealed_in_its_order_is_opened() {
    for place in HEADER_LEN..HEADER_LEN + 4 + 1 + TAG_LEN {
        let mut ends = Ends::new();
        let mut record = ends.record(DATA, b"data");
        record[place] ^= 0x10;
        assert_eq!(ends.refuses(&record), RecordError::NotAuthentic, "byte {place}");
    }
    let mut ends = Ends::new();
    let (first, second) = (ends.record(DATA, b"first"), ends.record(DATA, b"second"));
    assert_eq!(ends.refuses(&second), RecordError::NotAuthentic, "out of order");
    let mut ends = Ends::new();
    assert_eq!(ends.refuses(&[first.clone(), first].concat()), RecordError::NotAuthentic, "twice");
    for len in 0..TAG_LEN {
        let record = [&[23, 3, 3, 0, len as u8][..], &vec![0; len]].concat();
        assert_eq!(Ends::new().refuses(&record), RecordError::NotAuthentic, "no room for a tag");
    }
    // The header is sealed, too, except for what decides where the record ends.
    let mut ends = Ends::new();
    let mut record = ends.record(DATA, b"data");
    record[1] = 2;
    assert_eq!(ends.refuses(&record), RecordError::NotAuthentic);
}

#[test]
fn lengths_have_a_maximum() {
    let [high, low] = (BODY_LEN_MAX as u16 + 1).to_be_bytes();
    assert_eq!(Ends::new().refuses(&[23, 3, 3, high, low]), RecordError::TooLong, "told by its header");
    let mut ends = Ends::new();
    let record = ends.record(DATA, &[7; CONTENT_LEN_MAX + 1]);
    assert_eq!(ends.refuses(&record), RecordError::TooLong, "more content than there may be");
    let mut ends = Ends::new();
    let record = ends.padded(DATA, &[7; 10], CONTENT_LEN_MAX);
    assert_eq!(ends.refuses(&record), RecordError::TooLong, "more padding than there may be");
    let mut ends = Ends::new();
    let record = ends.padded(DATA, &[7; 10], CONTENT_LEN_MAX - 10);
    assert_eq!(ends.open(&record).unwrap(), [7; 10]);
}

#[test]
fn other_types_do_not_belong_here() {
    for outer in [20, 21, 22, 24, 0] {
        assert_eq!(Ends::new().refuses(&[outer, 3, 3, 0, 1, 1]), RecordError::Unexpected, "in the clear: {outer}");
    }
    for inner in [ContentType::ChangeCipherSpec, ContentType::Heartbeat, ContentType::Unknown(99)] {
        let mut ends = Ends::new();
        let record = ends.record(inner, &[1]);
        assert_eq!(ends.refuses(&record), RecordError::Unexpected, "{inner:?}");
    }
    let mut ends = Ends::new();
    let record = ends.record(ContentType::Unknown(0), &[0; 20]);
    assert_eq!(ends.refuses(&record), RecordError::Unexpected, "nothing but padding");
}

#[test]
fn the_clients_keys_change_behind_its_key_update() {
    let mut ends = Ends::new();
    for round in 0..3 {
        ends.takes(HANDSHAKE, &UPDATE);
        ends.client_write.advance();
        let record = ends.record(DATA, &[round]);
        assert_eq!(ends.open(&record).unwrap(), [round]);
    }
    assert_eq!(ends.says(b"x"), [(DATA, b"x".to_vec())], "nobody asked for the server's");
    // Bytes behind it in the same segment are in the new keys already.
    let mut segment = ends.record(HANDSHAKE, &UPDATE);
    ends.client_write.advance();
    segment.extend(ends.record(DATA, b"behind"));
    assert_eq!(ends.open(&segment).unwrap(), b"behind");
    ends.takes(HANDSHAKE, &UPDATE);
    let stale = ends.record(DATA, b"stale");
    assert_eq!(ends.refuses(&stale), RecordError::NotAuthentic, "in the keys before");
}

#[test]
fn a_key_update_may_come_in_parts() {
    for cut in 1..5 {
        let mut ends = Ends::new();
        ends.takes(HANDSHAKE, &UPDATE_BOTH[..cut]);
        ends.takes(HANDSHAKE, &UPDATE_BOTH[cut..]);
        ends.client_write.advance();
        let record = ends.record(DATA, b"x");
        assert_eq!(ends.open(&record).unwrap(), b"x");
    }
    for (content_type, content) in [(DATA, &b"x"[..]), (DATA, b""), (ALERT, &[1, 0]), (HANDSHAKE, &[])] {
        let mut ends = Ends::new();
        ends.takes(HANDSHAKE, &UPDATE[..2]);
        let between = ends.record(content_type, content);
        assert_eq!(ends.refuses(&between), RecordError::Unexpected, "{content_type:?} in between");
    }
}

#[test]
fn nothing_else_of_a_handshake_is_taken() {
    for (content, expected) in [
        (&b""[..], RecordError::Unexpected),
        (&[24, 0, 0, 1, 0, 24][..], RecordError::Unexpected),
        (&[UPDATE, UPDATE].concat(), RecordError::Unexpected),
        (&[1, 0, 0, 0], RecordError::Unexpected),
        (&[20, 0, 0, 1, 0], RecordError::Unexpected),
        (&[24, 0, 0, 1, 2], RecordError::BadKeyUpdate),
        (&[24, 0, 0, 2, 0], RecordError::Malformed),
        (&[24, 1, 0, 1, 0], RecordError::Malformed),
    ] {
        let mut ends = Ends::new();
        let record = ends.record(HANDSHAKE, content);
        assert_eq!(ends.refuses(&record), expected, "{content:?}");
    }
}

#[test]
fn who_asks_for_other_keys_gets_them_before_the_next_data_and_once() {
    let mut ends = Ends::new();
    for _ in 0..3 {
        ends.takes(HANDSHAKE, &UPDATE_BOTH);
        ends.client_write.advance();
    }
    assert_eq!(ends.says(b""), []);
    assert_eq!(ends.says(b"x"), [(HANDSHAKE, UPDATE.to_vec()), (DATA, b"x".to_vec())]);
    assert_eq!(ends.says(b"y"), [(DATA, b"y".to_vec())]);
}

#[test]
fn keys_change_by_themselves_before_they_are_worn_out() {
    let mut ends = Ends::new();
    assert_eq!(ends.server.records_max, 1 << 24);
    ends.server.records_max = 2;
    let kinds: Vec<_> = (0..6).flat_map(|_| ends.says(b"x")).map(|(content_type, _)| content_type).collect();
    assert_eq!(kinds, [DATA, DATA, HANDSHAKE, DATA, DATA, HANDSHAKE, DATA, DATA]);
    // And within one write of several records.
    let kinds: Vec<_> =
        ends.says(&[0; 3 * CONTENT_LEN_MAX]).into_iter().map(|(content_type, _)| content_type).collect();
    assert_eq!(kinds, [HANDSHAKE, DATA, DATA, HANDSHAKE, DATA]);
}

#[test]
fn records_without_data_are_few() {
    for (content_type, content) in [(DATA, &b""[..]), (HANDSHAKE, &UPDATE), (ALERT, &[1, 90])] {
        let mut ends = Ends::new();
        for round in 0..2 {
            for _ in 0..WITHOUT_DATA_MAX {
                ends.takes(content_type, content);
                if content_type == HANDSHAKE {
                    ends.client_write.advance();
                }
            }
            let record =
                ends.record(if round == 0 { DATA } else { content_type }, if round == 0 { b"x" } else { content });
            match round {
                0 => assert_eq!(ends.open(&record).unwrap(), b"x", "data starts the count again"),
                _ => assert_eq!(ends.refuses(&record), RecordError::NoData, "{content_type:?}"),
            }
        }
    }
}

#[test]
fn alerts_end_a_connection_unless_they_say_nothing() {
    let mut ends = Ends::new();
    ends.takes(ALERT, &[2, 90]);
    assert!(!ends.server.is_peer_closed());
    ends.takes(ALERT, &[1, 0]);
    assert!(ends.server.is_peer_closed());
    for (level, description) in [(2, 40), (1, 40), (2, 10), (1, 255)] {
        let mut ends = Ends::new();
        let record = ends.record(ALERT, &[level, description]);
        let refused = ends.refuses(&record);
        assert_eq!(refused, RecordError::Alert(description.into()));
        assert_eq!(refused.alert(), None, "an alert is not answered by another");
    }
    for content in [&[][..], &[1], &[1, 0, 0]] {
        let mut ends = Ends::new();
        let record = ends.record(ALERT, content);
        assert_eq!(ends.refuses(&record), RecordError::Malformed);
    }
}

#[test]
fn the_client_is_told_what_was_wrong_and_when_it_is_over() {
    let mut ends = Ends::new();
    for (error, alert) in [
        (RecordError::NotAuthentic, 20),
        (RecordError::TooLong, 22),
        (RecordError::Unexpected, 10),
        (RecordError::NoData, 10),
        (RecordError::Malformed, 50),
        (RecordError::BadKeyUpdate, 47),
    ] {
        let mut held = Held::default();
        ends.server.seal_alert_for(&error, &mut held);
        let sent = held.outgoing().to_vec();
        assert_eq!(ends.heard(&sent), [(ALERT, vec![FATAL, alert])]);
    }
    let mut out = [0; 64];
    let len = ends.server.seal_close(&mut out);
    assert_eq!(ends.heard(&out[..len]), [(ALERT, vec![WARNING, 0])]);
}
