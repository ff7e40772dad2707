//! Why things went wrong, each reason with how often.

use std::collections::HashMap;

/// Reasons why connections failed or ended, each with its number; bounded, because a text may hold
/// an address.
#[derive(Debug, Default)]
pub(crate) struct Reasons(HashMap<String, u64>);

/// Different reasons that are told; the rest is counted as one.
const REASONS_MAX: usize = 8;

impl Reasons {
    pub(crate) fn add(&mut self, reason: String) {
        let known = self.0.len() < REASONS_MAX || self.0.contains_key(&reason);
        *self.0.entry(if known { reason } else { "other reasons".to_owned() }).or_default() += 1;
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.values().sum()
    }

    pub(crate) fn to_map(&self) -> HashMap<String, u64> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_reasons_are_counted_and_few_are_told() {
        let mut reasons = Reasons::default();
        (0..100).for_each(|n| reasons.add(format!("reason {n}")));
        (0..5).for_each(|_| reasons.add("reason 0".to_owned()));
        assert_eq!(reasons.count(), 105);
        let told = reasons.to_map();
        assert_eq!((told.len(), told["reason 0"], told["other reasons"]), (REASONS_MAX + 1, 6, 92));
    }
}
