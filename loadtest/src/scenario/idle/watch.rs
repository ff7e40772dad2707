//! Looks on while workers work, shows it, notes it down, and ends the ramp before the machine is out of
//! memory.

use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::ensure;
use futures_util::future::try_join_all;
use tokio::sync::watch;
use tokio::time::{interval, sleep_until};

use super::cost::Sample;
use super::workers::{self, Board};
use crate::args::IdleArgs;
use crate::child::Child;
use crate::hold::{AskedAll, HoldOrder, HoldPlan, Standing};
use crate::kernel;
use crate::progress::Standings;
use crate::scenario::gates::Gates;

/// Below this the ramp ends: a machine without memory kills somebody, and then nothing is measured.
const MEMORY_FLOOR: u64 = 3 << 29;
/// Below this everything ends, because somebody else takes what was left.
const MEMORY_LAST: u64 = 1 << 29;

/// How long the last answer is waited for.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

pub(super) struct Watch<'a> {
    args: &'a IdleArgs,
    gates: &'a Gates,
    workers: &'a [u32],
    start: Instant,
    pub(super) samples: Vec<Sample>,
}

/// How the ramp ended.
pub(super) struct Ramp {
    pub(super) standings: Vec<Standing>,
    pub(super) took: Duration,
    /// What ended it early.
    pub(super) stopped_by: Option<String>,
}

impl Ramp {
    pub(super) fn held(&self) -> u64 {
        self.standings.iter().map(|standing| standing.held).sum()
    }
}

impl<'a> Watch<'a> {
    /// `workers` are process ids.
    pub(super) fn begin(args: &'a IdleArgs, gates: &'a Gates, workers: &'a [u32]) -> anyhow::Result<Self> {
        let mut watch = Self { args, gates, workers, start: Instant::now(), samples: Vec::new() };
        watch.sample(0)?;
        Ok(watch)
    }

    /// Lets everybody log in.
    pub(super) async fn ramp(&mut self, workers: &mut [Child], plans: Vec<HoldPlan>) -> anyhow::Result<Ramp> {
        let (stop, stopped) = watch::channel(false);
        let board = Board::new(workers.len());
        let began = Instant::now();
        let ramps = workers
            .iter_mut()
            .zip(plans)
            .enumerate()
            .map(|(place, (worker, plan))| workers::ramp(worker, plan, stopped.clone(), board.clone(), place));
        let mut ramps = pin!(try_join_all(ramps));
        let mut stopped_by = None;
        let mut progress = Standings::start("ramp", self.args.connections.into());
        let mut seconds = interval(Duration::from_secs(1));
        let standings = loop {
            tokio::select! {
                ramped = &mut ramps => break ramped?,
                _ = seconds.tick() => {
                    self.look(&board, &mut progress)?;
                    if stopped_by.is_none() && kernel::available_bytes()? < MEMORY_FLOOR {
                        stopped_by = Some(format!("less than {} MiB of memory is left", MEMORY_FLOOR >> 20));
                        stop.send_replace(true);
                    }
                }
            }
        };
        let took = began.elapsed();
        let sum = Standing::sum(&standings);
        self.sample(sum.held)?;
        if stopped_by.is_none() && sum.held < u64::from(self.args.connections) {
            let reason = sum.failed.iter().chain(&sum.lost).max_by_key(|(_, count)| **count);
            stopped_by = reason.map(|(reason, count)| format!("{reason} ({count} times)"));
        }
        Ok(Ramp { standings, took, stopped_by })
    }

    pub(super) async fn hold(&mut self, workers: &mut [Child], until: Instant) -> anyhow::Result<()> {
        let board = Board::new(workers.len());
        let listening =
            workers.iter_mut().enumerate().map(|(place, worker)| workers::listen(worker, board.clone(), place));
        let mut listening = pin!(try_join_all(listening));
        let mut progress = Standings::start("hold", self.args.connections.into());
        let mut seconds = interval(Duration::from_secs(1));
        // The first words of the workers come within a second.
        seconds.tick().await;
        loop {
            tokio::select! {
                ended = &mut listening => { ended?; }
                () = sleep_until(until.into()) => return Ok(()),
                _ = seconds.tick() => self.look(&board, &mut progress)?,
            }
        }
    }

    /// Puts a question to every connection. What came back, and how each worker stands after that.
    pub(super) async fn ask(
        &mut self,
        workers: &mut [Child],
        held: u64,
    ) -> anyhow::Result<(Vec<AskedAll>, Vec<Standing>)> {
        let spread = Duration::from_secs_f64(held as f64 / f64::from(self.args.questions));
        let order =
            HoldOrder::Ask { spread_ms: spread.as_millis() as u64, patience_ms: ANSWER_TIME_MAX.as_millis() as u64 };
        let board = Board::new(workers.len());
        let asking =
            workers.iter_mut().enumerate().map(|(place, worker)| workers::ask(worker, &order, board.clone(), place));
        let mut asking = pin!(try_join_all(asking));
        let mut progress = Standings::start("ask", held);
        let mut seconds = interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                asked = &mut asking => return Ok(asked?.into_iter().unzip()),
                _ = seconds.tick() => {
                    let sum = board.sum();
                    progress.show(sum.answered, &format!("held {}", sum.held));
                }
            }
        }
    }

    fn look(&mut self, board: &Board, progress: &mut Standings) -> anyhow::Result<()> {
        let sum = board.sum();
        let sample = self.sample(sum.held)?;
        progress.show(sum.held, &describe(&sample, &sum));
        let left = kernel::available_bytes()?;
        ensure!(left >= MEMORY_LAST, "only {} MiB of memory are left: given up", left >> 20);
        Ok(())
    }

    pub(super) fn sample(&mut self, held: u64) -> anyhow::Result<Sample> {
        let sample = Sample::take(self.start, held, self.gates, self.workers)?;
        self.samples.push(sample);
        Ok(sample)
    }
}

fn describe(sample: &Sample, sum: &Standing) -> String {
    let mebibytes = |bytes: i64| bytes >> 20;
    let (failed, lost): (u64, u64) = (sum.failed.values().sum(), sum.lost.values().sum());
    format!(
        "gates {} MiB, workers {} MiB, failed {failed}, lost {lost}",
        mebibytes(sample.gate_bytes),
        mebibytes(sample.worker_bytes)
    )
}
