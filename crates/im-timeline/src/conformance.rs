//! The conformance suite: what every backend must do, one assertion per function, the same for all.
//!
//! A backend writes a [`Factory`] and one line:
//!
//! ```
//! # mod backend {
//! use std::sync::Arc;
//! use im_proto::Epoch;
//! use im_timeline::{Disk, MemoryStore, Store, conformance::Factory};
//!
//! struct OnDisk;
//!
//! #[async_trait::async_trait]
//! impl Factory for OnDisk {
//!     type Home = Disk;
//!     async fn home(&self) -> Disk {
//!         Disk::new(Epoch(7))
//!     }
//!     async fn open(&self, disk: &Disk) -> Arc<dyn Store> {
//!         Arc::new(MemoryStore::open(disk))
//!     }
//! }
//!
//! im_timeline::conformance_suite!(OnDisk);
//! # }
//! ```
//!
//! The crate that uses it needs tokio with its macros. A case that fails panics with what it saw.

// Cases are tests that happen to live in a library: a failed unwrap is a failed assertion.
#![allow(clippy::unwrap_used)]

mod dumps;
mod kit;
mod lifecycle;
mod pages;
mod places;
mod records;
mod repeats;
mod trimming;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;

use crate::Store;

pub use dumps::*;
pub use lifecycle::*;
pub use pages::*;
pub use places::*;
pub use records::*;
pub use repeats::*;
pub use trimming::*;

/// Opens stores of one backend.
#[async_trait]
pub trait Factory: Send + Sync + 'static {
    /// Where the data of one store lie: a folder, an image. Dropping it cleans up.
    type Home: Send + Sync + 'static;

    /// Somewhere new and empty. No two homes share an epoch once a store was opened in them.
    async fn home(&self) -> Self::Home;

    /// Opens what is there. The suite opens a home again only after its store was closed or
    /// abandoned, and has dropped every handle of that store by then.
    async fn open(&self, home: &Self::Home) -> Arc<dyn Store>;

    /// Opens what is there with a queue that admits this many waiting requests. `None`, the default,
    /// when the backend has no such setting; the case that needs it then passes.
    async fn open_with_queue(&self, _home: &Self::Home, _bound: usize) -> Option<Arc<dyn Store>> {
        None
    }

    /// Leaves a store as a crash would. The default closes it, for backends that cannot crash within
    /// a process.
    async fn abandon(&self, _home: &Self::Home, store: Arc<dyn Store>) {
        store.close().await;
    }
}

/// Expands to one `#[tokio::test]` per case of the [suite](crate::conformance), over the
/// [`Factory`](crate::conformance::Factory) that the expression gives.
///
/// `in_one name, factory` makes a single test of all cases instead, for a backend whose servers take
/// long to start; there the expression may `.await`.
#[macro_export]
macro_rules! conformance_suite {
    (@expand [tests $factory:expr] $($case:ident)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            $crate::conformance::$case(&$factory).await;
        }
    )+};
    (@expand [in_one $name:ident $factory:expr] $($case:ident)+) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let factory = ::std::sync::Arc::new($factory);
            let mut cases = $crate::conformance::Cases::default();
            $(
                let shared = ::std::sync::Arc::clone(&factory);
                cases.add(stringify!($case), async move { $crate::conformance::$case(&*shared).await });
            )+
            cases.run().await;
        }
    };
    (in_one $name:ident, $factory:expr) => {
        $crate::conformance_suite! { @cases [in_one $name $factory] }
    };
    (@cases [$($how:tt)+]) => {
        $crate::conformance_suite! { @expand [$($how)+]
            first_place_is_one
            appends_one_after_another_ascend
            appends_handed_in_together_keep_their_order
            appends_handed_in_at_once_are_as_many_appends
            concurrent_senders_get_dense_places
            an_append_reaches_every_recipient
            a_refused_append_changes_nothing
            a_dropped_append_happens_wholly_or_not_at_all
            acked_appends_survive_a_crash
            bad_recipients_are_refused
            the_greatest_group_is_taken
            a_notebook_has_one_place
            a_pair_gets_its_conversation_rows
            a_group_gets_no_conversation_rows
            a_repeat_returns_the_same_place
            concurrent_repeats_are_one_message
            a_repeat_is_recognised_after_reopening
            a_repeat_is_recognised_after_a_crash
            a_repeat_keeps_the_first_recipients
            other_content_is_refused
            concurrent_other_content_is_refused
            another_sender_may_use_the_same_id
            sync_pages_by_rows
            sync_pages_by_bytes
            sync_beyond_the_head_is_empty
            sync_without_messages_is_empty
            history_pages_both_ways
            history_pages_by_bytes
            history_without_messages_is_empty
            trim_removes_a_run_and_keeps_numbers
            trim_never_passes_the_head
            trim_of_everything_keeps_numbers
            sweep_removes_old_entries
            sweep_removes_only_a_run_from_the_beginning
            sweep_honours_the_idempotency_window
            sweep_of_everything_keeps_numbers
            records_expect_what_they_say
            records_change_together_or_not_at_all
            changes_see_the_ones_before
            raise_never_lowers
            concurrent_raises_keep_the_maximum
            concurrent_compare_and_set_has_one_winner
            records_page_in_byte_order
            records_with_odd_keys
            records_survive_reopening
            head_is_the_last_entry
            readers_never_see_a_gap
            a_closed_store_says_so
            close_finishes_what_was_handed_in
            the_epoch_outlives_reopening
            a_full_queue_says_busy
            a_dump_loads_into_an_empty_store
            a_load_in_any_order_is_the_same
            a_dump_while_appending_has_every_older_row
            a_load_into_a_used_store_is_refused
        }
    };
    ($factory:expr) => {
        $crate::conformance_suite! { @cases [tests $factory] }
    };
}

/// Cases that one test runs, a few at a time. The test fails when it has run all of them, and names
/// those that failed.
#[derive(Default)]
pub struct Cases(Vec<(&'static str, BoxFuture<'static, ()>)>);

/// Cases under way at one moment.
const CASES_AT_ONCE: usize = 4;

impl Cases {
    /// Adds one.
    pub fn add(&mut self, name: &'static str, case: impl Future<Output = ()> + Send + 'static) {
        self.0.push((name, Box::pin(case)));
    }

    /// Runs all.
    ///
    /// # Panics
    /// With the names of those that failed.
    pub async fn run(self) {
        let runs = self.0.into_iter().map(|(name, case)| async move {
            let started = std::time::Instant::now();
            // In a task of its own: a panic ends the case and not the others.
            let failed = tokio::spawn(case).await.is_err();
            println!("{name}: {} after {:?}", if failed { "FAILED" } else { "ok" }, started.elapsed());
            failed.then_some(name)
        });
        let failed: Vec<_> = futures_util::stream::iter(runs)
            .buffer_unordered(CASES_AT_ONCE)
            .filter_map(std::future::ready)
            .collect()
            .await;
        assert!(failed.is_empty(), "failed: {failed:?}");
    }
}
