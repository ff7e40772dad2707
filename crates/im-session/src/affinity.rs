//! Which im-service gets a request. Any instance may serve any request correctly; keeping a
//! conversation with one instance only makes its batches larger, so a change of the set of
//! instances does no harm.

use im_proto::client::Command;
use im_proto::{Target, UserId};
use proto_codec::{Bytes, Decode, Reader};

/// What requests that belong together have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Affinity(u64);

impl Affinity {
    /// The conversation's for a send, the user's own for everything else. A body that does not
    /// decode goes wherever the user's requests go, and is refused there.
    pub fn of_request(command: Command, user: &UserId, body: &Bytes) -> Self {
        if command == Command::SendMsg {
            // The target stands first in a `SendMsg` for exactly this.
            if let Ok(target) = Target::decode(&mut Reader::over(body)) {
                return Self::of_target(&target, user);
            }
        }
        Self::of(user.as_str())
    }

    /// The same as of the conversation's name, which need not be made for it.
    fn of_target(target: &Target, user: &UserId) -> Self {
        let hash = match target {
            Target::Group(group) => fnv1a(FNV_SEED, group.as_str().as_bytes()),
            Target::User(peer) => {
                let (smaller, bigger) = if peer <= user { (peer, user) } else { (user, peer) };
                [smaller.as_str(), ":", bigger.as_str()]
                    .iter()
                    .fold(FNV_SEED, |hash, part| fnv1a(hash, part.as_bytes()))
            }
        };
        Self(hash)
    }

    /// Of requests that have that name in common.
    pub fn of(text: &str) -> Self {
        Self(fnv1a(FNV_SEED, text.as_bytes()))
    }

    /// The instance that wins the rendezvous: the greatest hash of key and name. When an instance
    /// comes or goes, only the requests that it wins or won move.
    pub fn pick<'a, I: 'a>(self, instances: &'a [I], name: impl Fn(&I) -> &str) -> Option<&'a I> {
        match instances {
            [] => None,
            [only] => Some(only),
            _ => instances.iter().max_by_key(|instance| mix(fnv1a(self.0, name(instance).as_bytes()))),
        }
    }
}

/// A user's id in eight bytes, the same on every machine, as routes of different regions name users to
/// each other. Two users of a million share one with a chance of one in thirty million; then a notify
/// crosses in vain, or waits for the next heartbeat.
pub fn user_hash(user: &UserId) -> u64 {
    mix(Affinity::of(user.as_str()).0)
}

const FNV_SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, 64 bits (draft-eastlake-fnv): the same on every machine and in every version, which a
/// standard hasher does not promise.
fn fnv1a(seed: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The finaliser of MurmurHash3: FNV alone leaves the high bits of short names alike.
pub(crate) fn mix(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use im_proto::ClientMsgId;
    use im_proto::client::{ContentType, SendMsg};
    use proto_codec::{BytesMut, Encode};

    use super::*;

    fn send_to(user: &str) -> Bytes {
        let mut body = BytesMut::new();
        SendMsg {
            to: Target::User(UserId::new(user).unwrap()),
            client_msg_id: ClientMsgId::new("1").unwrap(),
            content_type: ContentType::Text,
            payload: Bytes::from_static(b"hello"),
        }
        .encode(&mut body);
        body.freeze()
    }

    #[test]
    fn both_directions_of_a_conversation_meet() {
        let (a, b) = (UserId::new("a").unwrap(), UserId::new("b").unwrap());
        let there = Affinity::of_request(Command::SendMsg, &a, &send_to("b"));
        let back = Affinity::of_request(Command::SendMsg, &b, &send_to("a"));
        assert_eq!(there, back);
        assert_eq!(there, Affinity::of("a:b"), "routes of another version name the conversation");
        assert_ne!(there, Affinity::of_request(Command::GetMsg, &a, &send_to("b")));
    }

    #[test]
    fn an_instance_that_goes_moves_only_its_own() {
        let names = ["s1", "s2", "s3", "s4"];
        let keys: Vec<_> = (0..4000).map(|n| Affinity::of(&format!("user{n}"))).collect();
        let mut won = [0; 4];
        for key in &keys {
            let all = *key.pick(&names, |n| n).unwrap();
            won[names.iter().position(|n| *n == all).unwrap()] += 1;
            let rest = *key.pick(&names[..3], |n| n).unwrap();
            assert!(all == "s4" || rest == all, "{all} moved to {rest}");
        }
        assert!(won.iter().all(|won| (700..1300).contains(won)), "the shares are uneven: {won:?}");
        assert_eq!(keys[0].pick(&[] as &[&str], |n| n), None);
    }
}
