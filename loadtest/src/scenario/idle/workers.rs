//! The conversation with the hold workers: one orders, one listens, several at a time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use anyhow::bail;
use futures_util::future::try_join_all;
use tokio::sync::watch;

use crate::child::Child;
use crate::hold::{AskedAll, HoldNotice, HoldOrder, HoldPlan, Standing};

/// Questions per second at the end: far below what gates answer, so that an answer's time tells
/// about the connection and not about a queue.
const QUESTIONS_PER_SECOND: u32 = 5_000;
/// How long the last answer is waited for.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

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

/// Puts a question to every connection. What came back, and how each worker stands after that.
pub(super) async fn ask(workers: &mut [Child], held: u64) -> anyhow::Result<(Vec<AskedAll>, Vec<Standing>)> {
    let spread = Duration::from_secs(held / u64::from(QUESTIONS_PER_SECOND));
    eprintln!("ask: every connection for an answer, which takes {} s", spread.as_secs());
    let order =
        HoldOrder::Ask { spread_ms: spread.as_millis() as u64, patience_ms: ANSWER_TIME_MAX.as_millis() as u64 };
    let asked = workers.iter_mut().map(|worker| async {
        worker.send(&order).await?;
        let asked = loop {
            match worker.recv().await? {
                HoldNotice::Standing(_) => {}
                HoldNotice::Asked(asked) => break asked,
                other => bail!("a hold worker said {other:?} instead of what came back"),
            }
        };
        match worker.recv().await? {
            HoldNotice::Standing(standing) => Ok((asked, standing)),
            other => bail!("a hold worker said {other:?} while it holds"),
        }
    });
    Ok(try_join_all(asked).await?.into_iter().unzip())
}

impl Standing {
    pub(super) fn sum(all: &[Self]) -> Self {
        let mut sum = Self::default();
        for standing in all {
            sum.held += standing.held;
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
