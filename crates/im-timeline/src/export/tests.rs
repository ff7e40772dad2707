#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use bytes::Bytes;
use im_proto::client::{ContentType, Message};
use im_proto::{ClientMsgId, ConversationId, Seq, UserId};

use super::*;
use crate::{Disk, MemoryStore, Record, Table};

fn rows() -> Vec<DumpRow> {
    let (a, b) = (UserId::new("a").unwrap(), UserId::new("b \"quoted\"").unwrap());
    let conversation = ConversationId::pair(&a, &b);
    let id = ClientMsgId::new("吃了吗").unwrap();
    vec![
        DumpRow::Message(Message {
            conversation: conversation.clone(),
            seq: Seq(1),
            sender: a.clone(),
            client_msg_id: id.clone(),
            time_ms: u64::MAX,
            content_type: ContentType::Unknown(999),
            payload: Bytes::from_static(&[0, 255, 10, 13, 34]),
        }),
        DumpRow::Floor { user: b.clone(), floor: Seq(4) },
        DumpRow::Entry {
            user: b,
            seq: Seq(5),
            conversation: conversation.clone(),
            conversation_seq: Seq(1),
            time_ms: 9,
        },
        DumpRow::Sent {
            sender: a,
            client_msg_id: id,
            conversation,
            seq: Seq(1),
            sender_seq: Seq(u64::MAX),
            receiver_seq: Seq(0),
            time_ms: 9,
        },
        DumpRow::Record { table: Table::Fetched, record: Record { key: "a\0\u{10ffff}".into(), value: Bytes::new() } },
    ]
}

async fn store(epoch: u64, rows: Vec<DumpRow>) -> MemoryStore {
    let store = MemoryStore::open(&Disk::new(Epoch(epoch)));
    store.load(rows).await.unwrap();
    store
}

async fn exported() -> Vec<u8> {
    let mut output = Vec::new();
    let summary = export(&store(7, rows()).await, &mut output).await.unwrap();
    assert_eq!(summary, Summary { epoch: Epoch(7), rows: 5 });
    output
}

async fn verified(input: &[u8]) -> Result<Summary, ImportError> {
    verify(&mut &*input).await
}

/// Every row comes back, into a store that keeps its epoch, and goes out again the same.
#[tokio::test]
async fn an_export_comes_back() {
    let text = exported().await;
    assert_eq!(verified(&text).await.unwrap(), Summary { epoch: Epoch(7), rows: 5 });
    let target = store(8, Vec::new()).await;
    assert_eq!(import(&target, &mut &*text).await.unwrap(), Summary { epoch: Epoch(7), rows: 5 });
    assert_eq!(target.epoch(), Epoch(8));
    let name = |row: &DumpRow| format!("{row:?}");
    let found: BTreeSet<String> = target.dump(None, 99).await.unwrap().rows.iter().map(name).collect();
    assert_eq!(found, rows().iter().map(name).collect());
}

/// The bytes of version 1, which later versions have to read.
#[tokio::test]
async fn the_format_is_written_down() {
    let text = String::from_utf8(exported().await).unwrap();
    let expected = r#"{"format":"sim-timelines","version":1,"epoch":7}
{"message":{"conversation":"a:b \"quoted\"","seq":1,"sender":"a","client_msg_id":"吃了吗","time_ms":18446744073709551615,"content_type":999,"payload":"AP8KDSI="}}
{"floor":{"user":"b \"quoted\"","floor":4}}
{"entry":{"user":"b \"quoted\"","seq":5,"conversation":"a:b \"quoted\"","conversation_seq":1,"time_ms":9}}
{"sent":{"sender":"a","client_msg_id":"吃了吗","conversation":"a:b \"quoted\"","seq":1,"sender_seq":18446744073709551615,"receiver_seq":0,"time_ms":9}}
"#;
    let record = "{\"record\":{\"table\":\"fetched\",\"key\":\"a\\u0000\u{10ffff}\",\"value\":\"\"}}\n";
    let body = format!("{expected}{record}");
    assert_eq!(
        text.strip_prefix(&body).unwrap(),
        format!("{{\"end\":{{\"rows\":5,\"blake3\":\"{}\"}}}}\n", blake3::hash(body.as_bytes()).to_hex())
    );
}

/// Exports have them, and so has what stores keep for people to read.
#[test]
fn tables_keep_their_names() {
    let names = ["account", "refresh", "group", "member", "conversation", "read", "fetched", "service"];
    assert_eq!(Table::ALL.map(Table::name), names);
    assert_eq!(names.map(Table::named), Table::ALL.map(Some));
    assert_eq!(Table::named("Account"), None);
}

/// More rows than a batch, exactly a batch, none.
#[tokio::test]
async fn every_number_of_rows_comes_back() {
    for count in [0, 1, BATCH_ROWS - 1, BATCH_ROWS, BATCH_ROWS + 1, 3 * BATCH_ROWS] {
        let record = |n: usize| DumpRow::Record {
            table: Table::Service,
            record: Record { key: format!("{n:05}"), value: Bytes::from_static(b"v") },
        };
        let source = store(1, (0..count).map(record).collect()).await;
        let mut text = Vec::new();
        export(&source, &mut text).await.unwrap();
        let target = store(2, Vec::new()).await;
        assert_eq!(import(&target, &mut &*text).await.unwrap().rows, count as u64);
        assert_eq!(target.dump(None, 1000).await, source.dump(None, 1000).await);
    }
}

/// Cut anywhere, even between lines, an export is refused.
#[tokio::test]
async fn a_truncated_export_is_refused() {
    let text = exported().await;
    let lines = text.iter().filter(|byte| **byte == b'\n').count() as u64;
    for cut in 0..text.len() - 1 {
        let refused = verified(&text[..cut]).await.unwrap_err();
        let complete = text[..cut].iter().filter(|byte| **byte == b'\n').count() as u64;
        match refused {
            ImportError::NotAnExport => assert_eq!(complete, 0, "cut at {cut}"),
            ImportError::Truncated { line } => assert_eq!(line, complete + 1, "cut at {cut}"),
            other => panic!("cut at {cut}: {other}"),
        }
    }
    assert_eq!(lines, 7);
}

/// A byte changed anywhere is noticed, at the latest by the digest.
#[tokio::test]
async fn a_changed_byte_is_refused() {
    let text = exported().await;
    for at in 0..text.len() - 1 {
        for flip in [0x01, 0x20, 0x80] {
            let mut changed = text.clone();
            changed[at] ^= flip;
            assert!(verified(&changed).await.is_err(), "byte {at} ^ {flip:#x} went unnoticed");
        }
    }
}

#[tokio::test]
async fn missing_and_doubled_lines_are_refused() {
    let text = String::from_utf8(exported().await).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for at in 1..6 {
        let missing = [&lines[..at], &lines[at + 1..]].concat().concat();
        assert!(matches!(
            verified(missing.as_bytes()).await,
            Err(ImportError::WrongCount { line: 6, said: 5, found: 4 })
        ));
        let mut swapped = lines.clone();
        swapped.swap(at, at % 5 + 1);
        assert!(matches!(verified(swapped.concat().as_bytes()).await, Err(ImportError::WrongDigest { line: 7 })));
    }
    let doubled = [text.as_str(), "\n"].concat();
    assert!(matches!(verified(doubled.as_bytes()).await, Err(ImportError::AfterEnd { line: 8 })));
}

#[tokio::test]
async fn other_files_and_later_versions_are_refused() {
    assert!(matches!(verified(b"").await, Err(ImportError::NotAnExport)));
    assert!(matches!(
        verified(b"{\"format\":\"other\",\"version\":1,\"epoch\":1}\n").await,
        Err(ImportError::NotAnExport)
    ));
    let later = b"{\"format\":\"sim-timelines\",\"version\":2,\"epoch\":1,\"more\":true}\n";
    let refused = verified(later).await.unwrap_err();
    assert!(matches!(refused, ImportError::NewerVersion { found: 2, known: 1 }));
    assert_eq!(refused.to_string(), "line 1: the export has format version 2, and this program reads up to 1");
}

#[tokio::test]
async fn a_bad_row_names_its_line() {
    let header = "{\"format\":\"sim-timelines\",\"version\":1,\"epoch\":1}\n";
    for (row, why) in [
        ("{\"floor\":{\"user\":\"a:b\",\"floor\":1}}\n", "':'"),
        ("{\"floor\":{\"user\":\"a\",\"floor\":1,\"more\":1}}\n", "unknown field"),
        ("{\"floor\":{\"user\":\"a\"}}\n", "missing field"),
        ("{\"surprise\":{}}\n", "unknown variant"),
        ("{\"record\":{\"table\":\"none\",\"key\":\"\",\"value\":\"\"}}\n", "no table"),
        ("{\"record\":{\"table\":\"read\",\"key\":\"\",\"value\":\"?\"}}\n", "base64"),
        (
            "{\"entry\":{\"user\":\"a\",\"seq\":1,\"conversation\":\"b:a\",\"conversation_seq\":1,\"time_ms\":1}}\n",
            "first",
        ),
        ("\n", "EOF"),
    ] {
        let text = [header, "{\"floor\":{\"user\":\"a\",\"floor\":1}}\n", row].concat();
        let refused = verified(text.as_bytes()).await.unwrap_err();
        let ImportError::BadRow { line: 3, why: said } = &refused else { panic!("{row}: {refused}") };
        assert!(said.contains(why), "{row}: {said}");
    }
    let long = [header.as_bytes(), &vec![b' '; LINE_LEN_MAX as usize + 1]].concat();
    assert!(matches!(verified(&long).await, Err(ImportError::TooLong { line: 2 })));
}

#[tokio::test]
async fn a_used_store_refuses_an_import() {
    let target = store(8, rows()).await;
    // The rows of a load may be followed by more; only a write of another kind ends it.
    target.trim(&UserId::new("b \"quoted\"").unwrap(), Seq(5)).await.unwrap();
    let refused = import(&target, &mut &*exported().await).await.unwrap_err();
    assert!(matches!(refused, ImportError::Load { line: 7, source: LoadError::NotEmpty }), "{refused}");
}
