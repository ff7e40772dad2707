//! Groups and their members. The store is the truth; members are remembered here because every
//! send to a group asks for them. Where other im-services may have the same store open, what is
//! remembered is held against the stored bytes each time: that spares the decoding, and a member whom
//! another im-service has removed gets nothing more.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use im_proto::client::{ChangeMembers, CreateGroup, Group, GroupPage, ListGroups};
use im_proto::limits::{GROUP_MEMBERS_MAX, PAGE_BYTES_MAX};
use im_proto::{ConversationId, GroupId, Refusal, RefusalCode, UserId};
use im_timeline::{Change, CommitError, Expect, Store, Table};
use parking_lot::Mutex;
use proto_codec::{Bytes, BytesMut, Codec, Encode};
use tracing::error;

use super::timeline::record_key;
use super::{NEWEST, Outcome, Service, commit_refusal, page_rows, store_refusal};

/// The members of a group, sorted.
pub(super) type Members = Arc<[UserId]>;

/// Groups remembered at once. A member takes 70 to 170 bytes, so they would take some 700 MB if all
/// were of the largest size with the longest ids; groups of fifty take twenty. When the memory is full
/// it begins anew, which costs one read per group.
const REMEMBERED_MAX: usize = 4096;

/// How often a change is tried when others change the same group at the same time.
const CHANGE_TRIES: usize = 8;

/// Version byte in front of a stored group.
const FORMAT: u8 = 1;

/// What is known of groups.
pub(super) struct Groups {
    store: Arc<dyn Store>,
    remembered: Mutex<Remembered>,
}

#[derive(Default)]
struct Remembered {
    groups: HashMap<GroupId, Arc<Known>>,
    /// Rises with every change, so that what was read before a change is not remembered after it.
    changes: u64,
}

struct Known {
    name: String,
    members: Members,
    /// What was read, for a later comparison.
    stored: Bytes,
}

impl Groups {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, remembered: Mutex::default() }
    }

    /// Who belongs to a group.
    pub(super) async fn members(&self, group: &GroupId) -> Result<Members, Refusal> {
        self.known(group).await.map(|known| Arc::clone(&known.members))
    }

    /// Its name for people.
    pub(super) async fn name(&self, group: &GroupId) -> Result<String, Refusal> {
        self.known(group).await.map(|known| known.name.clone())
    }

    async fn known(&self, group: &GroupId) -> Result<Arc<Known>, Refusal> {
        let (known, changes) = {
            let remembered = self.remembered.lock();
            (remembered.groups.get(group).cloned(), remembered.changes)
        };
        let stored = match &known {
            Some(known) if !self.store.is_shared() => return Ok(Arc::clone(known)),
            Some(_) | None => self.stored(group).await?,
        };
        if let Some(known) = known.filter(|known| known.stored == stored) {
            return Ok(known);
        }
        let Group { name, members, .. } = decode_group(&stored)?;
        let known = Arc::new(Known { name, members: members.into(), stored });
        let mut remembered = self.remembered.lock();
        if remembered.changes == changes {
            if remembered.groups.len() >= REMEMBERED_MAX {
                remembered.groups.clear();
            }
            remembered.groups.insert(group.clone(), Arc::clone(&known));
        }
        Ok(known)
    }

    fn forget(&self, group: &GroupId) {
        let mut remembered = self.remembered.lock();
        remembered.changes += 1;
        remembered.groups.remove(group);
    }

    /// A group as it is stored, with its bytes for a later comparison.
    async fn load(&self, group: &GroupId) -> Result<(Group, Bytes), Refusal> {
        let stored = self.stored(group).await?;
        Ok((decode_group(&stored)?, stored))
    }

    async fn stored(&self, group: &GroupId) -> Result<Bytes, Refusal> {
        let stored = self.store.record(Table::Group, group.as_str()).await.map_err(|error| store_refusal(&error))?;
        stored.ok_or_else(|| RefusalCode::NoSuchGroup.into())
    }
}

impl Service {
    pub(super) async fn create_group(&self, user: &UserId, create: CreateGroup) -> Result<Outcome, Refusal> {
        self.admit_known(&create.members).await?;
        let mut members = create.members;
        members.push(user.clone());
        let group = Group { group: create.group, name: create.name, owner: user.clone(), members: sorted(members)? };
        match self.store.commit(creation(&group)).await {
            Ok(()) => {
                self.groups.forget(&group.group);
                Ok(Outcome::answer(&group))
            }
            Err(CommitError::Conflict(_)) => {
                // The answer to the first try may have been lost on its way.
                let (there, _) = self.groups.load(&group.group).await?;
                if there.owner == group.owner && there.name == group.name {
                    Ok(Outcome::answer(&there))
                } else {
                    Err(RefusalCode::GroupExists.into())
                }
            }
            Err(error) => Err(commit_refusal(&error)),
        }
    }

    pub(super) async fn change_members(&self, user: &UserId, change: ChangeMembers) -> Result<Outcome, Refusal> {
        self.admit_known(&change.add).await?;
        for _ in 0..CHANGE_TRIES {
            let (group, stored) = self.groups.load(&change.group).await?;
            allow(user, &group, &change)?;
            let changed = apply(&group, &change)?;
            if changed == group {
                return Ok(Outcome::answer(&group));
            }
            let changes = self.member_changes(&group, &changed, stored).await?;
            let committed = self.store.commit(changes).await;
            self.groups.forget(&change.group);
            match committed {
                Ok(()) => return Ok(Outcome::answer(&changed)),
                Err(CommitError::Conflict(_)) => {}
                Err(error) => return Err(commit_refusal(&error)),
            }
        }
        Err(commit_refusal(&CommitError::Conflict(0)))
    }

    /// Makes a group where there is none, and brings in who is not part of it: what a business
    /// system asks for by sending to it. The first of `members` becomes its owner.
    pub(crate) async fn admit_members(&self, group: &GroupId, members: &[UserId]) -> Result<(), Refusal> {
        let Some(owner) = members.first() else { return Ok(()) };
        let is_part = |all: &[UserId]| members.iter().all(|member| all.binary_search(member).is_ok());
        match self.groups.members(group).await {
            Ok(all) if is_part(&all) => return Ok(()),
            Ok(_) => {}
            Err(refusal) if refusal.code == RefusalCode::NoSuchGroup => {}
            Err(refusal) => return Err(refusal),
        }
        for _ in 0..CHANGE_TRIES {
            let changes = match self.groups.load(group).await {
                Ok((before, _)) if is_part(&before.members) => return Ok(()),
                Ok((before, stored)) => {
                    let all = before.members.iter().chain(members).cloned().collect();
                    let after = Group { members: sorted(all)?, ..before.clone() };
                    self.member_changes(&before, &after, stored).await?
                }
                Err(refusal) if refusal.code == RefusalCode::NoSuchGroup => {
                    let name = group.to_string();
                    let members = sorted(members.to_vec())?;
                    creation(&Group { group: group.clone(), name, owner: owner.clone(), members })
                }
                Err(refusal) => return Err(refusal),
            };
            let committed = self.store.commit(changes).await;
            self.groups.forget(group);
            match committed {
                Ok(()) => return Ok(()),
                Err(CommitError::Conflict(_)) => {}
                Err(error) => return Err(commit_refusal(&error)),
            }
        }
        Err(commit_refusal(&CommitError::Conflict(0)))
    }

    /// The rows that make `before` into `after`. Who comes in has read everything up to now: a
    /// newcomer's unread count begins with what is said from then on.
    async fn member_changes(&self, before: &Group, after: &Group, stored: Bytes) -> Result<Vec<Change>, Refusal> {
        let conversation = ConversationId::group(&after.group);
        let head = self.store.history(&conversation, NEWEST).await.map_err(|error| store_refusal(&error))?.head;
        let mut changes = vec![Change::Put {
            table: Table::Group,
            key: after.group.as_str().into(),
            value: encode_group(after),
            expect: Expect::Value(stored),
        }];
        for member in after.members.iter().filter(|member| before.members.binary_search(member).is_err()) {
            changes.push(enter(member, &after.group));
            let key = record_key(member, conversation.as_str());
            changes.push(Change::Raise { table: Table::Read, key, to: head.0 });
        }
        for member in before.members.iter().filter(|member| after.members.binary_search(member).is_err()) {
            let key = record_key(member, after.group.as_str());
            changes.push(Change::Delete { table: Table::Member, key, expect: Expect::Any });
        }
        Ok(changes)
    }

    pub(super) async fn list_groups(&self, user: &UserId, list: ListGroups) -> Result<Outcome, Refusal> {
        let prefix = record_key(user, "");
        let after = format!("{prefix}{}", list.after.as_ref().map_or("", GroupId::as_str));
        let page = self
            .store
            .records(Table::Member, &prefix, &after, page_rows(list.limit))
            .await
            .map_err(|error| store_refusal(&error))?;
        let (mut groups, mut has_more, mut bytes) = (Vec::new(), page.has_more, 0);
        for record in page.records {
            if bytes >= PAGE_BYTES_MAX {
                has_more = true;
                break;
            }
            let id = record.key.strip_prefix(&prefix).unwrap_or_default();
            let id = GroupId::new(id).map_err(|error| damaged(&error))?;
            let (group, stored) = self.groups.load(&id).await?;
            bytes += stored.len();
            groups.push(group);
        }
        Ok(Outcome::answer(&GroupPage { groups, has_more }))
    }
}

/// The rows of a new group.
fn creation(group: &Group) -> Vec<Change> {
    let mut changes = vec![Change::Put {
        table: Table::Group,
        key: group.group.as_str().into(),
        value: encode_group(group),
        expect: Expect::Absent,
    }];
    changes.extend(group.members.iter().map(|member| enter(member, &group.group)));
    changes
}

fn enter(member: &UserId, group: &GroupId) -> Change {
    let key = record_key(member, group.as_str());
    Change::Put { table: Table::Member, key, value: Bytes::new(), expect: Expect::Any }
}

/// The owner may do everything but leave; a member may bring others in, and may go.
fn allow(user: &UserId, group: &Group, change: &ChangeMembers) -> Result<(), Refusal> {
    if group.members.binary_search(user).is_err() {
        return Err(RefusalCode::NotAMember.into());
    }
    if change.remove.contains(&group.owner) {
        return Err(Refusal::new(RefusalCode::NotAllowed, "the owner cannot leave the group"));
    }
    if *user != group.owner && change.remove.iter().any(|removed| removed != user) {
        return Err(Refusal::new(RefusalCode::NotAllowed, "only the owner may remove others"));
    }
    Ok(())
}

fn apply(group: &Group, change: &ChangeMembers) -> Result<Group, Refusal> {
    // A thousand may be removed from two thousand: looked up, not searched for.
    let removed: HashSet<_> = change.remove.iter().collect();
    let members = group.members.iter().chain(&change.add).filter(|member| !removed.contains(member));
    let members = sorted(members.cloned().collect())?;
    Ok(Group { members, ..group.clone() })
}

fn sorted(mut members: Vec<UserId>) -> Result<Vec<UserId>, Refusal> {
    members.sort_unstable();
    members.dedup();
    if members.len() > GROUP_MEMBERS_MAX as usize {
        let detail = format!("a group has at most {GROUP_MEMBERS_MAX} members");
        return Err(Refusal::new(RefusalCode::TooLarge, detail));
    }
    Ok(members)
}

fn encode_group(group: &Group) -> Bytes {
    let mut value = BytesMut::new();
    FORMAT.encode(&mut value);
    group.encode(&mut value);
    value.freeze()
}

fn decode_group(value: &Bytes) -> Result<Group, Refusal> {
    match value.first() {
        Some(&FORMAT) => Codec::Binary.decode("stored group", &value.slice(1..)).map_err(|error| damaged(&error)),
        format => Err(damaged(&format!("format {format:?}"))),
    }
}

fn damaged(why: &dyn std::fmt::Display) -> Refusal {
    error!(%why, "a stored group cannot be read");
    Refusal::new(RefusalCode::Internal, "a stored group cannot be read")
}
