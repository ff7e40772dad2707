//! The conversation with the hold workers: one orders, one listens, several at a time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use anyhow::bail;
use tokio::sync::watch;

use crate::child::Child;
use crate::hold::{AskedAll, HoldNotice, HoldOrder, HoldPlan, Standing};

/// How each worker stands, as it last said.
#[derive(Clone, Debug)]
pub(super) struct Board(Rc<RefCell<Vec<Standing>>>);

impl Board {
    pub(super) fn new(workers: usize) -> Self {
        Self(Rc::new(RefCell::new(vec![Standing::default(); workers])))
    }

    pub(super) fn sum(&self) -> Standing {
        Standing::sum(&self.0.borrow())
    }

    fn note(&self, place: usize, standing: Standing) {
        self.0.borrow_mut()[place] = standing;
    }
}

/// Lets a worker log its clients in; how it stands when it has, or was stopped.
pub(super) async fn ramp(
    worker: &mut Child,
    plan: HoldPlan,
    mut stopped: watch::Receiver<bool>,
    board: Board,
    place: usize,
) -> anyhow::Result<Standing> {
    worker.send(&HoldOrder::Ramp(plan)).await?;
    let mut told = false;
    loop {
        let notice = tokio::select! {
            notice = worker.recv() => notice?,
            Ok(()) = stopped.changed(), if !told => {
                told = true;
                worker.send(&HoldOrder::Stop).await?;
                continue;
            }
        };
        match notice {
            HoldNotice::Standing(standing) => board.note(place, standing),
            HoldNotice::Ramped(standing) => return Ok(standing),
            HoldNotice::Asked(_) => bail!("a hold worker answers what it was not asked"),
        }
    }
}

/// Listens to a worker that holds; ends only with an error.
pub(super) async fn listen(worker: &mut Child, board: Board, place: usize) -> anyhow::Result<()> {
    loop {
        match worker.recv().await? {
            HoldNotice::Standing(standing) => board.note(place, standing),
            other => bail!("a hold worker said {other:?} while it holds"),
        }
    }
}

/// Puts a question to every connection of a worker. What came back, and how it stands after that.
pub(super) async fn ask(
    worker: &mut Child,
    order: &HoldOrder,
    board: Board,
    place: usize,
) -> anyhow::Result<(AskedAll, Standing)> {
    worker.send(order).await?;
    let asked = loop {
        match worker.recv().await? {
            HoldNotice::Standing(standing) => board.note(place, standing),
            HoldNotice::Asked(asked) => break asked,
            other => bail!("a hold worker said {other:?} instead of what came back"),
        }
    };
    match worker.recv().await? {
        HoldNotice::Standing(standing) => Ok((asked, standing)),
        other => bail!("a hold worker said {other:?} while it holds"),
    }
}

impl Standing {
    pub(super) fn sum(all: &[Self]) -> Self {
        let mut sum = Self::default();
        for standing in all {
            sum.held += standing.held;
            sum.answered += standing.answered;
            for (into, from) in [(&mut sum.failed, &standing.failed), (&mut sum.lost, &standing.lost)] {
                add_counts(into, from);
            }
        }
        sum
    }
}

fn add_counts(into: &mut HashMap<String, u64>, from: &HashMap<String, u64>) {
    for (reason, count) in from {
        *into.entry(reason.clone()).or_default() += count;
    }
}
