//! Whatever happens to a client's records on their way: what comes out is what was said before the
//! first of them that was touched, and not a byte more.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

#[derive(Clone, Debug)]
enum Said {
    Data { len: usize, zeros: usize },
    Update { requested: bool },
    Cancelled,
}

#[derive(Clone, Debug)]
enum Mutation {
    None,
    Flip { at: Index, bit: u8 },
    Overwrite { at: Index, with: Vec<u8> },
    Insert { at: Index, bytes: Vec<u8> },
    CutOff { at: Index },
    Drop { record: Index },
    Repeat { record: Index },
    Swap { record: Index },
    Splice { record: Index },
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        6 => (0..300_usize, 0..40_usize).prop_map(|(len, zeros)| Said::Data { len, zeros }),
        1 => (16_000..=CONTENT_LEN_MAX, 0..1_usize).prop_map(|(len, zeros)| Said::Data { len, zeros }),
        2 => any::<bool>().prop_map(|requested| Said::Update { requested }),
        1 => Just(Said::Cancelled),
    ]
}

fn mutations() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    prop_oneof![
        1 => Just(Mutation::None),
        4 => (at(), 0..8_u8).prop_map(|(at, bit)| Mutation::Flip { at, bit }),
        2 => (at(), vec(any::<u8>(), 1..60)).prop_map(|(at, with)| Mutation::Overwrite { at, with }),
        2 => (at(), vec(any::<u8>(), 1..60)).prop_map(|(at, bytes)| Mutation::Insert { at, bytes }),
        1 => at().prop_map(|at| Mutation::CutOff { at }),
        1 => at().prop_map(|record| Mutation::Drop { record }),
        1 => at().prop_map(|record| Mutation::Repeat { record }),
        1 => at().prop_map(|record| Mutation::Swap { record }),
        1 => at().prop_map(|record| Mutation::Splice { record }),
    ]
}

/// The client's records, each beside the data in it.
fn written(ends: &mut Ends, script: &[Said]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut records = Vec::new();
    for (index, said) in script.iter().enumerate() {
        records.push(match said {
            Said::Data { len, zeros } => {
                let data = vec![index as u8 + 1; *len];
                (ends.padded(DATA, &data, *zeros), data)
            }
            Said::Update { requested } => {
                let record = ends.record(HANDSHAKE, if *requested { &UPDATE_BOTH } else { &UPDATE });
                ends.client_write.advance();
                (record, Vec::new())
            }
            Said::Cancelled => (ends.record(ALERT, &[WARNING, AlertDescription::UserCanceled.into()]), Vec::new()),
        });
    }
    records
}

/// The bytes on the wire, and how many of them, from the front, are as they were.
fn mutate(mut records: Vec<Vec<u8>>, mutation: &Mutation) -> (Vec<u8>, usize) {
    let count = records.len();
    let original = records.concat();
    match mutation {
        Mutation::Drop { record } => {
            records.remove(record.index(count));
        }
        Mutation::Repeat { record } => records.insert(record.index(count), records[record.index(count)].clone()),
        Mutation::Swap { record } => records.swap(record.index(count), (record.index(count) + 1) % count),
        // What another connection sends, in a record of the same length.
        Mutation::Splice { record } => {
            let (header, body) = records[record.index(count)].split_first_chunk_mut().unwrap();
            keys(9).ready().seal(*header, body);
        }
        _ => {}
    }
    let mut bytes = records.concat();
    match mutation {
        Mutation::Flip { at, bit } => bytes[at.index(original.len())] ^= 1 << bit,
        Mutation::Overwrite { at, with } => {
            let at = at.index(original.len());
            bytes.iter_mut().skip(at).zip(with).for_each(|(byte, other)| *byte = *other);
        }
        Mutation::Insert { at, bytes: more } => {
            let at = at.index(original.len());
            bytes.splice(at..at, more.iter().copied());
        }
        Mutation::CutOff { at } => bytes.truncate(at.index(original.len())),
        _ => {}
    }
    let same = bytes.iter().zip(&original).take_while(|(now, before)| now == before).count();
    (bytes, same)
}

/// How many of the records lie within the first `len` bytes.
fn whole_within(records: &[(Vec<u8>, Vec<u8>)], len: usize) -> usize {
    let ends = records.iter().scan(0, |end, (record, _)| {
        *end += record.len();
        Some(*end)
    });
    ends.take_while(|end| *end <= len).count()
}

/// What the server makes of bytes that come in parts of these lengths, and what it says in the end.
fn fed(server: &mut Records, bytes: &[u8], lengths: &[usize]) -> (Vec<u8>, Result<(), RecordError>, Held) {
    let (mut data, mut held, mut kept, mut rest) = (Vec::new(), Held::default(), Vec::new(), bytes);
    let mut lengths = lengths.iter().cycle();
    while !rest.is_empty() {
        let (part, behind) = rest.split_at(rest.len().min(*lengths.next().unwrap()));
        kept.extend_from_slice(part);
        rest = behind;
        let mut at = 0;
        loop {
            let mut room = vec![0; 20_000];
            let mut room = ReadBuf::new(&mut room);
            let opened = server.open(&mut kept[at..], &mut Sink { room: &mut room, held: &mut held });
            data.extend_from_slice(room.filled());
            data.extend_from_slice(&std::mem::take(&mut held.buffers().plain));
            match opened {
                Err(error) => {
                    server.seal_alert_for(&error, &mut held);
                    return (data, Err(error), held);
                }
                Ok(opened) if opened.starved => {
                    at += opened.consumed;
                    break;
                }
                Ok(opened) => at += opened.consumed,
            }
        }
        kept.drain(..at);
        assert!(kept.len() < HEADER_LEN + BODY_LEN_MAX, "a whole record was left");
    }
    (data, Ok(()), held)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn only_what_came_before_the_first_touched_record_comes_out(
        script in vec(said(), 1..12),
        mutation in mutations(),
        lengths in vec(prop_oneof![1..30_usize, 1..40_000_usize], 1..8),
    ) {
        let mut ends = Ends::new();
        let records = written(&mut ends, &script);
        let (bytes, same) = mutate(records.iter().map(|(record, _)| record.clone()).collect(), &mutation);
        let expected: Vec<u8> = records[..whole_within(&records, same)].iter().flat_map(|(_, data)| data.clone()).collect();

        let (data, end, held) = fed(&mut ends.server, &bytes, &lengths);
        prop_assert!(data == expected, "{} bytes came out, {} were to", data.len(), expected.len());
        match end {
            Ok(()) => prop_assert!(held.outgoing().is_empty()),
            Err(error) => {
                prop_assert!(bytes.len() > same, "nothing was wrong with what came");
                let told = ends.heard(held.outgoing());
                prop_assert_eq!(told, [(ALERT, vec![FATAL, error.alert().unwrap().into()])]);
            }
        }
    }
}
