//! What is measured: the message that is sent most, and the page that a client gets which was away.

use bytes::{Bytes, BytesMut};
use im_proto::client::{ContentType, Entry, Message, MsgPage, SendMsg};
use im_proto::{ClientMsgId, ConversationId, Epoch, IdError, Position, Seq, Target, UserId};
use proto_codec::{Codec, Decode, Encode};

const TEXT: &[u8] = b"shall we eat together at noon?";

pub fn send_msg() -> Result<SendMsg, IdError> {
    Ok(SendMsg {
        to: Target::User(UserId::new("bob")?),
        client_msg_id: ClientMsgId::new("018f4b5e-7c1a-7d2e-9b3f-0123456789ab")?,
        content_type: ContentType::Text,
        payload: Bytes::from_static(TEXT),
    })
}

pub fn page() -> Result<MsgPage, IdError> {
    let entry = |seq: u64| {
        Ok(Entry {
            seq: Seq(seq),
            message: Message {
                conversation: ConversationId::new("alice:bob")?,
                seq: Seq(seq),
                sender: UserId::new("alice")?,
                client_msg_id: ClientMsgId::new(format!("018f4b5e-7c1a-7d2e-9b3f-{seq:012}"))?,
                time_ms: 1_700_000_000_000 + seq,
                content_type: ContentType::Text,
                payload: Bytes::from_static(TEXT),
            },
        })
    };
    Ok(MsgPage {
        head: Position { epoch: Epoch(1), seq: Seq(1050) },
        floor: Seq(0),
        entries: (1001..=1050).map(entry).collect::<Result<_, _>>()?,
        has_more: false,
    })
}

pub fn encoded<M: Encode + Decode>(codec: Codec, message: &M) -> Bytes {
    let mut out = BytesMut::new();
    codec.encode(message, &mut out);
    out.freeze()
}
