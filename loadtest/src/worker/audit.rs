//! Compares what was acked with what the timelines hold. Pure: rows and acks in, a verdict out.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::output::Page;

/// An ack that a sender got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    /// The sender's number of the message.
    pub(crate) number: u64,
    pub(crate) conversation_seq: u64,
    pub(crate) sender_seq: u64,
    pub(crate) receiver_seq: u64,
}

/// Which of the two users of a conversation sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Author {
    /// The timeline's owner.
    Owner,
    Peer,
}

/// A row of a user's timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) seq: u64,
    pub(crate) conversation_seq: u64,
    pub(crate) author: Author,
    /// The author's number of the message.
    pub(crate) number: u64,
}

/// What was found. The last three must be 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Acks that were compared.
    pub(crate) acked: u64,
    /// Rows that were read.
    pub(crate) rows: u64,
    /// Messages of one sender that stand behind a later one of the same sender. Sends in flight
    /// together have no promised order, so this is for information.
    pub(crate) overtaken: u64,
    /// Acked messages that are missing in the sender's or the receiver's timeline.
    pub(crate) lost: u64,
    /// Rows that hold a message that another row of the same timeline holds already.
    pub(crate) duplicated: u64,
    /// Rows that do not follow the row before them, in the timeline or in the conversation, and
    /// acked messages at another place than the ack said.
    pub(crate) out_of_order: u64,
}

impl Verdict {
    /// Whether what is stored is what was acked.
    pub(crate) fn is_right(&self) -> bool {
        self.lost + self.duplicated + self.out_of_order == 0
    }

    pub(crate) fn describe(&self, page: &mut Page) {
        let Self { lost, duplicated, out_of_order, .. } = self;
        page.fact("lost, duplicated, out of order", format!("{lost}, {duplicated}, {out_of_order}   (goal 0, 0, 0)"));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.acked += other.acked;
        self.rows += other.rows;
        self.overtaken += other.overtaken;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
    }

    /// Looks at a timeline by itself. Its user has one conversation, so the places in both count
    /// 1, 2, 3 without a hole.
    pub(crate) fn add_timeline(&mut self, rows: &[Row]) {
        let mut seen = HashSet::with_capacity(rows.len());
        let mut last_of = HashMap::new();
        let (mut seq, mut conversation_seq) = (0, 0);
        for row in rows {
            if row.seq != seq + 1 || row.conversation_seq != conversation_seq + 1 {
                self.out_of_order += 1;
            }
            (seq, conversation_seq) = (row.seq, row.conversation_seq);
            if !seen.insert((row.author, row.number)) {
                self.duplicated += 1;
            }
            let last = last_of.entry(row.author).or_insert(row.number);
            if row.number < *last {
                self.overtaken += 1;
            }
            *last = row.number.max(*last);
        }
        self.rows += rows.len() as u64;
    }

    /// Looks for acked messages in the timelines of both users.
    pub(crate) fn add_acks(&mut self, acks: &[Ack], sender: &[Row], receiver: &[Row]) {
        let sent = by_number(sender, Author::Owner);
        let received = by_number(receiver, Author::Peer);
        for ack in acks {
            match (sent.get(&ack.number), received.get(&ack.number)) {
                (Some(sent), Some(received)) => {
                    let stored = [sent.seq, received.seq, sent.conversation_seq, received.conversation_seq];
                    let said = [ack.sender_seq, ack.receiver_seq, ack.conversation_seq, ack.conversation_seq];
                    self.out_of_order += u64::from(stored != said);
                }
                _ => self.lost += 1,
            }
        }
        self.acked += acks.len() as u64;
    }
}

fn by_number(rows: &[Row], author: Author) -> HashMap<u64, &Row> {
    rows.iter().filter(|row| row.author == author).map(|row| (row.number, row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seq: u64, author: Author, number: u64) -> Row {
        Row { seq, conversation_seq: seq, author, number }
    }

    /// Two messages of the first user around one of the second; all acked.
    fn pair() -> (Vec<Ack>, Vec<Row>, Vec<Row>) {
        use Author::{Owner, Peer};
        let ack = |number, seq| Ack { number, conversation_seq: seq, sender_seq: seq, receiver_seq: seq };
        let first = vec![row(1, Owner, 1), row(2, Peer, 1), row(3, Owner, 2)];
        let second = vec![row(1, Peer, 1), row(2, Owner, 1), row(3, Peer, 2)];
        (vec![ack(1, 1), ack(2, 3)], first, second)
    }

    fn verdict(acks: &[Ack], sender: &[Row], receiver: &[Row]) -> Verdict {
        let mut verdict = Verdict::default();
        verdict.add_timeline(sender);
        verdict.add_timeline(receiver);
        verdict.add_acks(acks, sender, receiver);
        verdict
    }

    #[test]
    fn a_right_pair_has_no_fault() {
        let (acks, first, second) = pair();
        assert_eq!(verdict(&acks, &first, &second), Verdict { acked: 2, rows: 6, ..Verdict::default() });
    }

    #[test]
    fn a_missing_row_is_a_loss_on_either_side() {
        for side in 0..2 {
            let (acks, mut first, mut second) = pair();
            [&mut first, &mut second][side].pop();
            let verdict = verdict(&acks, &first, &second);
            assert_eq!((verdict.lost, verdict.duplicated, verdict.out_of_order), (1, 0, 0), "side {side}");
        }
    }

    #[test]
    fn a_row_that_is_there_twice_is_doubled() {
        let (acks, mut first, second) = pair();
        first.push(row(4, Author::Owner, 2));
        let verdict = verdict(&acks, &first, &second);
        assert_eq!((verdict.lost, verdict.duplicated), (0, 1));
        assert_eq!(verdict.out_of_order, 1, "and one of the two does not stand where the ack said");
    }

    #[test]
    fn a_hole_in_either_numbering_is_out_of_order() {
        let (acks, mut first, second) = pair();
        first[2].seq = 4;
        assert_eq!(verdict(&acks[..1], &first, &second).out_of_order, 1);
        let (_, mut first, second) = pair();
        first[2].conversation_seq = 4;
        assert_eq!(verdict(&acks[..1], &first, &second).out_of_order, 1);
    }

    #[test]
    fn a_place_other_than_the_acked_one_is_out_of_order() {
        let (acks, first, second) = pair();
        let changes: [fn(&mut Ack); 3] =
            [|ack| ack.conversation_seq += 1, |ack| ack.sender_seq += 1, |ack| ack.receiver_seq += 1];
        for change in changes {
            let mut acks = acks.clone();
            change(&mut acks[1]);
            let verdict = verdict(&acks, &first, &second);
            assert_eq!((verdict.lost, verdict.out_of_order), (0, 1));
        }
    }

    #[test]
    fn overtaking_is_told_apart_from_faults() {
        use Author::Owner;
        let rows = [row(1, Owner, 2), row(2, Owner, 1), row(3, Owner, 3)];
        let mut verdict = Verdict::default();
        verdict.add_timeline(&rows);
        assert_eq!(verdict, Verdict { rows: 3, overtaken: 1, ..Verdict::default() });
    }
}
