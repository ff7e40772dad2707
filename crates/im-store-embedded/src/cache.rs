//! Heads of timelines and ids of senders in memory, so that an append costs no look into the tree.
//!
//! Owned by the committer alone. A clock cache: a hand goes round, spares what was used since it last
//! came by and takes the rest. Evicting is the committer's own step between two groups: within a group
//! a head may be ahead of what the tree holds, and reading it anew would give a number twice.

use std::hash::Hash;

use ahash::AHashMap;
use im_proto::Seq;

pub(crate) struct Cache<K, V> {
    index: AHashMap<K, usize>,
    slots: Vec<Slot<K, V>>,
    hand: usize,
    len_max: usize,
}

struct Slot<K, V> {
    key: K,
    value: V,
    used: bool,
}

impl<K: Clone + Eq + Hash> Cache<K, Seq> {
    /// The next number of a timeline whose head is here.
    pub(crate) fn next(&mut self, key: &K) -> Option<Seq> {
        let slot = &mut self.slots[*self.index.get(key)?];
        slot.value = slot.value.next();
        Some(slot.value)
    }
}

impl<K: Clone + Eq + Hash, V> Cache<K, V> {
    pub(crate) fn new(len_max: usize) -> Self {
        Self { index: AHashMap::new(), slots: Vec::new(), hand: 0, len_max: len_max.max(1) }
    }

    /// The value if it is here, else what `read` finds.
    pub(crate) fn get_or_read<E>(&mut self, key: &K, read: impl FnOnce() -> Result<V, E>) -> Result<&mut V, E> {
        let slot = match self.index.get(key) {
            Some(&slot) => {
                self.slots[slot].used = true;
                slot
            }
            None => {
                let value = read()?;
                let slot = self.slots.len();
                self.index.insert(key.clone(), slot);
                // Not yet `used`: what is wanted only once goes before what is wanted again.
                self.slots.push(Slot { key: key.clone(), value, used: false });
                slot
            }
        };
        Ok(&mut self.slots[slot].value)
    }

    /// The value if it is here.
    pub(crate) fn get(&mut self, key: &K) -> Option<&mut V> {
        let slot = *self.index.get(key)?;
        Some(&mut self.slots[slot].value)
    }

    /// Evicts down to the bound. Only between groups.
    pub(crate) fn shrink(&mut self) {
        while self.slots.len() > self.len_max {
            self.hand %= self.slots.len();
            if std::mem::take(&mut self.slots[self.hand].used) {
                self.hand += 1;
                continue;
            }
            let evicted = self.slots.swap_remove(self.hand);
            self.index.remove(&evicted.key);
            if let Some(moved) = self.slots.get(self.hand) {
                self.index.insert(moved.key.clone(), self.hand);
            }
        }
    }

    /// Forgets everything. Only between groups.
    pub(crate) fn clear(&mut self) {
        self.index.clear();
        self.slots.clear();
        self.hand = 0;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(head: u64) -> impl FnOnce() -> Result<Seq, ()> {
        move || Ok(Seq(head))
    }

    #[test]
    fn numbers_go_on_from_what_was_read_once() {
        let mut heads = Cache::new(10);
        assert_eq!(heads.next(&"a"), None);
        assert_eq!(heads.get_or_read(&"a", read(7)), Ok(&mut Seq(7)));
        assert_eq!(heads.next(&"a"), Some(Seq(8)));
        assert_eq!(heads.get_or_read(&"a", || Err("read twice")), Ok(&mut Seq(8)));
    }

    #[test]
    fn shrinking_keeps_the_bound_and_the_index_true() {
        let mut heads = Cache::new(10);
        for key in 0..100u64 {
            heads.get_or_read(&key, read(key)).unwrap();
        }
        assert_eq!(heads.slots.len(), 100, "nothing goes within a group");
        heads.shrink();
        assert_eq!(heads.slots.len(), 10);
        assert_eq!(heads.index.len(), 10);
        for (at, slot) in heads.slots.iter().enumerate() {
            assert_eq!(heads.index[&slot.key], at);
            assert_eq!(slot.value, Seq(slot.key));
        }
    }

    #[test]
    fn what_is_used_again_stays() {
        let mut heads = Cache::new(10);
        for key in 0..1000u64 {
            heads.get_or_read(&key, read(key)).unwrap();
            heads.get_or_read(&0, || Err(())).expect("used before every shrink, so it is here");
            heads.shrink();
        }
    }
}
